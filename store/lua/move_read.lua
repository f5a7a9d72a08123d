-- Reads the record and the sets of holds, for move_write.lua to write them to
-- another partition.
--
-- KEYS:
--   KEYS[1]  holds
--   KEYS[2]  ready
--   then the sorted sets whose members are hold ids
-- ARGV:
--   hold ids
-- Reply: for each hold
--   its record
--   its lane; "": not ready
--   its score in the lane
--   its score in each sorted set; "": not in the set
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
