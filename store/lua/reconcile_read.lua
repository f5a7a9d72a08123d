-- Tells of the comparison that is under way, or of the last one.
-- KEYS: 1 run, 2 findings
-- ARGV: 1 findings at the most
-- Returns: nothing if there was none; else "1" if somebody is at it, "1" if it has ended, its state, its findings
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'until', 'done', 'state')
if not r[3] then return {} end
local held = '0'
if tonumber(r[1]) > now and r[2] ~= '1' then held = '1' end
local reply = {held, r[2], r[3]}
if tonumber(ARGV[1]) > 0 then
  for _, f in ipairs(redis.call('LRANGE', KEYS[2], 0, ARGV[1] - 1)) do reply[#reply + 1] = f end
end
return reply
