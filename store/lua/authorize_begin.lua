-- Writes an attempt to authorize down before its request leaves, or takes on one that is there, for one caller at a time.
-- KEYS: 1 the attempt, 2 open attempts by the time to look after them
-- ARGV: 1 id, 2 digest of the request ("": whatever it was), 3 token of who asks, 4 lease (ms), 5 how long attempts are kept (ms),
--       6 when to look after it (ms from now), 7 the record of a new one ("": make none), 8 "1": also one that is finished
-- Returns: now, what came of it (hold.Begin), record, when the attempt began
-- A lease is taken again by the token that has it: the reply to the first call may have been lost.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local a = redis.call('HMGET', KEYS[1], 'digest', 'token', 'until', 'record', 'finished', 'begun')
if not a[4] then
  if ARGV[7] == '' then return {now, 6, '', 0} end
  redis.call('HSET', KEYS[1], 'digest', ARGV[2], 'token', ARGV[3], 'until', now + ARGV[4], 'record', ARGV[7], 'begun', now)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('ZADD', KEYS[2], now + ARGV[6], ARGV[1])
  return {now, 1, ARGV[7], now}
end
local begun = tonumber(a[6])
if ARGV[2] ~= '' and a[1] ~= ARGV[2] then return {now, 5, '', begun} end
if a[5] == '1' and ARGV[8] ~= '1' then return {now, 3, a[4], begun} end
if a[2] ~= ARGV[3] and tonumber(a[3]) > now then return {now, 4, '', begun} end
redis.call('HSET', KEYS[1], 'token', ARGV[3], 'until', now + ARGV[4])
if a[5] ~= '1' then redis.call('ZADD', KEYS[2], 'NX', now + ARGV[6], ARGV[1]) end
return {now, 2, a[4], begun}
