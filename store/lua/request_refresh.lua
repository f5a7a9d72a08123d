-- Requests a refresh of an intent that a webhook named. If it is an open hold's intent, or the
-- caller wants an unknown intent adopted, the refresh is due now. Otherwise Redis remembers the
-- intent until a hold for it is created.
-- KEYS:  1 holds, 2 refresh, 3 unmatched
-- ARGV:  1 intent id
--        2 member of refresh for an unknown intent; "": remember it in unmatched
--        3 how long to remember it, ms
--        4 maximum number of intents to remember
-- Reply: 1 the refresh is due, 2 the intent is remembered, 3 the hold is final
--
-- A repeated request always raises the score: a worker that finishes the earlier refresh must not
-- remove the later request.
local now = now_ms()
local rec = redis.call('HGET', KEYS[1], ARGV[1])
local member = ARGV[2]
if rec then
  if is_final(record_state(rec)) then return 3 end
  member = ARGV[1]
end
if member ~= '' then
  local requested = redis.call('ZSCORE', KEYS[2], member)
  if requested and tonumber(requested) >= now then now = tonumber(requested) + 1 end
  redis.call('ZADD', KEYS[2], now, member)
  return 1
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[4])
return 2
