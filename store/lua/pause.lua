-- Pauses requests of one kind for one account. It never shortens a pause.
--
-- KEYS:
--   KEYS[1]  pause
-- ARGV:
--   ARGV[1]  length of the pause, ms
-- Reply:
--   1
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1]) -- after it, Redis accepts SET even above maxmemory
  redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
end
return 1
