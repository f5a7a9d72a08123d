-- Leases the holds with the nearest deadlines of one lane to the caller.
-- KEYS: 1 the lane, 2 leased, 3 holds, 4 lanes
-- ARGV: 1 how many at the most, 2 lease (ms), 3 the lane's name, 4 nothing with a deadline after this (ms) or ""
-- Returns: now (ms), then id, record, "1" if an earlier claim did not report
-- Fencing: the version in the record grows here, so whoever held an earlier lease can't commit any more. It grows to the time in milliseconds
-- at least, not just by one: a claim that a failover forgot then has a version that no later write reaches by counting. And it leaps on by what
-- the clock shows below the millisecond, because what is due at a moment is claimed in the same millisecond again where a failover set the clock back.
-- A record that this script can't read stays leased and untouched: it is told to the caller, and met again.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local leap = t[2] % 1000 * 1000
local ids
if ARGV[4] == '' then
  ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, ARGV[1])
end
local reply = {now}
if #ids == 0 then return reply end

local function pack48(n)
  local b6 = n % 256; n = (n - b6) / 256
  local b5 = n % 256; n = (n - b5) / 256
  local b4 = n % 256; n = (n - b4) / 256
  local b3 = n % 256; n = (n - b3) / 256
  local b2 = n % 256; n = (n - b2) / 256
  return string.char(n, b2, b3, b4, b5, b6)
end

local WORKING, FINAL_FROM = 5, 7
local began = pack48(now)
local lease = now + ARGV[2]
local recs = redis.call('HMGET', KEYS[3], unpack(ids))
local sets, leases = {}, {}
for i, id in ipairs(ids) do
  local r = recs[i]
  if r and (#r < 23 or string.byte(r, 1) ~= 1 or #r < 23 + string.byte(r, 23)) then
    leases[#leases + 1] = lease
    leases[#leases + 1] = id
    reply[#reply + 1] = id
    reply[#reply + 1] = r
    reply[#reply + 1] = '0'
  elseif r then
    local state, prior, op = string.byte(r, 2, 4)
    if state < FINAL_FROM and op > 0 then
      local since, taken = string.sub(r, 11, 16), '1'
      if state ~= WORKING then prior, since, taken = state, began, '0' end
      local b1, b2, b3, b4, b5, b6 = string.byte(r, 5, 10)
      local version = ((((b1 * 256 + b2) * 256 + b3) * 256 + b4) * 256 + b5) * 256 + b6
      version = math.max(version + 1, now) + leap
      r = string.sub(r, 1, 1) .. string.char(WORKING, prior, op) .. pack48(version) .. since .. string.sub(r, 17)
      sets[#sets + 1] = id
      sets[#sets + 1] = r
      leases[#leases + 1] = lease
      leases[#leases + 1] = id
      reply[#reply + 1] = id
      reply[#reply + 1] = r
      reply[#reply + 1] = taken
    end
  end
end
-- Into the next set first, out of the last one last: a Redis that lost power can come back with the beginning of this.
if #leases > 0 then redis.call('ZADD', KEYS[2], unpack(leases)) end
if #sets > 0 then redis.call('HSET', KEYS[3], unpack(sets)) end
redis.call('ZREM', KEYS[1], unpack(ids))
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if head[2] then redis.call('ZADD', KEYS[4], head[2], ARGV[3]) else redis.call('ZREM', KEYS[4], ARGV[3]) end
return reply
