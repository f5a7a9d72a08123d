-- Begins a comparison with Stripe, or goes on with one whose holder died, unless somebody is at it.
-- KEYS: 1 run, 2 findings
-- ARGV: 1 how long the lock is held (ms), 2 state of a new run, 3 after how long an unfinished run is begun anew (ms),
--       4 how long after the beginning of a finished one none is begun (ms)
-- Returns: token, state of the run that is gone on with or ""; token 0: not begun
-- Fencing: the token grows with each holder, to the time in milliseconds at least, so that it is higher than one that Redis forgot.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'token', 'until', 'done', 'started', 'state')
local token = math.max(tonumber(r[1] or 0) + 1, now)
local started = tonumber(r[4] or 0)
if r[1] then
  if tonumber(r[2]) > now then return {0, ''} end
  if r[3] == '1' and now - started < tonumber(ARGV[4]) then return {0, ''} end
  if r[3] ~= '1' and now - started < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token), 'until', string.format('%.0f', now + ARGV[1]))
    return {token, r[5]}
  end
end
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token), 'until', string.format('%.0f', now + ARGV[1]), 'done', '0',
  'started', string.format('%.0f', now), 'state', ARGV[2])
redis.call('DEL', KEYS[2])
return {token, ''}
