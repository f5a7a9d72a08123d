-- Reads the holds that were settled up to a time, earliest settlement first. It
-- removes a hold that only a crash put into a chunk.
--
-- KEYS:
--   KEYS[1]  settled
--   KEYS[2]  holds
-- ARGV:
--   ARGV[1]  maximum number of holds
--   ARGV[2]  latest settlement (ms)
-- Reply:
--   as in read_due.lua
local n, count, reply = tonumber(ARGV[1]), 0, {now_ms()}
local chunks = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, n)
for _, first in ipairs(chunks) do
  if count == n then break end
  local key = KEYS[1] .. ':' .. first
  local found = redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[2], 'WITHSCORES',
    'LIMIT', 0, n - count)
  for i = 1, #found, 2 do
    local id, score = found[i], found[i + 1]
    local rec = redis.call('HGET', KEYS[2], id)
    if is_settled_at(rec, score) then
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
