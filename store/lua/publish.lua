-- Publishes an event once per subject. A repeated call, by another replica or
-- after a lost reply, changes nothing.
--
-- KEYS:
--   KEYS[1]  published subjects, by the time of publication
--   KEYS[2]  events
--   KEYS[3]  changes
-- ARGV:
--   ARGV[1]  subject
--   ARGV[2]  event
--   ARGV[3]  how long Redis remembers a subject, ms
--   ARGV[4]  maximum number of subjects that Redis remembers
--   ARGV[5]  bytes of events to keep in the stream
-- Reply:
--   1 if published, 0 if the subject was published before
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
if redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1]) == 0 then return {0} end
count_change(KEYS[3])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
redis.call('XADD', KEYS[2], '*', 'event', ARGV[2])
trim_events(KEYS[2], ARGV[5])
return {1}
