-- Moves milestones on, each only if it is still the one that was seen, and publishes what is to be told: so each is told once,
-- however many replicas look. The records stay as they are: a claim that somebody holds stays good.
-- KEYS: 1 expiring, 2 events
-- ARGV: 1 length at which the events are trimmed; then per hold: id, score seen, new score ("": remove), number of events, events
-- Returns: per hold 1 moved, 0 somebody else was first
local reply, n = {}, 2
while ARGV[n] do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[n])
  local moved = score and tonumber(score) == tonumber(ARGV[n + 1])
  if moved then
    if ARGV[n + 2] == '' then
      redis.call('ZREM', KEYS[1], ARGV[n])
    else
      redis.call('ZADD', KEYS[1], ARGV[n + 2], ARGV[n])
    end
    for e = n + 4, n + 3 + ARGV[n + 3] do redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[e]) end
  end
  reply[#reply + 1] = moved and 1 or 0
  n = n + 4 + ARGV[n + 3]
end
return reply
