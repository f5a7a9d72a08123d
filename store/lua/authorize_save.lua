-- Saves the progress of an authorization attempt, if the caller still has its
-- lease.
--
-- KEYS:
--   KEYS[1]  the attempt
--   KEYS[2]  open attempts, by the time of their next check
-- ARGV:
--   ARGV[1]  attempt id
--   ARGV[2]  token of the caller
--   ARGV[3]  record; "": delete the attempt
--   ARGV[4]  "1": the attempt is finished
--   ARGV[5]  "1": release the lease
--   ARGV[6]  time of the next check (ms); "": no check
--   ARGV[7]  digest of the request
--   ARGV[8]  how long Redis keeps the attempt, ms
-- Reply:
--   1 if saved, 0 if another caller has the lease
write_despite_maxmemory('ZREM', KEYS[2])
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
  -- Redis has lost the attempt: record it again.
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
