-- Reads what tells for how long the oldest hold has been due that no replica
-- has claimed: the first scheduled hold, and records of ready holds.
--
-- KEYS:
--   KEYS[1]  scheduled
--   KEYS[2]  holds
--   KEYS[3]  lanes
--   KEYS[4]  ready, the prefix of the lanes: lane NAME has the key KEYS[4]:NAME
-- ARGV:
--   ARGV[1]  maximum number of records to read
-- Reply:
--   now (ms)
--   time of the first scheduled hold (ms), or ""
--   then for each record of a ready hold
--     its id
--     its record
--
-- A lane is ordered by deadline. If it has too many holds, the script reads the
-- nearest deadlines and the furthest ones: those wait for longest, because they
-- are claimed last.
local reply = {now_ms(), ''}
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then reply[2] = first[2] end
local most = tonumber(ARGV[1])
local lanes = redis.call('ZRANGE', KEYS[3], 0, most - 1)
if #lanes == 0 then return reply end
local half = math.max(1, math.floor(most / #lanes / 2))
local ids, seen = {}, {}
local function add(found)
  for _, id in ipairs(found) do
    if not seen[id] then
      seen[id] = true
      ids[#ids + 1] = id
    end
  end
end
for _, lane in ipairs(lanes) do
  local key = KEYS[4] .. ':' .. lane
  add(redis.call('ZRANGE', key, 0, half - 1))
  add(redis.call('ZRANGE', key, -half, -1))
end
if #ids == 0 then return reply end
for i, rec in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
  if rec then
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = rec
  end
end
return reply
