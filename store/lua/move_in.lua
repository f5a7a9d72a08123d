-- Makes holds known to the partition that they move to, as move_out.lua told of them. Saying it twice is saying it once.
-- KEYS: 1 holds, 2 ready, 3 lanes, 4 refs, then the sorted sets that name holds by id alone, in move_out.lua's order
-- ARGV: per hold id, member of refs ("": none), record, lane ("": not ready), score in the lane, score in each sorted set ("": not in it)
local step = 5 + #KEYS - 4
for p = 1, #ARGV, step do
  local id = ARGV[p]
  redis.call('HSET', KEYS[1], id, ARGV[p + 2])
  if ARGV[p + 1] ~= '' then redis.call('ZADD', KEYS[4], 0, ARGV[p + 1]) end
  if ARGV[p + 3] ~= '' then
    redis.call('ZADD', KEYS[3], 'LT', ARGV[p + 4], ARGV[p + 3])
    redis.call('ZADD', KEYS[2] .. ':' .. ARGV[p + 3], ARGV[p + 4], id)
  end
  for k = 5, #KEYS do
    local score = ARGV[p + k]
    if score == '' then redis.call('ZREM', KEYS[k], id) else redis.call('ZADD', KEYS[k], score, id) end
  end
end
return #ARGV / step
