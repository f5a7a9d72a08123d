-- Reads the reconcile run that is in progress, or the last one.
--
-- KEYS:
--   KEYS[1]  run
--   KEYS[2]  findings
-- ARGV:
--   ARGV[1]  maximum number of findings
-- Reply: empty if there was no run, else
--   "1" if a replica holds the lock of the run, else "0"
--   "1" if the run is done, else "0"
--   state of the run
--   then its findings
local run = redis.call('HMGET', KEYS[1], 'until', 'done', 'state')
local lock_end, done, state = run[1], run[2], run[3]
if not state then return {} end
local locked = '0'
if tonumber(lock_end) > now_ms() and done ~= '1' then locked = '1' end
local reply = {locked, done, state}
if tonumber(ARGV[1]) > 0 then
  for _, finding in ipairs(redis.call('LRANGE', KEYS[2], 0, ARGV[1] - 1)) do
    reply[#reply + 1] = finding
  end
end
return reply
