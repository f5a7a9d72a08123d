-- Claims holds of one lane for a worker, nearest deadline first, under a lease.
--
-- KEYS:
--   KEYS[1]  the lane
--   KEYS[2]  leased
--   KEYS[3]  holds
--   KEYS[4]  lanes
-- ARGV:
--   ARGV[1]  maximum number of holds
--   ARGV[2]  length of the lease, ms
--   ARGV[3]  name of the lane
--   ARGV[4]  latest deadline to claim (ms); "": claim any
-- Reply:
--   now (ms)
--   then for each hold
--     its id
--     its record
--     "1" if the claim takes over an earlier one, else "0"
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
local ids
if ARGV[4] == '' then
  ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, ARGV[1])
end
local reply = {now}
if #ids == 0 then return reply end

local now48, lease_end = encode_uint48(now), now + ARGV[2]
local recs = redis.call('HMGET', KEYS[3], unpack(ids))
local records, leases = {}, {}
for i, id in ipairs(ids) do
  local rec = recs[i]
  if rec and not is_readable(rec) then
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = id
    reply[#reply + 1] = id
    reply[#reply + 1] = rec
    reply[#reply + 1] = '0'
  elseif rec then
    local state = record_state(rec)
    if not is_final(state) and record_next_op(rec) > 0 then
      local previous_state = record_previous_state(rec)
      local claimed_at, taken_over = record_claimed_at(rec), '1'
      if state ~= STATE_WORKING then previous_state, claimed_at, taken_over = state, now48, '0' end
      local version = record_version_number(rec)
      version = math.max(version + 1, now) + within_ms
      rec = claimed_record(rec, previous_state, version, claimed_at)
      records[#records + 1] = id
      records[#records + 1] = rec
      leases[#leases + 1] = lease_end
      leases[#leases + 1] = id
      reply[#reply + 1] = id
      reply[#reply + 1] = rec
      reply[#reply + 1] = taken_over
    end
  end
end
-- Add to the next set before removing from the last one: after a crash, Redis
-- can come back with only the first of these commands.
if #leases > 0 then redis.call('ZADD', KEYS[2], unpack(leases)) end
if #records > 0 then redis.call('HSET', KEYS[3], unpack(records)) end
redis.call('ZREM', KEYS[1], unpack(ids))
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if head[2] then
  redis.call('ZADD', KEYS[4], head[2], ARGV[3])
else
  redis.call('ZREM', KEYS[4], ARGV[3])
end
return reply
