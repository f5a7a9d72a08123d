-- Begins a request of the API with an idempotency key, or finds the response to
-- it that was saved before. A caller that dies does not save one, so the key is
-- free again after the lease.
--
-- KEYS:
--   KEYS[1]  requests: digest of the request, end of the lease (ms) and the
--            response, separated by spaces
--   KEYS[2]  ids of the requests, by the time at which they began
--   KEYS[3]  bytes of all requests
-- ARGV:
--   ARGV[1]  id of the request, derived from the key
--   ARGV[2]  digest of the request
--   ARGV[3]  length of the lease, ms
--   ARGV[4]  how long Redis keeps a request, ms
--   ARGV[5]  maximum number of requests
--   ARGV[6]  maximum bytes of all requests
-- Reply:
--   one of the LOOKUP_ results
--   the saved response, or ""
write_despite_maxmemory('HDEL', KEYS[1])
local now = now_ms()
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4], 'LIMIT', 0, 100)
for _, id in ipairs(old) do forget_request(KEYS, id) end
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local digest, lease_end, response = string.match(stored, '^(%S+) (%d+) (.*)$')
  if digest ~= ARGV[2] then return {LOOKUP_KEY_REUSED, ''} end
  if response ~= '' then return {LOOKUP_FINISHED, response} end
  if tonumber(lease_end) > now then return {LOOKUP_BUSY, ''} end
  forget_request(KEYS, ARGV[1])
end
write_request(KEYS, ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3]) .. ' ', now)
-- The oldest requests make room.
local excess = redis.call('ZCARD', KEYS[2]) - ARGV[5]
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, excess - 1)) do forget_request(KEYS, id) end
end
for _ = 1, 100 do
  if tonumber(redis.call('GET', KEYS[3]) or '0') <= tonumber(ARGV[6]) then break end
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not oldest or oldest == ARGV[1] then break end
  forget_request(KEYS, oldest)
end
return {LOOKUP_CREATED, ''}
