-- Reserves requests to Stripe from the budget that all replicas share. While
-- the account is paused it reserves none, otherwise as many as both buckets
-- allow.
--
-- KEYS:
--   KEYS[1]  pause
--   KEYS[2]  bucket of this kind of request
--   KEYS[3]  bucket of all requests of the account
-- ARGV:
--   ARGV[1]  maximum number of requests
--   ARGV[2]  rate of the first bucket, per second; 0: no limit
--   ARGV[3]  burst of the first bucket
--   ARGV[4]  rate of the second bucket, per second; 0: no limit
--   ARGV[5]  burst of the second bucket
--   ARGV[6]  how far ahead requests may be reserved, microseconds
-- Reply: times in microseconds
--   number of requests reserved
--   time until the next try; 0 if any request was reserved
--   delay of the first request
--   interval between two requests
--
-- A bucket is the generic cell rate algorithm. Its value is one number, the
-- time at which the bucket is full again. The script charges only whole
-- requests that both buckets allow, so concurrent replicas waste none of the
-- rate. A replica that reserves ahead loses no requests by waking up late. A
-- replica that must wait waits for half of what it may reserve ahead, so that
-- it does not call the script once for each request.
local pause = redis.call('PTTL', KEYS[1])
if pause > 0 then return {0, pause * 1000, 0, 0} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local n, wait, ahead = tonumber(ARGV[1]), 0, tonumber(ARGV[6])
local full_at, first, step = {}, 0, 0
for b = 1, 2 do
  local rate, burst = tonumber(ARGV[2 * b]), tonumber(ARGV[2 * b + 1])
  if rate > 0 then
    local interval = 1000000 / rate
    local full_again = math.max(tonumber(redis.call('GET', KEYS[b + 1]) or 0), now)
    full_at[b] = full_again
    -- Subtract first: beside a Unix time in microseconds, a double has no room
    -- for fractions.
    local available = math.floor((burst * interval + ahead - (full_again - now)) / interval + 1e-6)
    local wait_for = math.max(1, math.floor(ahead / interval / 2))
    if available < 1 then
      wait = math.max(wait,
        math.ceil(full_again - now + wait_for * interval - burst * interval - ahead))
    end
    n = math.min(n, math.max(available, 0))
    first = math.max(first, math.ceil(full_again - now + interval - burst * interval))
    step = math.max(step, math.ceil(interval))
  end
end
if n < 1 then return {0, math.max(wait, 1), 0, 0} end
for b = 1, 2 do
  if full_at[b] then
    local rate = tonumber(ARGV[2 * b])
    local full_again = full_at[b] + n * 1000000 / rate
    redis.call('SET', KEYS[b + 1], string.format('%.0f', full_again),
      'PX', math.ceil((full_again - now) / 1000) + 1000)
  end
end
return {n, 0, first, step}
