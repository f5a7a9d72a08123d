-- Reserves requests from the budget that all replicas share: none while the account is paused, else
-- as many as both buckets allow.
-- KEYS:  1 pause, 2 bucket of this kind of request, 3 bucket of all requests (all of one account)
-- ARGV:  1 maximum number of requests
--        2 and 3 rate per second (0: no limit) and burst of the first bucket, 4 and 5 of the second
--        6 how far ahead requests may be reserved, microseconds
-- Reply: requests granted, wait until the next try (0 if any was granted), delay of the first request,
--        gap between requests; all times in microseconds
--
-- A bucket is the generic cell rate algorithm: one number, the time at which the bucket is full
-- again. The script charges whole requests only, and only what both buckets grant, so two replicas
-- that ask lose nothing of the rate. A replica that reserves ahead loses nothing by waking up late.
-- A replica that must wait is told to wait for half of what it may reserve ahead, not for a single
-- request.
local pause = redis.call('PTTL', KEYS[1])
if pause > 0 then return {0, pause * 1000, 0, 0} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local n, wait, ahead = tonumber(ARGV[1]), 0, tonumber(ARGV[6])
local full_at, first, step = {}, 0, 0
for b = 1, 2 do
  local rate, burst = tonumber(ARGV[2 * b]), tonumber(ARGV[2 * b + 1])
  if rate > 0 then
    local gap = 1000000 / rate
    local full = math.max(tonumber(redis.call('GET', KEYS[b + 1]) or 0), now)
    full_at[b] = full
    -- Subtract first: a time in microseconds leaves no room for fractions in a double.
    local room = math.floor((burst * gap + ahead - (full - now)) / gap + 1e-6)
    local worth = math.max(1, math.floor(ahead / gap / 2))
    if room < 1 then wait = math.max(wait, math.ceil(full - now + worth * gap - burst * gap - ahead)) end
    n = math.min(n, math.max(room, 0))
    first = math.max(first, math.ceil(full - now + gap - burst * gap))
    step = math.max(step, math.ceil(gap))
  end
end
if n < 1 then return {0, math.max(wait, 1), 0, 0} end
for b = 1, 2 do
  if full_at[b] then
    local rate = tonumber(ARGV[2 * b])
    local full = full_at[b] + n * 1000000 / rate
    redis.call('SET', KEYS[b + 1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
  end
end
return {n, 0, first, step}
