-- Requeues dead letters of a sink for another delivery, oldest first.
--
-- KEYS:
--   KEYS[1]  dead letters
--   KEYS[2]  requeued events
--   KEYS[3]  changes
-- ARGV:
--   ARGV[1]  maximum number of dead letters
--   then the ids of the dead letters; none: all
-- Reply:
--   number of dead letters that were requeued
local requeued = 0
redis.call('XDEL', KEYS[1], '0-0') -- after it, Redis accepts XADD even above maxmemory
local function requeue(entry)
  redis.call('XADD', KEYS[2], '*', unpack(entry[2]))
  redis.call('XDEL', KEYS[1], entry[1])
  requeued = requeued + 1
end
local limit = tonumber(ARGV[1])
if ARGV[2] then
  for i = 2, math.min(#ARGV, 1 + limit) do
    local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
    if entry then requeue(entry) end
  end
else
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', limit)) do
    requeue(entry)
  end
end
if requeued > 0 then count_change(KEYS[3]) end
return {requeued}
