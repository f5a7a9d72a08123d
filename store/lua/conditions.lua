-- Takes in what a replica says of conditions that several replicas see, and publishes where an episode begins, gets worse or ends: once each.
-- KEYS: 1 open episodes, 2 events, 3 who sees a condition (the keys are this one and a colon and its name), by until when that counts
-- ARGV: 1 length at which the events are trimmed, 2 replica, 3 how long its word counts (ms), 4 how long a condition must be gone before the
--       episode has ended (ms), then for each condition: name, "1": seen, how bad, event of the beginning, event of the end
-- Returns: for each condition 1 an episode begins, 2 it has ended, 3 it is worse than was told, 0 no news
-- A replica that dies takes its word with it after a while; what is seen by one of them is not over because another doesn't see it.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local reply, n = {}, 5
local function tell(event)
  if event ~= '' then redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'event', event) end
end
while ARGV[n] do
  local name, level = ARGV[n], tonumber(ARGV[n + 2])
  local seers = KEYS[3] .. ':' .. name
  local news = 0
  local state = redis.call('HGET', KEYS[1], name)
  if ARGV[n + 1] == '1' then
    redis.call('ZADD', seers, now + ARGV[3], ARGV[2])
    redis.call('PEXPIRE', seers, ARGV[3])
    local worst = -1
    if state then worst = tonumber(string.match(state, ':(%d+)$')) end
    if level > worst then
      news = state and 3 or 1
      worst = level
      tell(ARGV[n + 3])
    end
    redis.call('HSET', KEYS[1], name, string.format('%.0f:%d', now, worst))
  elseif state then
    redis.call('ZREM', seers, ARGV[2])
    redis.call('ZREMRANGEBYSCORE', seers, '-inf', now)
    if redis.call('ZCARD', seers) == 0 and now - tonumber(string.match(state, '^(%d+):')) >= tonumber(ARGV[4]) then
      redis.call('HDEL', KEYS[1], name)
      news = 2
      tell(ARGV[n + 4])
    end
  end
  reply[#reply + 1] = news
  n = n + 5
end
return reply
