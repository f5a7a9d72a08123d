-- Promotes due holds to their ready lanes: always those whose lease ended, and scheduled ones if
-- the caller asks for them. Then lists the lanes that have work.
-- KEYS:  1 scheduled, 2 leased, 3 holds, 4 lanes, 5 ready (the key of a lane is this one with :LANE)
-- ARGV:  1 maximum number of holds, for each of the two sets
--        2 "1": promote scheduled holds
--        3 maximum number of lanes to list
-- Reply: now (ms), number of scheduled holds promoted, number of leases that ended, score of the next
--        scheduled hold or "", "1" if there is more, then for each lane its name, its nearest deadline,
--        its number of holds
--
-- A record that this release cannot read is put off by a minute and not removed. A final hold is
-- removed: a crash in the middle of writing the append-only file can leave one here.
-- A hold leaves one set and enters the next in the same script, so it is never in none.
local now = now_ms()
local limit = tonumber(ARGV[1])
local nearest = {} -- by lane

local function promote(from)
  local ids = redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, limit)
  if #ids == 0 then return 0 end
  local recs = redis.call('HMGET', KEYS[3], unpack(ids))
  local join_lanes, put_off, remove = {}, {}, {}
  for i, id in ipairs(ids) do
    local rec = recs[i]
    if rec and not is_readable(rec) then
      put_off[#put_off + 1] = now + 60000
      put_off[#put_off + 1] = id
    else
      remove[#remove + 1] = id
      if rec and not is_final(record_state(rec)) then
        local lane, deadline = record_lane(rec), record_deadline(rec)
        local add = join_lanes[lane]
        if not add then add = {}; join_lanes[lane] = add end
        add[#add + 1] = deadline
        add[#add + 1] = id
        if not nearest[lane] or deadline < nearest[lane] then nearest[lane] = deadline end
      end
    end
  end
  -- Add to the next set before removing from the last one: a Redis that died can come back with
  -- only the first of these commands.
  for lane, add in pairs(join_lanes) do
    redis.call('ZADD', KEYS[4], 'LT', nearest[lane], lane)
    redis.call('ZADD', KEYS[5] .. ':' .. lane, unpack(add))
  end
  if #put_off > 0 then redis.call('ZADD', from, unpack(put_off)) end
  if #remove > 0 then redis.call('ZREM', from, unpack(remove)) end
  return #ids
end

local ended_leases = promote(KEYS[2])
local promoted, next_due = 0, ''
if ARGV[2] == '1' then
  promoted = promote(KEYS[1])
  local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if head[2] then next_due = head[2] end
end
local more = '0'
if ended_leases == limit or promoted == limit then more = '1' end
local reply = {now, promoted, ended_leases, next_due, more}
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
