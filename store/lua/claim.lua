-- Claims holds of several lanes for a worker under a lease, in each lane nearest
-- deadline first.
--
-- KEYS:
--   KEYS[1]  leased
--   KEYS[2]  holds
--   KEYS[3]  lanes
--   KEYS[4]  ready, the prefix of the lanes: lane NAME has the key KEYS[4]:NAME
--   KEYS[5]  changes
-- ARGV:
--   ARGV[1]  length of the lease, ms
--   Then for each lane:
--   SHARE_LANE   its name; a second share of the same lane claims nothing
--   SHARE_HOLDS  maximum number of holds
--   SHARE_UNTIL  latest deadline to claim (ms); "": claim any
-- Reply:
--   now (ms)
--   then for each lane
--     number of its holds in this reply
--     nearest deadline that is left in the lane (ms), or ""
--     then for each hold
--       its id
--       its record
--       "1" if the claim takes over an earlier one, else "0"
--
-- A claim raises the version, so the worker of an earlier claim cannot commit.
-- The new version is at least the time in milliseconds. If a failover loses the
-- claim, later writes that raise the version by one do not reach that number.
-- A failover may also set the clock back, and the hold can then be claimed again
-- in the same millisecond. So the version also gets the microseconds within the
-- millisecond, times 1,000: later claims and writes add less than that.
--
-- The script leases a record that this release cannot read, and does not change
-- it. The caller reports the hold, which returns when the lease ends.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local within_ms = t[2] % 1000 * 1000

-- ids are the holds of all lanes, one lane after the other. The holds of
-- lanes[i] end at lanes[i].last.
local ids, lanes, seen = {}, {}, {}
for n = 2, #ARGV, SHARE_SIZE do
  local name, most = ARGV[n + SHARE_LANE], tonumber(ARGV[n + SHARE_HOLDS])
  local latest = tonumber(ARGV[n + SHARE_UNTIL]) or math.huge
  local lane = {name = name, key = KEYS[4] .. ':' .. name, ids = {}, head = ''}
  if not seen[name] then
    seen[name] = true
    -- One more than wanted: the next head of the lane.
    local found = redis.call('ZRANGE', lane.key, 0, most, 'WITHSCORES')
    for i = 1, #found, 2 do
      if #lane.ids == most or tonumber(found[i + 1]) > latest then
        lane.head = found[i + 1]
        break
      end
      lane.ids[#lane.ids + 1] = found[i]
      ids[#ids + 1] = found[i]
    end
  else
    lane.again = true
  end
  lane.last = #ids
  lanes[#lanes + 1] = lane
end

local recs = {}
if #ids > 0 then recs = redis.call('HMGET', KEYS[2], unpack(ids)) end
local now48, lease_end = encode_uint48(now), now + ARGV[1]
local records, leases, reply = {}, {}, {now}

-- claim adds a hold to the lists of what to write and to the reply. It returns
-- whether the worker gets the hold.
local function claim(id, rec)
  if not rec then return false end
  local taken_over = '0'
  if is_readable(rec) then
    local state = record_state(rec)
    if is_final(state) or record_next_op(rec) == 0 then return false end
    local previous_state, claimed_at = state, now48
    if state == STATE_WORKING then
      previous_state = record_previous_state(rec)
      claimed_at, taken_over = record_claimed_at(rec), '1'
    end
    local version = record_version_number(rec)
    version = math.max(version + 1, now) + within_ms
    rec = claimed_record(rec, previous_state, version, claimed_at)
    records[#records + 1] = id
    records[#records + 1] = rec
  end
  leases[#leases + 1] = lease_end
  leases[#leases + 1] = id
  reply[#reply + 1] = id
  reply[#reply + 1] = rec
  reply[#reply + 1] = taken_over
  return true
end

local first = 1
for _, lane in ipairs(lanes) do
  local count_at, count = #reply + 1, 0
  reply[count_at], reply[count_at + 1] = 0, lane.head
  for i = first, lane.last do
    if claim(ids[i], recs[i]) then count = count + 1 end
  end
  reply[count_at] = count
  first = lane.last + 1
end

write_despite_maxmemory('ZREM', KEYS[1])
if #ids > 0 then count_change(KEYS[5]) end
-- Add to the next set before removing from the last one: after a crash, Redis
-- can come back with only the first of these commands.
if #leases > 0 then redis.call('ZADD', KEYS[1], unpack(leases)) end
if #records > 0 then redis.call('HSET', KEYS[2], unpack(records)) end
local heads, empty = {}, {}
for _, lane in ipairs(lanes) do
  if #lane.ids > 0 then redis.call('ZREM', lane.key, unpack(lane.ids)) end
  if lane.head ~= '' then
    heads[#heads + 1] = lane.head
    heads[#heads + 1] = lane.name
  elseif not lane.again then
    empty[#empty + 1] = lane.name
  end
end
if #heads > 0 then redis.call('ZADD', KEYS[3], unpack(heads)) end
if #empty > 0 then redis.call('ZREM', KEYS[3], unpack(empty)) end
return reply
