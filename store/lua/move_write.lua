-- Writes holds to the partition that they move to, with the values that
-- move_read.lua returned. The call can be repeated.
--
-- KEYS:
--   KEYS[1]  holds
--   KEYS[2]  ready
--   KEYS[3]  lanes
--   KEYS[4]  references
--   KEYS[5]  settled
--   then the sorted sets in the order of move_read.lua
-- ARGV:
--   for each hold
--     its id
--     its member of references; "": none
--     its record
--     its lane; "": not ready
--     its score in the lane
--     its score in each sorted set; "": not in the set
-- Reply:
--   number of holds
local size = 5 + #KEYS - 5
for n = 1, #ARGV, size do
  local id, reference, rec = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  local lane, score = ARGV[n + 3], ARGV[n + 4]
  redis.call('HSET', KEYS[1], id, rec)
  if reference ~= '' then redis.call('ZADD', KEYS[4], 0, reference) end
  if lane ~= '' then
    redis.call('ZADD', KEYS[3], 'LT', score, lane)
    redis.call('ZADD', KEYS[2] .. ':' .. lane, score, id)
  end
  local settled_at = record_settled_at(rec)
  if settled_at then add_settled(KEYS[5], {settled_at, id}) end
  for k = 6, #KEYS do
    local set_score = ARGV[n + k - 1]
    if set_score == '' then
      redis.call('ZREM', KEYS[k], id)
    else
      redis.call('ZADD', KEYS[k], set_score, id)
    end
  end
end
return #ARGV / size
