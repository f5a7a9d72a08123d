-- Writes what became of an attempt to authorize, if whoever says so still has it, and lets it go.
-- KEYS: 1 the attempt, 2 open attempts by the time to look after them
-- ARGV: 1 id, 2 token, 3 record ("": forget the attempt), 4 "1": finished, 5 "1": let it go, 6 when to look after it (ms; "": never),
--       7 digest, 8 how long attempts are kept (ms)
-- Returns: 1 written, 0 somebody else has it
local token = redis.call('HGET', KEYS[1], 'token')
if token and token ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
if not token and ARGV[7] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[1], 'record', ARGV[3], 'finished', ARGV[4])
if not token then
  -- Redis has lost it meanwhile.
  local t = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'digest', ARGV[7], 'token', ARGV[2], 'until', 0, 'begun', t[1] * 1000 + math.floor(t[2] / 1000))
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
elseif ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'until', 0)
end
if ARGV[6] == '' then redis.call('ZREM', KEYS[2], ARGV[1]) else redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1]) end
return 1
