-- Puts dead letters where they are delivered once more, oldest first.
-- KEYS: 1 dead letters, 2 what is to be delivered once more
-- ARGV: 1 how many at the most, then the entries; none: all
-- Returns: how many
local n = 0
local function again(entry)
  redis.call('XADD', KEYS[2], '*', unpack(entry[2]))
  redis.call('XDEL', KEYS[1], entry[1])
  n = n + 1
end
local limit = tonumber(ARGV[1])
if ARGV[2] then
  for i = 2, math.min(#ARGV, 1 + limit) do
    local e = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
    if e then again(e) end
  end
else
  for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', limit)) do again(e) end
end
return {n}
