-- Requests a refresh of an intent that a webhook named. The refresh is due now
-- if an open hold has the intent, or if the caller requests it for an intent
-- without a hold. Otherwise Redis remembers the intent until commit.lua creates
-- its hold.
--
-- KEYS:
--   KEYS[1]  holds
--   KEYS[2]  refresh
--   KEYS[3]  unmatched
--   KEYS[4]  changes
-- ARGV:
--   ARGV[1]  intent id
--   ARGV[2]  member of refresh for an intent without a hold; "": remember the
--            intent in unmatched
--   ARGV[3]  how long Redis remembers the intent, ms
--   ARGV[4]  maximum number of intents that Redis remembers
-- Reply:
--   1 if the refresh is due, 2 if Redis remembers the intent, 3 if the hold is
--   final
--
-- A repeated request always raises the score. A worker that finishes the
-- earlier refresh therefore does not remove the later request.
local now = now_ms()
local rec = redis.call('HGET', KEYS[1], ARGV[1])
local member = ARGV[2]
write_despite_maxmemory('ZREM', KEYS[2])
if rec then
  if is_final(record_state(rec)) then return 3 end
  member = ARGV[1]
end
if member ~= '' then
  local requested = redis.call('ZSCORE', KEYS[2], member)
  if requested and tonumber(requested) >= now then now = tonumber(requested) + 1 end
  count_change(KEYS[4])
  redis.call('ZADD', KEYS[2], now, member)
  return 1
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[4])
return 2
