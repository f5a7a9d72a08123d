-- Notes how far a comparison has come, and holds its lock further.
-- KEYS: 1 run, 2 findings
-- ARGV: 1 token, 2 how long the lock is held from now (ms; 0: given back), 3 "1" if the run has ended, 4 state, 5 findings kept at the most,
--       then the findings since the last time
-- Returns: 1 noted, 0 somebody else holds the lock or Redis has forgotten the run
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {0} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]), 'done', ARGV[3], 'state', ARGV[4])
local room = ARGV[5] - redis.call('LLEN', KEYS[2])
for i = 6, math.min(#ARGV, 5 + room) do redis.call('RPUSH', KEYS[2], ARGV[i]) end
return {1}
