-- Notes how far a sink has come, and holds its lease further.
-- KEYS: 1 the sink, 2 what it has parked, 3 its dead letters, 4 what is to be delivered once more
-- ARGV: 1 token, 2 how long the lease is held from now (ms; 0: given back), 3 state, 4 how long a sink that nobody serves is remembered (ms),
--       5 dead letters kept at the most, then four times a number and as many: parked (key, value), no longer parked (key),
--       dead letters (event, reason), delivered once more (entry)
-- Returns: 1 noted, 0 somebody else holds the lease or Redis has forgotten it
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {0} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]), 'state', ARGV[3])
local n = 6
local function each(width, f)
  local count = tonumber(ARGV[n])
  n = n + 1
  for _ = 1, count do
    f(ARGV[n], ARGV[n + 1])
    n = n + width
  end
end
each(2, function(k, v) redis.call('HSET', KEYS[2], k, v) end)
each(1, function(k) redis.call('HDEL', KEYS[2], k) end)
each(2, function(event, reason) redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'event', event, 'reason', reason) end)
each(1, function(id) redis.call('XDEL', KEYS[4], id) end)
for _, k in ipairs(KEYS) do redis.call('PEXPIRE', k, ARGV[4]) end
return {1}
