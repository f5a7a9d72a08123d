-- Slows an account's requests of one kind down, never for less long than it is slowed already.
-- KEYS: 1 slowed
-- ARGV: 1 how long (ms)
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 1
