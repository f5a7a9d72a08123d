-- Sets a string that does not exist yet, also if Redis has reached maxmemory.
--
-- KEYS:
--   KEYS[1]  key
-- ARGV:
--   ARGV[1]  value
--   ARGV[2]  how long Redis keeps it, ms; 0: for good
-- Reply:
--   1 if this call set the string, else 0
--
-- GETEX changes nothing, but Redis counts it as a write, after which it accepts
-- SET even above maxmemory. A user that may not write gets an error in any case.
if redis.call('GETEX', KEYS[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
