-- Records an authorization attempt before its request is sent, or resumes an
-- attempt. One caller at a time has the lease of an attempt, under its token. A
-- caller whose first reply was lost gets its lease again with the same token.
--
-- KEYS:
--   KEYS[1]  the attempt
--   KEYS[2]  open attempts, by the time of their next check
-- ARGV:
--   ARGV[1]  attempt id
--   ARGV[2]  digest of the request; "": resume the attempt of any request
--   ARGV[3]  token of the caller
--   ARGV[4]  length of the lease, ms
--   ARGV[5]  how long Redis keeps the attempt, ms
--   ARGV[6]  time until the next check of the attempt, ms
--   ARGV[7]  record of a new attempt; "": do not create one
--   ARGV[8]  "1": lease a finished attempt too
-- Reply:
--   now (ms)
--   one of the LOOKUP_ results
--   record of the attempt, or ""
--   time at which the attempt began (ms), or 0
local now = now_ms()
local stored = redis.call('HMGET', KEYS[1],
  'digest', 'token', 'until', 'record', 'finished', 'begun')
local digest, token, lease_end, record = stored[1], stored[2], stored[3], stored[4]
local finished = stored[5] == '1'
if not record then
  if ARGV[7] == '' then return {now, LOOKUP_NOT_FOUND, '', 0} end
  redis.call('HSET', KEYS[1], 'digest', ARGV[2], 'token', ARGV[3], 'until', now + ARGV[4],
    'record', ARGV[7], 'begun', now)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('ZADD', KEYS[2], now + ARGV[6], ARGV[1])
  return {now, LOOKUP_CREATED, ARGV[7], now}
end
local begun = tonumber(stored[6])
if ARGV[2] ~= '' and digest ~= ARGV[2] then return {now, LOOKUP_KEY_REUSED, '', begun} end
if finished and ARGV[8] ~= '1' then return {now, LOOKUP_FINISHED, record, begun} end
if token ~= ARGV[3] and tonumber(lease_end) > now then return {now, LOOKUP_BUSY, '', begun} end
write_despite_maxmemory('ZREM', KEYS[2])
redis.call('HSET', KEYS[1], 'token', ARGV[3], 'until', now + ARGV[4])
if not finished then redis.call('ZADD', KEYS[2], 'NX', now + ARGV[6], ARGV[1]) end
return {now, LOOKUP_RESUMED, record, begun}
