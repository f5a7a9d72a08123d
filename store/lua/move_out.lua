-- Tells all that a partition knows of some holds, so that another partition can be told.
-- KEYS: 1 holds, 2 ready, then the sorted sets that name holds by id alone
-- ARGV: ids
-- Returns: per hold record, lane ("": not ready), score in the lane, score in each sorted set ("": not in it)
local reply = {}
local recs = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i, id in ipairs(ARGV) do
  local r = recs[i] or ''
  local lane, head = '', ''
  if #r >= 23 and string.byte(r, 4) > 0 then
    lane = string.byte(r, 4) .. ':' .. string.sub(r, 24, 23 + string.byte(r, 23))
    head = redis.call('ZSCORE', KEYS[2] .. ':' .. lane, id) or ''
    if head == '' then lane = '' end
  end
  reply[#reply + 1] = r
  reply[#reply + 1] = lane
  reply[#reply + 1] = head
  for k = 3, #KEYS do reply[#reply + 1] = redis.call('ZSCORE', KEYS[k], id) or '' end
end
return reply
