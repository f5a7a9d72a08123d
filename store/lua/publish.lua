-- Publishes an event once: whoever tells of the same thing again, another replica or the same one after a reply was lost, changes nothing.
-- KEYS: 1 told: what was published, by when, 2 events
-- ARGV: 1 what it is about, 2 the event, 3 how long that is remembered (ms), 4 how many of these at the most, 5 length at which the events are trimmed
-- Returns: 1 published, 0 told before
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
if redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1]) == 0 then return {0} end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'event', ARGV[2])
return {1}
