-- Notes that Stripe has told something of an intent: a hold is to be looked at, or it is remembered until there is one.
-- KEYS: 1 holds, 2 looks, 3 heard
-- ARGV: 1 id, 2 member of looks for an intent that is no hold and is to be looked at all the same ("": it is remembered),
--       3 first final state, 4 how long to remember (ms), 5 how many at the most
-- Returns: 1 it will be looked at, 2 it is remembered, 3 the hold has ended
-- A second note moves the time on, always: whoever is looking by the first one must not take the second off.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local rec = redis.call('HGET', KEYS[1], ARGV[1])
local member = ARGV[2]
if rec then
  if #rec > 1 and string.byte(rec, 2) >= tonumber(ARGV[3]) then return 3 end
  member = ARGV[1]
end
if member ~= '' then
  local set = redis.call('ZSCORE', KEYS[2], member)
  if set and tonumber(set) >= now then now = tonumber(set) + 1 end
  redis.call('ZADD', KEYS[2], now, member)
  return 1
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[4])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[5])
return 2
