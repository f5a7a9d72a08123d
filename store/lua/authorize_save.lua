-- Writes the progress of an authorization attempt, if the caller still has it.
-- KEYS:  1 the attempt, 2 open attempts by the time of their next check
-- ARGV:  1 attempt id
--        2 token of the caller
--        3 record; "": delete the attempt
--        4 "1": the attempt is finished
--        5 "1": give the lease back
--        6 when to check on the attempt (ms); "": never
--        7 digest of the request
--        8 how long Redis keeps the attempt, ms
-- Reply: 1 written, 0 another caller has the attempt
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
  -- Redis has lost the attempt since it began.
  redis.call('HSET', KEYS[1], 'digest', ARGV[7], 'token', ARGV[2], 'until', 0, 'begun', now_ms())
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
elseif ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'until', 0)
end
if ARGV[6] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
end
return 1
