-- Records which conditions a replica observes. Publishes the start, each
-- worsening and the end of an episode once over all replicas. An episode ends
-- when no replica observes the condition any more. The report of a replica
-- expires, so a dead replica cannot keep an episode open.
--
-- KEYS:
--   KEYS[1]  open episodes
--   KEYS[2]  events
--   KEYS[3]  prefix of the sets of observers: the replicas that observe
--            condition NAME are in KEYS[3]:NAME, by the end of their report
--   KEYS[4]  changes
-- ARGV:
--   ARGV[1]  bytes of events to keep in the stream
--   ARGV[2]  replica
--   ARGV[3]  time after which the report expires, ms
--   ARGV[4]  time without the condition after which its episode ends, ms
--   Then for each condition its arguments:
--   CONDITION_NAME           name of the condition
--   CONDITION_ACTIVE         "1": the replica observes it
--   CONDITION_SEVERITY       severity, a number
--   CONDITION_RAISED_EVENT   event of a start or a worsening; "": none
--   CONDITION_CLEARED_EVENT  event of the end; "": none
-- Reply: for each condition
--   one of the CHANGE_ results, or 0 if nothing changed
write_despite_maxmemory('HDEL', KEYS[1])
local now = now_ms()
local reply, n = {}, 5
local function publish(event)
  if event ~= '' then
    count_change(KEYS[4])
    redis.call('XADD', KEYS[2], '*', 'event', event)
    trim_events(KEYS[2], ARGV[1])
  end
end
local names = {}
for i = n, #ARGV, CONDITION_SIZE do names[#names + 1] = ARGV[i + CONDITION_NAME] end
if #names == 0 then return reply end
local episodes = redis.call('HMGET', KEYS[1], unpack(names)) -- "last seen:worst severity"
while ARGV[n] do
  local name, severity = ARGV[n + CONDITION_NAME], tonumber(ARGV[n + CONDITION_SEVERITY])
  local observers = KEYS[3] .. ':' .. name
  local change = 0
  local episode = episodes[#reply + 1]
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
