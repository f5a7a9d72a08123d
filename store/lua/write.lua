-- Runs one command that writes to one key, also if Redis has reached maxmemory.
--
-- KEYS:
--   KEYS[1]  key
-- ARGV:
--   ARGV[1]  command that removes a member from this kind of key
--   ARGV[2]  command to run
--   ARGV[3]  and further: its arguments after the key
-- Reply:
--   that of the command
write_despite_maxmemory(ARGV[1], KEYS[1])
return redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3))
