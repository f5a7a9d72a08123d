-- Saves the response to a request that request_begin began, or forgets the
-- request. It does nothing for a request that was forgotten meanwhile, and for
-- another request with the same key.
--
-- KEYS:
--   KEYS[1]  requests, as in request_begin
--   KEYS[2]  ids of the requests, by the time at which they began
--   KEYS[3]  bytes of all requests
-- ARGV:
--   ARGV[1]  id of the request
--   ARGV[2]  digest of the request
--   ARGV[3]  response; "": none
--   ARGV[4]  "1": forget the request
-- Reply:
--   1 if it saved or forgot the request, 0 if not
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored or string.match(stored, '^%S+') ~= ARGV[2] then return {0} end
local begun = redis.call('ZSCORE', KEYS[2], ARGV[1])
forget_request(KEYS, ARGV[1])
if ARGV[4] ~= '1' then
  write_request(KEYS, ARGV[1], ARGV[2] .. ' 0 ' .. ARGV[3], begun or now_ms())
end
return {1}
