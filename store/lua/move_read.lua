-- Reads everything that a partition knows of some holds, for move_write.lua to write to another
-- partition.
-- KEYS:  1 holds, 2 ready, then the sorted sets that name holds by id alone
-- ARGV:  hold ids
-- Reply: for each hold its record, its lane ("": not ready), its score in the lane, its score in each
--        sorted set ("": not in it)
local reply = {}
local recs = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i, id in ipairs(ARGV) do
  local rec = recs[i] or ''
  local lane, score = '', ''
  if has_header(rec) and record_next_op(rec) > 0 then
    lane = record_lane(rec)
    score = redis.call('ZSCORE', KEYS[2] .. ':' .. lane, id) or ''
    if score == '' then lane = '' end
  end
  reply[#reply + 1] = rec
  reply[#reply + 1] = lane
  reply[#reply + 1] = score
  for k = 3, #KEYS do reply[#reply + 1] = redis.call('ZSCORE', KEYS[k], id) or '' end
end
return reply
