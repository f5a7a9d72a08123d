-- Reads holds together with the time that decides about them.
-- KEYS: 1 holds
-- ARGV: ids
-- Returns: now (ms), then the records, false where there is none
local t = redis.call('TIME')
local reply = {t[1] * 1000 + math.floor(t[2] / 1000)}
if #ARGV > 0 then
  for i, r in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV))) do reply[i + 1] = r end
end
return reply
