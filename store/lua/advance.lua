-- Moves deadline milestones and publishes their events. A milestone moves only
-- if it still has the score that the caller read and the record still has the
-- version that the caller read. Of several replicas that read the milestone,
-- one publishes it. The script does not rewrite the record, so a worker that
-- has claimed the hold can still commit.
--
-- KEYS:
--   KEYS[1]  expiring (or refresh)
--   KEYS[2]  events
--   KEYS[3]  holds
--   KEYS[4]  changes
-- ARGV:
--   ARGV[1]  bytes of events to keep in the stream
--   Then for each milestone its arguments and its events:
--   ADVANCE_ID           hold id
--   ADVANCE_VERSION      version of the record, 6 bytes; "": the hold must have
--                        no record; "=": do not check the record
--   ADVANCE_FROM         score that the caller read
--   ADVANCE_TO           new score; "": remove the hold from the set
--   ADVANCE_EVENT_COUNT  number of events that follow
-- Reply: for each milestone
--   1 if it moved, 0 if its score or the version of the record has changed
local reply, n, any_moved = {}, 2, false
write_despite_maxmemory('ZREM', KEYS[1])
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
    any_moved = true
    if to == '' then
      redis.call('ZREM', KEYS[1], id)
    else
      redis.call('ZADD', KEYS[1], to, id)
    end
    for e = events, next_milestone - 1 do
      redis.call('XADD', KEYS[2], '*', 'event', ARGV[e])
      trim_events(KEYS[2], ARGV[1])
    end
  end
  reply[#reply + 1] = moved and 1 or 0
  n = next_milestone
end
if any_moved then count_change(KEYS[4]) end
return reply
