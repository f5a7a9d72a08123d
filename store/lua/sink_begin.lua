-- Takes the lease under which one replica at a time delivers a partition's events to one sink.
-- KEYS: 1 the sink, 2 what it has parked, 3 events
-- ARGV: 1 how long the lease is held (ms), 2 who asks, 3 how long a sink that nobody serves is remembered (ms)
-- Returns: token (0: somebody else has it), then state ("" if there is none yet), the event after which a new sink begins, then what is parked: key, value
-- Fencing: the token grows with each holder, to the time in milliseconds at least, so that it is higher than one that Redis forgot.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'token', 'until', 'holder', 'state', 'start')
if r[1] and tonumber(r[2]) > now and r[3] ~= ARGV[2] then return {0} end
local token = math.max(tonumber(r[1] or 0) + 1, now)
local start = r[5]
if not start then
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
  start = last[1] and last[1][1] or '0-0'
end
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token), 'until', string.format('%.0f', now + ARGV[1]), 'holder', ARGV[2], 'start', start)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local reply = {token, r[4] or '', start}
for _, v in ipairs(redis.call('HGETALL', KEYS[2])) do reply[#reply + 1] = v end
return reply
