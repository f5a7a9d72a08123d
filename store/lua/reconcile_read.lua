-- Reads the reconcile run that is in progress, or the last one.
-- KEYS:  1 run, 2 findings
-- ARGV:  1 maximum number of findings
-- Reply: nothing if there was no run; else "1" if a replica works on it, "1" if it is done, its state,
--        its findings
local run = redis.call('HMGET', KEYS[1], 'until', 'done', 'state')
local lock_end, done, state = run[1], run[2], run[3]
if not state then return {} end
local held = '0'
if tonumber(lock_end) > now_ms() and done ~= '1' then held = '1' end
local reply = {held, done, state}
if tonumber(ARGV[1]) > 0 then
  for _, finding in ipairs(redis.call('LRANGE', KEYS[2], 0, ARGV[1] - 1)) do reply[#reply + 1] = finding end
end
return reply
