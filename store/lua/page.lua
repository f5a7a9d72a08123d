-- Reads a piece of a set from a place on, whatever was added or removed since the place was noted.
-- KEYS: 1 the set, 2 holds
-- ARGV: 1 score and 2 member of the place (member "": the beginning), 3 how many at the most, 4 "1" for highest first
-- Returns: now (ms), then member, score, record ("" where there is none)
-- The place is found by bisection, in log(n) look-ups, since neither scores nor ranks alone name it: many holds share a
-- score, and ranks move.
local t = redis.call('TIME')
local reply = {t[1] * 1000 + math.floor(t[2] / 1000)}
local from_score, from_member, n, rev = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'

local function range(from, to)
  if rev then return redis.call('ZREVRANGE', KEYS[1], from, to, 'WITHSCORES') end
  return redis.call('ZRANGE', KEYS[1], from, to, 'WITHSCORES')
end

-- Lua compares strings by locale, Redis orders them by byte.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function beyond(member, score)
  score = tonumber(score)
  if score ~= from_score then return (score > from_score) ~= rev end
  if member == from_member then return false end
  return less(from_member, member) ~= rev
end

local lo, hi = 0, redis.call('ZCARD', KEYS[1])
if from_member == '' and from_score == 0 then hi = 0 end
while lo < hi do
  local mid = math.floor((lo + hi) / 2)
  local e = range(mid, mid)
  if beyond(e[1], e[2]) then hi = mid else lo = mid + 1 end
end

local found = range(lo, lo + n - 1)
local ids = {}
for i = 1, #found, 2 do
  local zero = string.find(found[i], '\0', 1, true)
  ids[#ids + 1] = zero and string.sub(found[i], zero + 1) or found[i]
end
if #ids == 0 then return reply end
local recs = redis.call('HMGET', KEYS[2], unpack(ids))
for i = 1, #ids do
  reply[#reply + 1] = found[2 * i - 1]
  reply[#reply + 1] = found[2 * i]
  reply[#reply + 1] = recs[i] or ''
end
return reply
