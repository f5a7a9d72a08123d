-- Draws requests from the budget that all replicas share: nothing while the account is slowed, else as many as both buckets hold.
-- KEYS: 1 slowed, 2 bucket of the kind of request, 3 bucket over all (all of one account)
-- ARGV: 1 how many at the most, then for each bucket rate a second (0: no limit) and burst, 6 how far ahead requests may be promised (microseconds)
-- Returns: granted, microseconds until it makes sense to ask again (0 if any was granted), until the first may be sent, from each to the next
-- A bucket is the generic cell rate algorithm: one number, the time at which it would be full again. Only whole requests are charged, and only
-- what both buckets grant, so nothing of the rate is lost between two that ask. Who asks ahead gets a part of the near future: nothing of it is lost
-- either because nobody woke up at the very moment, and who must wait is told when half of that part is there, not for each request.
local slow = redis.call('PTTL', KEYS[1])
if slow > 0 then return {0, slow * 1000, 0, 0} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local n, wait, ahead = tonumber(ARGV[1]), 0, tonumber(ARGV[6])
local tats, first, step = {}, 0, 0
for b = 1, 2 do
  local rate, burst = tonumber(ARGV[2 * b]), tonumber(ARGV[2 * b + 1])
  if rate > 0 then
    local gap = 1000000 / rate
    local tat = math.max(tonumber(redis.call('GET', KEYS[b + 1]) or 0), now)
    tats[b] = tat
    -- Differences first: a time in microseconds leaves a double no room for fractions of one.
    local room = math.floor((burst * gap + ahead - (tat - now)) / gap + 1e-6)
    local worth = math.max(1, math.floor(ahead / gap / 2))
    if room < 1 then wait = math.max(wait, math.ceil(tat - now + worth * gap - burst * gap - ahead)) end
    n = math.min(n, math.max(room, 0))
    first = math.max(first, math.ceil(tat - now + gap - burst * gap))
    step = math.max(step, math.ceil(gap))
  end
end
if n < 1 then return {0, math.max(wait, 1), 0, 0} end
for b = 1, 2 do
  if tats[b] then
    local rate = tonumber(ARGV[2 * b])
    local tat = tats[b] + n * 1000000 / rate
    redis.call('SET', KEYS[b + 1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1000)
  end
end
return {n, 0, first, step}
