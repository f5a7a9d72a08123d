-- Records which conditions a replica sees, and publishes the start, the worsening and the end of
-- each episode once over all replicas. An episode ends when no replica sees the condition any more.
-- What a replica reported lapses after a while, so a replica that dies cannot keep an episode open.
-- KEYS:  1 open episodes, 2 events, 3 condition (the replicas that see condition NAME are in this key
--        with :NAME, by when their report lapses)
-- ARGV:  1 number of events to keep in the stream
--        2 replica
--        3 how long its report counts, ms
--        4 how long a condition must be absent before its episode ends, ms
--        then for each condition CONDITION_NAME, CONDITION_ACTIVE ("1": the replica sees it),
--        CONDITION_SEVERITY, CONDITION_RAISED_EVENT, CONDITION_CLEARED_EVENT ("": publish none)
-- Reply: for each condition one of the CHANGE_ results, 0 if nothing changed
local now = now_ms()
local reply, n = {}, 5
local function publish(event)
  if event ~= '' then redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'event', event) end
end
while ARGV[n] do
  local name, severity = ARGV[n + CONDITION_NAME], tonumber(ARGV[n + CONDITION_SEVERITY])
  local observers = KEYS[3] .. ':' .. name
  local change = 0
  local episode = redis.call('HGET', KEYS[1], name) -- "last seen:worst severity"
  if ARGV[n + CONDITION_ACTIVE] == '1' then
    redis.call('ZADD', observers, now + ARGV[3], ARGV[2])
    redis.call('PEXPIRE', observers, ARGV[3])
    local worst = -1
    if episode then worst = tonumber(string.match(episode, ':(%d+)$')) end
    if severity > worst then
      change = episode and CHANGE_WORSENED or CHANGE_BEGAN
      worst = severity
      publish(ARGV[n + CONDITION_RAISED_EVENT])
    end
    redis.call('HSET', KEYS[1], name, string.format('%.0f:%d', now, worst))
  elseif episode then
    redis.call('ZREM', observers, ARGV[2])
    redis.call('ZREMRANGEBYSCORE', observers, '-inf', now)
    local last_seen = tonumber(string.match(episode, '^(%d+):'))
    if redis.call('ZCARD', observers) == 0 and now - last_seen >= tonumber(ARGV[4]) then
      redis.call('HDEL', KEYS[1], name)
      change = CHANGE_ENDED
      publish(ARGV[n + CONDITION_CLEARED_EVENT])
    end
  end
  reply[#reply + 1] = change
  n = n + CONDITION_SIZE
end
return reply
