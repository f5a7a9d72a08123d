-- Promotes due holds to their ready lanes: holds whose lease has ended, and if
-- the caller asks for it also scheduled holds. Then lists the lanes that have
-- holds.
--
-- KEYS:
--   KEYS[1]  scheduled
--   KEYS[2]  leased
--   KEYS[3]  holds
--   KEYS[4]  lanes
--   KEYS[5]  ready, the prefix of the lanes: lane NAME has the key KEYS[5]:NAME
--   KEYS[6]  changes
-- ARGV:
--   ARGV[1]  maximum number of holds, for each of the two sets
--   ARGV[2]  "1": promote scheduled holds
--   ARGV[3]  maximum number of lanes to list
--   ARGV[4]  and further: names of lanes not to list
-- Reply:
--   now (ms)
--   number of scheduled holds that were promoted
--   number of leases that had ended
--   score of the next scheduled hold, or "": without the unreadable ones that
--   are due, if scheduled holds were promoted
--   end of the next lease (ms), or "": the same
--   "1" if more holds are due, else "0"
--   "1" if there may be more lanes, beside those listed and skipped, else "0"
--   then for each lane
--     its name
--     its nearest deadline
--     its number of holds
--
-- A record that this release cannot read stays as it is, because a replica of a
-- later release may promote it now. Those above MAX_UNREADABLE_DUE are put off
-- for a minute, so that they hide no other hold. A final hold is removed from the
-- set: a crash while Redis wrote the append-only file can leave one there.
local now = now_ms()
local limit = tonumber(ARGV[1])
local nearest = {} -- by lane

-- score_after returns the score after the first n members of a set, or ''.
local function score_after(set, n)
  return redis.call('ZRANGE', set, n, n, 'WITHSCORES')[2] or ''
end

-- promote_batch promotes up to most due holds of a set, after the first left,
-- which are due and unreadable. It returns how many it took from the due ones,
-- how many are left, and whether it came to the end of the due ones.
local function promote_batch(from, left, most)
  local ids = redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', left, most)
  if #ids == 0 then return 0, left, true end
  local recs = redis.call('HMGET', KEYS[3], unpack(ids))
  local join_lanes, retry_later, remove = {}, {}, {}
  for i, id in ipairs(ids) do
    local rec = recs[i]
    if rec and not is_readable(rec) then
      if left < MAX_UNREADABLE_DUE then
        left = left + 1
      else
        retry_later[#retry_later + 1] = now + 60000
        retry_later[#retry_later + 1] = id
      end
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
  if #remove + #retry_later > 0 then
    write_despite_maxmemory('ZREM', from)
    count_change(KEYS[6])
  end
  -- Add to the next set before removing from the last one: after a crash,
  -- Redis can come back with only the first of these commands.
  local scores = {}
  for lane in pairs(join_lanes) do
    scores[#scores + 1] = nearest[lane]
    scores[#scores + 1] = lane
  end
  if #scores > 0 then redis.call('ZADD', KEYS[4], 'LT', unpack(scores)) end
  for lane, add in pairs(join_lanes) do
    redis.call('ZADD', KEYS[5] .. ':' .. lane, unpack(add))
  end
  if #retry_later > 0 then redis.call('ZADD', from, unpack(retry_later)) end
  if #remove > 0 then redis.call('ZREM', from, unpack(remove)) end
  return #remove + #retry_later / 2, left, #ids < most
end

-- promote promotes up to limit due holds of a set. It returns how many it took
-- from the due ones, and the next score of those that it can read, or ''.
local function promote(from)
  local taken, left, finished, n = 0, 0, false, 0
  while taken < limit and not finished do
    n, left, finished = promote_batch(from, left, limit - taken)
    taken = taken + n
  end
  return taken, score_after(from, left)
end

-- The heads come first: while nothing is due, they are all that is read.
local promoted, ended_leases = 0, 0
local next_lease, next_due = score_after(KEYS[2], 0), score_after(KEYS[1], 0)
if next_lease ~= '' and tonumber(next_lease) <= now then
  ended_leases, next_lease = promote(KEYS[2])
end
if ARGV[2] == '1' and next_due ~= '' and tonumber(next_due) <= now then
  promoted, next_due = promote(KEYS[1])
end
local more = '0'
if ended_leases == limit or promoted == limit then more = '1' end
local reply = {now, promoted, ended_leases, next_due, next_lease, more, '0'}
-- The lanes to skip may be the first of all. The script reads as many more
-- lanes as it skips, so that they hide none.
local most, skip = tonumber(ARGV[3]), {}
for i = 4, #ARGV do skip[ARGV[i]] = true end
local to_read = most + #ARGV - 3
local lanes = redis.call('ZRANGE', KEYS[4], 0, to_read, 'WITHSCORES')
if #lanes / 2 > to_read then reply[7] = '1' end
local listed = 0
for i = 1, #lanes, 2 do
  local lane = lanes[i]
  if listed < most and not skip[lane] then
    local key = KEYS[5] .. ':' .. lane
    local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if head[2] then
      if head[2] ~= lanes[i + 1] then
        write_despite_maxmemory('ZREM', KEYS[4])
        redis.call('ZADD', KEYS[4], head[2], lane)
      end
      reply[#reply + 1] = lane
      reply[#reply + 1] = head[2]
      reply[#reply + 1] = redis.call('ZCARD', key)
      listed = listed + 1
    else
      redis.call('ZREM', KEYS[4], lane)
    end
  end
end
return reply
