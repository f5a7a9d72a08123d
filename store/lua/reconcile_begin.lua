-- Begins a reconcile run, or takes over an unfinished one whose lock has ended.
--
-- KEYS:
--   KEYS[1]  run
--   KEYS[2]  findings
-- ARGV:
--   ARGV[1]  length of the lock, ms
--   ARGV[2]  state of a new run
--   ARGV[3]  age at which a new run replaces an unfinished one, ms
--   ARGV[4]  minimum time from the start of a finished run to the next run, ms
-- Reply:
--   token; 0: no run began
--   state of the run that was taken over, or ""
--
-- Each holder of the lock gets a higher token. A token is at least the time in
-- milliseconds, so it is higher than a token that Redis has lost.
write_despite_maxmemory('HDEL', KEYS[1])
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
