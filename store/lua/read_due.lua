-- Reads the holds of a sorted set up to a score, lowest score first.
--
-- KEYS:
--   KEYS[1]  the sorted set
--   KEYS[2]  holds
-- ARGV:
--   ARGV[1]  maximum number of holds
--   ARGV[2]  highest score; "": now
--   ARGV[3]  how many holds to skip; missing: none
-- Reply:
--   now (ms)
--   then for each hold
--     its id
--     its score
--     its record; nil: there is none
local now = now_ms()
local highest = ARGV[2]
if highest == '' then highest = now end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', highest, 'WITHSCORES',
  'LIMIT', ARGV[3] or 0, ARGV[1])
local reply = {now}
local ids = {}
for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
if #ids == 0 then return reply end
local recs = redis.call('HMGET', KEYS[2], unpack(ids))
for i, id in ipairs(ids) do
  reply[#reply + 1] = id
  reply[#reply + 1] = found[2 * i]
  reply[#reply + 1] = recs[i]
end
return reply
