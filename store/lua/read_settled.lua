-- Reads the holds that were settled up to a time, after a position, earliest
-- settlement first. It removes a hold that only a crash put into a chunk.
--
-- KEYS:
--   KEYS[1]  settled
--   KEYS[2]  holds
-- ARGV:
--   ARGV[1]  maximum number of holds
--   ARGV[2]  latest settlement (ms)
--   ARGV[3]  score of the position; 0 with member "": the beginning
--   ARGV[4]  member of the position
-- Reply:
--   as in read_due.lua
local n, count, reply = tonumber(ARGV[1]), 0, {now_ms()}
local after_score, after_member = tonumber(ARGV[3]), ARGV[4]
-- The position is in the last chunk that begins at its score or before.
local chunk = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[3], '-inf', 'WITHSCORES',
  'LIMIT', 0, 1)
local chunks = redis.call('ZRANGEBYSCORE', KEYS[1], chunk[2] or '-inf', ARGV[2],
  'LIMIT', 0, n + 1)
for _, first in ipairs(chunks) do
  local key = KEYS[1] .. ':' .. first
  local found = redis.call('ZRANGEBYSCORE', key, ARGV[3], ARGV[2], 'WITHSCORES')
  for i = 1, #found, 2 do
    if count == n then break end
    local id, score = found[i], found[i + 1]
    local passed = tonumber(score) == after_score and not sorts_before(after_member, id)
    local rec = not passed and redis.call('HGET', KEYS[2], id)
    if passed then
      -- It was read before.
    elseif is_settled_at(rec, score) then
      count = count + 1
      reply[#reply + 1] = id
      reply[#reply + 1] = score
      reply[#reply + 1] = rec
    else
      redis.call('ZREM', key, id)
    end
  end
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', KEYS[1], first) end
end
return reply
