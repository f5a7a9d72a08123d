-- Begins a reconcile run, or takes over an unfinished one whose lock ended.
-- KEYS:  1 run, 2 findings
-- ARGV:  1 how long to hold the lock, ms
--        2 state of a new run
--        3 age at which an unfinished run is dropped and a new one begins, ms
--        4 minimum time from the beginning of a finished run to the next run, ms
-- Reply: token (0: not begun), state of the run that was taken over or ""
--
-- Each holder of the lock gets a higher token. A token is at least the time in milliseconds, so
-- that it is higher than one that Redis has lost.
local now = now_ms()
local run = redis.call('HMGET', KEYS[1], 'token', 'until', 'done', 'started', 'state')
local last_token, lock_end = run[1], tonumber(run[2] or 0)
local done, started = run[3] == '1', tonumber(run[4] or 0)
local token = math.max(tonumber(last_token or 0) + 1, now)
if last_token then
  if lock_end > now then return {0, ''} end
  if done and now - started < tonumber(ARGV[4]) then return {0, ''} end
  if not done and now - started < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token),
      'until', string.format('%.0f', now + ARGV[1]))
    return {token, run[5]}
  end
end
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token),
  'until', string.format('%.0f', now + ARGV[1]), 'done', '0',
  'started', string.format('%.0f', now), 'state', ARGV[2])
redis.call('DEL', KEYS[2])
return {token, ''}
