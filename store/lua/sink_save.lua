-- Saves the progress of a sink and extends its lease, if the caller still has it.
-- KEYS:  1 the sink, 2 its parked deliveries, 3 its dead letters, 4 its requeued events
-- ARGV:  1 token
--        2 length of the lease from now, ms; 0: give it back
--        3 state
--        4 how long Redis remembers a sink that no replica serves, ms
--        5 number of dead letters to keep
--        then four lists, each a count and its items: deliveries to park (key, value), to unpark (key),
--        dead letters to add (event, reason), requeued events to remove (entry)
-- Reply: 1 saved, 0 another replica has the lease or Redis has lost it
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {0} end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now_ms() + ARGV[2]), 'state', ARGV[3])
local n = 6
local function each(width, f)
  local count = tonumber(ARGV[n])
  n = n + 1
  for _ = 1, count do
    f(ARGV[n], ARGV[n + 1])
    n = n + width
  end
end
each(2, function(key, value) redis.call('HSET', KEYS[2], key, value) end)
each(1, function(key) redis.call('HDEL', KEYS[2], key) end)
each(2, function(event, reason)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'event', event, 'reason', reason)
end)
each(1, function(entry) redis.call('XDEL', KEYS[4], entry) end)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[4]) end
return {1}
