-- Publishes an event once per subject. A repetition, by another replica or by the same one after a
-- lost reply, changes nothing.
-- KEYS:  1 published (subjects, by when), 2 events
-- ARGV:  1 subject
--        2 event
--        3 how long Redis remembers a subject, ms
--        4 maximum number of subjects to remember
--        5 number of events to keep in the stream
-- Reply: 1 published, 0 published before
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
if redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1]) == 0 then return {0} end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'event', ARGV[2])
return {1}
