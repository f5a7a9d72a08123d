-- Reads a page of the settled holds before a position, latest settlement first.
-- It leaves out a hold that only a crash put into a chunk.
--
-- KEYS:
--   KEYS[1]  settled
--   KEYS[2]  holds
-- ARGV:
--   ARGV[1]  score of the position; 0 with member "": the end
--   ARGV[2]  member of the position
--   ARGV[3]  maximum number of holds
-- Reply:
--   as in page.lua
local from_score, from_member, n = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local highest = ARGV[1]
if from_member == '' and from_score == 0 then highest = '+inf' end

local reply, count, chunks = {now_ms()}, 0, 0
while count < n do
  local first = redis.call('ZREVRANGEBYSCORE', KEYS[1], highest, '-inf',
    'LIMIT', chunks, 1)[1]
  if not first then break end
  chunks = chunks + 1
  local found = redis.call('ZREVRANGEBYSCORE', KEYS[1] .. ':' .. first, highest, '-inf',
    'WITHSCORES')
  local ids, scores = {}, {}
  for i = 1, #found, 2 do
    if highest == '+inf' or tonumber(found[i + 1]) < from_score or sorts_before(found[i], from_member) then
      ids[#ids + 1], scores[#scores + 1] = found[i], found[i + 1]
    end
  end
  local recs = {}
  if #ids > 0 then recs = redis.call('HMGET', KEYS[2], unpack(ids)) end
  for i = 1, #ids do
    if count < n and is_settled_at(recs[i], scores[i]) then
      count = count + 1
      reply[#reply + 1] = ids[i]
      reply[#reply + 1] = scores[i]
      reply[#reply + 1] = recs[i]
    end
  end
end
return reply
