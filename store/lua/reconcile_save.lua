-- Saves the progress of a reconcile run and extends its lock, if the caller
-- still holds the lock.
--
-- KEYS:
--   KEYS[1]  run
--   KEYS[2]  findings
-- ARGV:
--   ARGV[1]  token
--   ARGV[2]  length of the lock from now, ms; 0: release it
--   ARGV[3]  "1": the run is done
--   ARGV[4]  state
--   ARGV[5]  maximum number of findings to keep
--   then the findings since the last save
-- Reply:
--   1 if saved, 0 if another replica holds the lock or Redis has lost the run
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {0} end
write_despite_maxmemory('HDEL', KEYS[1])
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now_ms() + ARGV[2]),
  'done', ARGV[3], 'state', ARGV[4])
local room = ARGV[5] - redis.call('LLEN', KEYS[2])
for i = 6, math.min(#ARGV, 5 + room) do redis.call('RPUSH', KEYS[2], ARGV[i]) end
return {1}
