-- Claims holds of one lane for a worker, nearest deadline first, under a lease.
-- KEYS:  1 the lane, 2 leased, 3 holds, 4 lanes
-- ARGV:  1 maximum number of holds
--        2 length of the lease, ms
--        3 name of the lane
--        4 claim nothing with a deadline after this (ms); "": no bound
-- Reply: now (ms), then for each hold its id, its record, "1" if it takes over an earlier claim
--
-- A claim raises the version, so the worker of an earlier claim cannot commit. The version becomes
-- at least the time in milliseconds: no later write reaches it by counting if a failover forgets
-- this claim. The microseconds are added on top, because a failover may set the clock back, and the
-- same hold is then claimed again in the same millisecond.
--
-- A record that this release cannot read is leased and not changed. The caller reports it, and it
-- returns when the lease ends.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local microseconds = t[2] % 1000 * 1000
local ids
if ARGV[4] == '' then
  ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, ARGV[1])
end
local reply = {now}
if #ids == 0 then return reply end

local now48, lease_end = bytes48(now), now + ARGV[2]
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
      version = math.max(version + 1, now) + microseconds
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
-- Add to the next set before removing from the last one: a Redis that lost power can come back with
-- only the first of these commands.
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
