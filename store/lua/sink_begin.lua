-- Acquires the lease under which one replica delivers the events of a partition
-- to a sink.
--
-- KEYS:
--   KEYS[1]  the sink
--   KEYS[2]  its parked deliveries
--   KEYS[3]  events
-- ARGV:
--   ARGV[1]  length of the lease, ms
--   ARGV[2]  replica
--   ARGV[3]  how long Redis keeps a sink that no replica serves, ms
-- Reply:
--   token; 0: another replica has the lease, and nothing follows
--   state of the sink; "": it has none yet
--   id of the event after which a new sink begins
--   then key and value of each parked delivery
--
-- Each holder of the lease gets a higher token. A token is at least the time in
-- milliseconds, so it is higher than a token that Redis has lost.
local now = now_ms()
local sink = redis.call('HMGET', KEYS[1], 'token', 'until', 'holder', 'state', 'start')
local last_token, lease_end, holder, state, start = sink[1], sink[2], sink[3], sink[4], sink[5]
if last_token and tonumber(lease_end) > now and holder ~= ARGV[2] then return {0} end
local token = math.max(tonumber(last_token or 0) + 1, now)
if not start then
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
  start = last[1] and last[1][1] or '0-0'
end
write_despite_maxmemory('HDEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token),
  'until', string.format('%.0f', now + ARGV[1]), 'holder', ARGV[2], 'start', start)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local reply = {token, state or '', start}
for _, v in ipairs(redis.call('HGETALL', KEYS[2])) do reply[#reply + 1] = v end
return reply
