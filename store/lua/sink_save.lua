-- Saves the progress of a sink and extends its lease, if the caller still has
-- the lease.
--
-- KEYS:
--   KEYS[1]  the sink
--   KEYS[2]  its parked deliveries
--   KEYS[3]  its dead letters
--   KEYS[4]  its requeued events
-- ARGV:
--   ARGV[1]  token
--   ARGV[2]  length of the lease from now, ms; 0: release it
--   ARGV[3]  state
--   ARGV[4]  how long Redis keeps a sink that no replica serves, ms
--   ARGV[5]  number of dead letters to keep
--   then four lists, each as its length and its items:
--     deliveries to park: key, value
--     deliveries to unpark: key
--     dead letters to add: event, reason
--     requeued events to remove: entry id
-- Reply:
--   1 if saved, 0 if another replica has the lease or Redis has lost the sink
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {0} end
write_despite_maxmemory('HDEL', KEYS[1])
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now_ms() + ARGV[2]), 'state', ARGV[3])
local n = 6

-- for_each_item calls f for each item of the next list. An item has width
-- arguments.
local function for_each_item(width, f)
  local count = tonumber(ARGV[n])
  n = n + 1
  for _ = 1, count do
    f(ARGV[n], ARGV[n + 1])
    n = n + width
  end
end
for_each_item(2, function(key, value) redis.call('HSET', KEYS[2], key, value) end)
for_each_item(1, function(key) redis.call('HDEL', KEYS[2], key) end)
for_each_item(2, function(event, reason)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'event', event, 'reason', reason)
end)
for_each_item(1, function(entry) redis.call('XDEL', KEYS[4], entry) end)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[4]) end
return {1}
