-- Reserves requests to Stripe from the budget that all replicas share. While
-- the account is paused it reserves none, otherwise as many as both buckets
-- allow.
--
-- KEYS:
--   KEYS[1]  pause
--   KEYS[2]  bucket of this kind of request
--   KEYS[3]  bucket of all requests of the account
--   KEYS[4]  rates that were lowered
--   KEYS[5]  bucket of this priority's guaranteed share
-- ARGV:
--   ARGV[1]  maximum number of requests
--   ARGV[2]  rate of the first bucket, per second; 0: no limit
--   ARGV[3]  burst of the first bucket
--   ARGV[4]  rate of the second bucket, per second; 0: no limit
--   ARGV[5]  burst of the second bucket
--   ARGV[6]  how far ahead requests may be reserved, microseconds
--   ARGV[7]  field of the first bucket's rate in KEYS[4]
--   ARGV[8]  part of a bucket that this priority may use, 0 to 1
--   ARGV[9]  1 if this priority has a guaranteed share
-- Reply: times in microseconds
--   number of requests reserved
--   time until the next try; 0 if any request was reserved
--   delay of the first request
--   interval between two requests
--
-- A bucket is the generic cell rate algorithm. Its value is the time at which
-- the bucket is full again, and how many requests it allowed in this second and
-- in the one before. The script charges only whole requests that both buckets
-- allow, so concurrent replicas waste none of the rate. A replica that reserves
-- ahead loses no requests by waking up late. A replica that must wait waits for
-- half of what it may reserve ahead, so that it does not call the script once
-- for each request.
--
-- A priority below the highest may use only a part of each bucket, so a higher
-- one always finds room. Its guaranteed share is a small bucket of its own, for
-- one request at a time when the part is used up. It is a part of the rates as
-- they are now, and charged to the buckets, so that all shares together stay
-- within these.
--
-- No bucket is filled for longer than FILL_LIMIT_MS beyond what may be reserved,
-- even if the clock went back.
local pause = redis.call('PTTL', KEYS[1])
if pause > 0 then return {0, pause * 1000, 0, 0} end
local t = redis.call('TIME')
local now, second = t[1] * 1000000 + t[2], tonumber(t[1])
local n, ahead, part = tonumber(ARGV[1]), tonumber(ARGV[6]), tonumber(ARGV[8])
local fields = {ARGV[7], 'all'}
local lowered = redis.call('HMGET', KEYS[4], fields[1], fields[2])
local guaranteed = ARGV[9] == '1' and math.huge or 0
local buckets, wait, first, step = {}, 0, 0, 0

for b = 1, 2 do
  local rate, burst = tonumber(ARGV[2 * b]), tonumber(ARGV[2 * b + 1])
  if rate > 0 then
    local bucket = decode_bucket(redis.call('GET', KEYS[b + 1]), second)
    bucket.most = rate
    if lowered[b] then
      bucket.lowered = decode_lowered_rate(lowered[b])
      rate = rate_after(bucket.lowered, rate)
    end
    bucket.rate = rate
    buckets[b] = bucket
    local interval = 1000000 / rate
    local limit = (burst + 2) * interval + ahead + FILL_LIMIT_MS * 1000
    bucket.full_at = math.min(math.max(bucket.full_at, now), now + limit)
    guaranteed = math.min(guaranteed, rate * SHARE_PERCENT / 100)
    local room = math.ceil(part * burst) * interval + part * ahead
    -- Subtract first: beside a Unix time in microseconds, a double has no room
    -- for fractions.
    local filled = bucket.full_at - now
    if filled > burst * interval + SHARE_FILL_MS * 1000 then guaranteed = 0 end
    local available = math.floor((room - filled) / interval + 1e-6)
    if available < 1 then
      local wait_for = math.max(1, math.floor(ahead / interval / 2))
      wait = math.max(wait, math.ceil(filled + wait_for * interval - room))
    end
    n = math.min(n, math.max(available, 0))
    first = math.max(first, math.ceil(filled + interval - burst * interval))
    step = math.max(step, math.ceil(interval))
  end
end

write_despite_maxmemory('HDEL', KEYS[4])
if wait > 0 and guaranteed > 0 and tonumber(ARGV[1]) > 0 then
  local interval = 1000000 / guaranteed
  local free_at = tonumber(redis.call('GET', KEYS[5]) or 0)
  if free_at <= now or free_at > now + interval then -- or the clock went back
    n = 1
    redis.call('SET', KEYS[5], string.format('%.0f', now + interval),
      'PX', math.ceil(interval / 1000) + 1000)
  else
    wait = math.min(wait, free_at - now)
  end
end
if n < 1 then return {0, math.max(math.ceil(wait), 1), 0, 0} end

for b = 1, 2 do
  local bucket = buckets[b]
  if bucket then
    bucket.full_at = bucket.full_at + n * 1000000 / bucket.rate
    bucket.count = bucket.count + n
    redis.call('SET', KEYS[b + 1], encode_bucket(bucket, second),
      'PX', math.ceil((bucket.full_at - now) / 1000) + 2000)
    if bucket.lowered then
      bucket.lowered.used = bucket.lowered.used + n / bucket.rate
      save_lowered_rate(KEYS[4], fields[b], bucket.lowered, bucket.most)
    end
  end
end
return {n, 0, math.max(first, 0), step}
