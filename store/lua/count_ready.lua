-- Counts the holds that are ready, over all lanes.
--
-- KEYS:
--   KEYS[1]  lanes
--   KEYS[2]  ready, the prefix of the lanes: lane NAME has the key KEYS[2]:NAME
-- ARGV:
--   ARGV[1]  maximum number of lanes to count
-- Reply:
--   number of holds
local count = 0
for _, lane in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  count = count + redis.call('ZCARD', KEYS[2] .. ':' .. lane)
end
return count
