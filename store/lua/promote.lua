-- Moves what has come due into the ready lanes: leases that ran out, always; scheduled holds, if asked. Then tells which lanes have work.
-- KEYS: 1 scheduled, 2 leased, 3 holds, 4 lanes, 5 ready (the lanes' keys are this one and a colon and the lane)
-- ARGV: 1 how many at the most of each, 2 "1" to promote scheduled holds, 3 how many lanes to tell of
-- Returns: now (ms), promoted, taken over, score of the next scheduled hold or "", "1" if there is more, then lane, head, length of each lane
-- A record that this script can't read is put off by a minute, not dropped.
-- A settled hold has no business here; one whose settlement was in the append-only file by half only is taken out.
-- Invariant: a hold leaves one set and enters the next in the same script, so it is never in none.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local limit = tonumber(ARGV[1])
local heads = {}
local FINAL_FROM = 7

local function promote(from)
  local ids = redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, limit)
  if #ids == 0 then return 0 end
  local recs = redis.call('HMGET', KEYS[3], unpack(ids))
  local adds, odd, gone = {}, {}, {}
  for i, id in ipairs(ids) do
    local r = recs[i]
    if r and (#r < 23 or string.byte(r, 1) ~= 1 or #r < 23 + string.byte(r, 23)) then
      odd[#odd + 1] = now + 60000
      odd[#odd + 1] = id
    else
      gone[#gone + 1] = id
    end
    if r and gone[#gone] == id and string.byte(r, 2) < FINAL_FROM then
      local op = string.byte(r, 4)
      local lane = op .. ':' .. string.sub(r, 24, 23 + string.byte(r, 23))
      local b1, b2, b3, b4, b5, b6 = string.byte(r, 17, 22)
      local deadline = ((((b1 * 256 + b2) * 256 + b3) * 256 + b4) * 256 + b5) * 256 + b6
      local add = adds[lane]
      if not add then add = {}; adds[lane] = add end
      add[#add + 1] = deadline
      add[#add + 1] = id
      if not heads[lane] or deadline < heads[lane] then heads[lane] = deadline end
    end
  end
  -- Into the next set first, out of the last one last: a Redis that died can come back with the beginning of this.
  for lane, add in pairs(adds) do
    redis.call('ZADD', KEYS[4], 'LT', heads[lane], lane)
    redis.call('ZADD', KEYS[5] .. ':' .. lane, unpack(add))
  end
  if #odd > 0 then redis.call('ZADD', from, unpack(odd)) end
  if #gone > 0 then redis.call('ZREM', from, unpack(gone)) end
  return #ids
end

local taken = promote(KEYS[2])
local promoted, next_due = 0, ''
if ARGV[2] == '1' then
  promoted = promote(KEYS[1])
  local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if head[2] then next_due = head[2] end
end
local more = '0'
if taken == limit or promoted == limit then more = '1' end
local reply = {now, promoted, taken, next_due, more}
local lanes = redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1, 'WITHSCORES')
for i = 1, #lanes, 2 do
  local lane = lanes[i]
  local key = KEYS[5] .. ':' .. lane
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[2] then
    if head[2] ~= lanes[i + 1] then redis.call('ZADD', KEYS[4], head[2], lane) end
    reply[#reply + 1] = lane
    reply[#reply + 1] = head[2]
    reply[#reply + 1] = redis.call('ZCARD', key)
  else
    redis.call('ZREM', KEYS[4], lane)
  end
end
return reply
