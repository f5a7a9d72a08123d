-- Tells which holds have reached a milestone of their deadline, or which wait to be checked, first ones first.
-- KEYS: 1 expiring or unverified, 2 holds
-- ARGV: 1 how many at the most, 2 highest score ("": now)
-- Returns: now (ms), then id, score, record ("" where there is none)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local upto = ARGV[2]
if upto == '' then upto = now end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', upto, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local reply = {now}
local ids = {}
for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
if #ids == 0 then return reply end
local recs = redis.call('HMGET', KEYS[2], unpack(ids))
for i, id in ipairs(ids) do
  reply[#reply + 1] = id
  reply[#reply + 1] = found[2 * i]
  reply[#reply + 1] = recs[i] or ''
end
return reply
