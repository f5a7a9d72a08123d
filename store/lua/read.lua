-- Reads holds and the time of Redis, which decides what is due.
--
-- KEYS:
--   KEYS[1]  holds
-- ARGV:
--   hold ids
-- Reply:
--   now (ms)
--   then for each hold its record; nil: there is none
local reply = {now_ms()}
if #ARGV > 0 then
  for i, rec in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV))) do reply[i + 1] = rec end
end
return reply
