-- Moves deadline milestones and publishes their events. A milestone moves only from the time that
-- the caller saw, and only if the record still has the version that the caller saw. So one replica
-- publishes it, however many replicas read it. The script does not rewrite the record: a worker
-- that has claimed the hold can still commit.
-- KEYS:  1 expiring (or refresh), 2 events, 3 holds
-- ARGV:  1 number of events to keep in the stream; then for each milestone its arguments and events:
--        ADVANCE_ID           hold id
--        ADVANCE_VERSION      6 bytes; "": there must be no record; "=": any record will do
--        ADVANCE_FROM         score that the caller saw
--        ADVANCE_TO           new score; "": remove the hold from the set
--        ADVANCE_EVENT_COUNT  how many events follow
-- Reply: for each milestone 1 if it moved, 0 if it had another score or the record another version
local reply, n = {}, 2
while ARGV[n] do
  local id, version, to = ARGV[n + ADVANCE_ID], ARGV[n + ADVANCE_VERSION], ARGV[n + ADVANCE_TO]
  local score = redis.call('ZSCORE', KEYS[1], id)
  local moved = score and tonumber(score) == tonumber(ARGV[n + ADVANCE_FROM])
  if moved and version ~= '=' then
    local rec = redis.call('HGET', KEYS[3], id)
    moved = (rec and record_version(rec) or '') == version
  end
  local events, next_milestone = n + ADVANCE_SIZE, n + ADVANCE_SIZE + ARGV[n + ADVANCE_EVENT_COUNT]
  if moved then
    if to == '' then
      redis.call('ZREM', KEYS[1], id)
    else
      redis.call('ZADD', KEYS[1], to, id)
    end
    for e = events, next_milestone - 1 do
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[e])
    end
  end
  reply[#reply + 1] = moved and 1 or 0
  n = next_milestone
end
return reply
