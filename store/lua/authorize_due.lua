-- Lists open authorization attempts whose next check is due.
--
-- KEYS:
--   KEYS[1]  open attempts, by the time of their next check
-- ARGV:
--   ARGV[1]  maximum number of attempts
-- Reply:
--   now (ms)
--   then the attempt ids
local now = now_ms()
local reply = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
table.insert(reply, 1, now)
return reply
