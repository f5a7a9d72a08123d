-- Lowers a shared rate after Stripe rejected a request for it, once in each
-- episode.
--
-- KEYS:
--   KEYS[1]  bucket of the rate
--   KEYS[2]  rates that were lowered
-- ARGV:
--   ARGV[1]  field of the rate in KEYS[2]: a kind of request, or "all"
--   ARGV[2]  maximum rate, per second
--   ARGV[3]  how long ago the request was sent, microseconds
-- Reply:
--   1
--
-- A cut is small, because a limiter without a burst rejects a request that comes
-- a moment too early, although the rate is right. The fewer requests a second, the
-- more such a moment is of the interval between two, so a cut is also at least
-- RATE_CUT_REQUEST_PERCENT of a request a second. If a cut did not help, the part
-- that was rejected in the last second says how deep the next one must be. If that
-- is more than RATE_DEEP_PERCENT, the rate becomes what Stripe accepted, as in TCP
-- Westwood, and the bucket pauses for two intervals. A rate that had risen for
-- long is cut from its mean since the last cut, because a limiter with a burst
-- accepts more for a while. Rejections of requests that were sent before the rate
-- was lowered, or reserved by then, belong to the same episode: they are counted
-- only.
--
-- What was accepted is the most of three estimates: of the last second, of the
-- second of the clock before, and of this one. Each of them is too low if the
-- requests began or ended within its time.
write_despite_maxmemory('HDEL', KEYS[2])
local t = redis.call('TIME')
local now, second = t[1] * 1000000 + t[2], tonumber(t[1])
local most = tonumber(ARGV[2])
local value = redis.call('HGET', KEYS[2], ARGV[1])
local lowered = value and decode_lowered_rate(value)
local l = lowered or {used = 0, at = 0, second = second, rejected = 0, before = 0}
if second - l.second == 1 then
  l.before, l.rejected = l.rejected, 0
elseif second ~= l.second then
  l.before, l.rejected = 0, 0
end
l.second, l.rejected = second, l.rejected + 1

local same_episode = lowered and l.at <= now and now - ARGV[3] <= l.at + RATE_EPISODE_MS * 1000
if not same_episode then
  local rate = lowered and rate_after(l, most) or most
  local bucket = decode_bucket(redis.call('GET', KEYS[1]), second)
  local passed = t[2] / 1000000 -- of this second
  local this, previous = bucket.count - l.rejected, bucket.previous - l.before
  local accepted = math.max(this + (1 - passed) * previous, previous)
  if passed > 0.3 then accepted = math.max(accepted, this / passed) end
  local rejected = 0
  if lowered and l.used < RATE_AGAIN then rejected = math.max(0, 1 - accepted / rate) end
  local least = most * RATE_LEAST_PERCENT / 100
  if rejected > RATE_DEEP_PERCENT / 100 then
    rate = math.max(least, accepted)
    bucket.full_at = math.max(bucket.full_at, now) + 2 * 1000000 / rate
    redis.call('SET', KEYS[1], encode_bucket(bucket, second),
      'PX', math.ceil((bucket.full_at - now) / 1000) + 2000)
  else
    if lowered and l.used > 2 * RATE_PLATEAU then rate = mean_rate_since(l) end
    rate = rate * (1 - math.max(RATE_CUT_PERMILLE / 1000,
      RATE_CUT_REQUEST_PERCENT / 100 / rate, rejected / 4))
  end
  l.accepted = math.max(least, rate / (1 - RATE_RISE_PERMILLE / 1000))
  l.used, l.at = 0, now
end
save_lowered_rate(KEYS[2], ARGV[1], l, most)
return 1
