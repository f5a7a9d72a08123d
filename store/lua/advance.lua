-- Moves milestones on, each only if it is still the one that was seen, of the record that was seen, and publishes what is to be told: so each is told
-- once, however many replicas look, and none is passed by who doesn't know what it is about now. The records stay as they are: a claim that somebody
-- holds stays good.
-- KEYS: 1 expiring, 2 events, 3 holds
-- ARGV: 1 length at which the events are trimmed; then per hold: id, version seen (48 bits; "": no record, "=": whatever it is), score seen,
--       new score ("": remove), number of events, events
-- Returns: per hold 1 moved, 0 somebody else was first
local reply, n = {}, 2
while ARGV[n] do
  local version = ARGV[n + 1]
  local score = redis.call('ZSCORE', KEYS[1], ARGV[n])
  local moved = score and tonumber(score) == tonumber(ARGV[n + 2])
  if moved and version ~= '=' then
    local rec = redis.call('HGET', KEYS[3], ARGV[n])
    moved = (rec and string.sub(rec, 5, 10) or '') == version
  end
  if moved then
    if ARGV[n + 3] == '' then
      redis.call('ZREM', KEYS[1], ARGV[n])
    else
      redis.call('ZADD', KEYS[1], ARGV[n + 3], ARGV[n])
    end
    for e = n + 5, n + 4 + ARGV[n + 4] do redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[e]) end
  end
  reply[#reply + 1] = moved and 1 or 0
  n = n + 5 + ARGV[n + 4]
end
return reply
