-- Reads a page of a sorted set after a position, even if members were added or
-- removed since the caller got the position.
--
-- KEYS:
--   KEYS[1]  the sorted set
--   KEYS[2]  holds
-- ARGV:
--   ARGV[1]  score of the position; 0 with member "": the beginning
--   ARGV[2]  member of the position
--   ARGV[3]  maximum number of members
--   ARGV[4]  "1": highest score first
-- Reply:
--   now (ms)
--   then for each member
--     the member
--     its score
--     the record of its hold; nil: there is none
--
-- A bisection finds the position in log(n) reads. Neither a score nor a rank
-- identifies a position: many holds share a score, and ranks change.
local reply = {now_ms()}
local from_score, from_member = tonumber(ARGV[1]), ARGV[2]
local n, descending = tonumber(ARGV[3]), ARGV[4] == '1'

local function range(from, to)
  if descending then return redis.call('ZREVRANGE', KEYS[1], from, to, 'WITHSCORES') end
  return redis.call('ZRANGE', KEYS[1], from, to, 'WITHSCORES')
end

local function is_after_position(member, score)
  score = tonumber(score)
  if score ~= from_score then return (score > from_score) ~= descending end
  if member == from_member then return false end
  return sorts_before(from_member, member) ~= descending
end

local low, high = 0, redis.call('ZCARD', KEYS[1])
if from_member == '' and from_score == 0 then high = 0 end
while low < high do
  local middle = math.floor((low + high) / 2)
  local entry = range(middle, middle)
  if is_after_position(entry[1], entry[2]) then high = middle else low = middle + 1 end
end

local found = range(low, low + n - 1)
local ids = {}
for i = 1, #found, 2 do
  -- A member of references is reference NUL id.
  local zero = string.find(found[i], '\0', 1, true)
  ids[#ids + 1] = zero and string.sub(found[i], zero + 1) or found[i]
end
if #ids == 0 then return reply end
local recs = redis.call('HMGET', KEYS[2], unpack(ids))
for i = 1, #ids do
  reply[#reply + 1] = found[2 * i - 1]
  reply[#reply + 1] = found[2 * i]
  reply[#reply + 1] = recs[i]
end
return reply
