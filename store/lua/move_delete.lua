-- Removes holds from the partition that they moved from, each only if its
-- record is still the one that move_read.lua read.
--
-- KEYS:
--   as in move_write.lua
-- ARGV:
--   for each hold
--     its id
--     its member of references; "": none
--     its record
-- Reply:
--   number of holds that were removed
local removed = 0
for n = 1, #ARGV, 3 do
  local id, reference = ARGV[n], ARGV[n + 1]
  local rec = redis.call('HGET', KEYS[1], id)
  if rec == ARGV[n + 2] then
    removed = removed + 1
    if has_header(rec) and record_next_op(rec) > 0 then
      local lane = record_lane(rec)
      redis.call('ZREM', KEYS[2] .. ':' .. lane, id)
      if redis.call('EXISTS', KEYS[2] .. ':' .. lane) == 0 then
        redis.call('ZREM', KEYS[3], lane)
      end
    end
    if reference ~= '' then redis.call('ZREM', KEYS[4], reference) end
    local settled_at = record_settled_at(rec)
    if settled_at then remove_settled(KEYS[5], settled_at, id) end
    for k = 6, #KEYS do redis.call('ZREM', KEYS[k], id) end
    redis.call('HDEL', KEYS[1], id)
  end
end
return removed
