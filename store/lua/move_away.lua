-- Takes holds out of the partition that they moved from, each only if it is still what was told of it.
-- KEYS: as move_in.lua
-- ARGV: per hold id, member of refs ("": none), record
-- Returns: how many were taken out
local moved = 0
for p = 1, #ARGV, 3 do
  local id = ARGV[p]
  local r = redis.call('HGET', KEYS[1], id)
  if r == ARGV[p + 2] then
    moved = moved + 1
    if #r >= 23 and string.byte(r, 4) > 0 then
      local lane = string.byte(r, 4) .. ':' .. string.sub(r, 24, 23 + string.byte(r, 23))
      redis.call('ZREM', KEYS[2] .. ':' .. lane, id)
      if redis.call('EXISTS', KEYS[2] .. ':' .. lane) == 0 then redis.call('ZREM', KEYS[3], lane) end
    end
    if ARGV[p + 1] ~= '' then redis.call('ZREM', KEYS[4], ARGV[p + 1]) end
    for k = 5, #KEYS do redis.call('ZREM', KEYS[k], id) end
    redis.call('HDEL', KEYS[1], id)
  end
end
return moved
