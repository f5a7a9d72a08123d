-- Pauses requests of one kind for one account. It never shortens a pause.
-- KEYS:  1 pause
-- ARGV:  1 how long, ms
-- Reply: 1
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 1
