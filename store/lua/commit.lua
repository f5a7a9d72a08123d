-- Commits writes to holds. The script writes each hold completely or not at
-- all, and only if the hold still has the version on which the decision was
-- made. Go decides which changes are allowed; every change uses this script.
-- If Redis has reached maxmemory, a call fails that has only new holds and does
-- not say that their money is held already.
--
-- KEYS:
--   The keys of one partition. commit.go lists them as KEY_HOLDS and so on.
-- ARGV:
--   ARGV[1]  bytes of events to keep in the stream
--   ARGV[2]  "1": write new holds despite maxmemory
--   Then for each write its arguments and its events:
--   WRITE_ID                hold id
--   WRITE_VERSION           version of the hold, 6 bytes; "": the hold must
--                           not exist
--   WRITE_RECORD            new record; "": delete the hold
--   WRITE_SCHEDULED         score in scheduled; "": remove the hold from the
--                           set; "=": keep the score
--   WRITE_LEASED, WRITE_ATTENTION, WRITE_UNVERIFIED, WRITE_MIRROR,
--   WRITE_DOUBLE_HELD
--                           the same for these sets
--   WRITE_SETTLED           time of the settlement (ms), as in the record; "":
--                           the hold is open or deleted
--   WRITE_EXPIRING          the same for expiring, or one of
--     "<score"              keep a milestone that is due and earlier than
--                           score, otherwise set score
--     "<score:by:at"        as "<score", but set a due milestone that is at
--                           most by and later than at back to at
--   WRITE_LANE              lane in which the hold is ready; "": not ready
--   WRITE_DEADLINE          score in the lane
--   WRITE_REFERENCE_REMOVE  member to remove from references; "": none
--   WRITE_REFERENCE_ADD     member to add to references; "": none
--   WRITE_EVENT_COUNT       number of events that follow
-- Reply: for each write
--   COMMIT_WRITTEN   if committed
--   COMMIT_REPEATED  if the same record is stored already; nothing changes. The
--                    reply was lost and the caller sent the write again, or two
--                    callers decided the same at the same time
--   COMMIT_CONFLICT  if the hold has another version
local max_event_bytes = ARGV[1]
local writes, ids, n = {}, {}, 3
while ARGV[n] do
  writes[#writes + 1] = n
  ids[#ids + 1] = ARGV[n + WRITE_ID]
  n = n + WRITE_SIZE + ARGV[n + WRITE_EVENT_COUNT]
end
if #ids == 0 then return {} end

-- The script collects all changes first, so that it needs few commands. A list
-- in add is for ZADD: score, member, …
local reply, records, deleted, created, events = {}, {}, {}, {}, {}
local add, remove = {}, {}
local sets = {
  KEY_SCHEDULED, KEY_LEASED, KEY_EXPIRING, KEY_ATTENTION, KEY_UNVERIFIED,
  KEY_REFERENCES, KEY_MIRROR, KEY_DOUBLE_HELD,
}
for _, set in ipairs(sets) do add[set] = {}; remove[set] = {} end
local settle, unsettle = {}, {} -- score, id, …
local join_lanes, leave_lanes = {}, {} -- by lane
local seen = {}

-- set_score sets the score of a hold in a set, removes the hold, or keeps its
-- score.
local function set_score(set, id, score, exists)
  if score == '' then
    if exists then
      local list = remove[set]
      list[#list + 1] = id
    end
  elseif score ~= '=' then
    local list = add[set]
    local size = #list
    list[size + 1], list[size + 2] = score, id
  end
end

-- milestone_score resolves "<score" and "<score:by:at" to a score or "=".
local function milestone_score(id, score)
  if string.sub(score, 1, 1) == '<' then
    local current = redis.call('ZSCORE', KEYS[KEY_EXPIRING], id)
    local by, at
    score, by, at = string.match(score, '^<(%d+):?(%d*):?(%d*)$')
    if current and tonumber(current) <= now_ms() then
      if by ~= '' and tonumber(current) <= tonumber(by) and tonumber(at) < tonumber(current) then
        score = at
      elseif tonumber(current) < tonumber(score) then
        score = '='
      end
    end
  end
  return score
end

local function append_to(lists, lane, item)
  local list = lists[lane]
  if not list then list = {}; lists[lane] = list end
  list[#list + 1] = item
end

local recs = redis.call('HMGET', KEYS[KEY_HOLDS], unpack(ids))
for i, id in ipairs(ids) do
  local write, old = writes[i], recs[i]
  local version, rec, lane = ARGV[write + WRITE_VERSION], ARGV[write + WRITE_RECORD], ARGV[write + WRITE_LANE]
  if seen[id] then
    reply[i] = COMMIT_CONFLICT -- the call has two writes for the hold: the first one counts
  elseif old and old == rec then
    reply[i] = COMMIT_REPEATED
  elseif (version == '' and old)
    or (version ~= '' and (not old or record_version(old) ~= version)) then
    reply[i] = COMMIT_CONFLICT
    if not old and rec == '' then reply[i] = COMMIT_REPEATED end
  else
    reply[i] = COMMIT_WRITTEN
    seen[id] = true
    if rec == '' then
      deleted[#deleted + 1] = id
    else
      records[#records + 1] = id
      records[#records + 1] = rec
    end
    -- When it is due, Queue.PromoteDue moves it to the lane of its account.
    set_score(KEY_SCHEDULED, id, ARGV[write + WRITE_SCHEDULED], old)
    set_score(KEY_LEASED, id, ARGV[write + WRITE_LEASED], old)
    set_score(KEY_EXPIRING, id, milestone_score(id, ARGV[write + WRITE_EXPIRING]), old)
    local settled_at = ARGV[write + WRITE_SETTLED]
    if settled_at ~= '' then
      settle[#settle + 1] = settled_at
      settle[#settle + 1] = id
    end
    local was_settled_at = old and record_settled_at(old)
    if was_settled_at and was_settled_at ~= settled_at then
      unsettle[#unsettle + 1] = was_settled_at
      unsettle[#unsettle + 1] = id
    end
    set_score(KEY_ATTENTION, id, ARGV[write + WRITE_ATTENTION], old)
    set_score(KEY_UNVERIFIED, id, ARGV[write + WRITE_UNVERIFIED], old)
    set_score(KEY_MIRROR, id, ARGV[write + WRITE_MIRROR], old)
    set_score(KEY_DOUBLE_HELD, id, ARGV[write + WRITE_DOUBLE_HELD], old)
    if old and has_header(old) and record_next_op(old) > 0 then
      local old_lane = record_lane(old)
      if old_lane ~= lane then append_to(leave_lanes, old_lane, id) end
    end
    if lane ~= '' then
      append_to(join_lanes, lane, ARGV[write + WRITE_DEADLINE])
      append_to(join_lanes, lane, id)
    end
    if ARGV[write + WRITE_REFERENCE_REMOVE] ~= '' then
      remove[KEY_REFERENCES][#remove[KEY_REFERENCES] + 1] = ARGV[write + WRITE_REFERENCE_REMOVE]
    end
    if ARGV[write + WRITE_REFERENCE_ADD] ~= '' then
      set_score(KEY_REFERENCES, ARGV[write + WRITE_REFERENCE_ADD], 0, old)
    end
    if not old then created[#created + 1] = id end
    local first = write + WRITE_SIZE
    for e = first, first + ARGV[write + WRITE_EVENT_COUNT] - 1 do events[#events + 1] = ARGV[e] end
  end
end

if ARGV[2] == '1' or #records / 2 + #deleted > #created then
  write_despite_maxmemory('HDEL', KEYS[KEY_HOLDS])
end
if next(seen) then count_change(KEYS[KEY_CHANGES]) end
-- Add to the next set before removing from the last one: after a crash, Redis
-- can come back with only the first of these commands.
for _, set in ipairs(sets) do
  if #add[set] > 0 then redis.call('ZADD', KEYS[set], unpack(add[set])) end
end
add_settled(KEYS[KEY_SETTLED], settle)
for lane, members in pairs(join_lanes) do
  for m = 1, #members, 2 do redis.call('ZADD', KEYS[KEY_LANES], 'LT', members[m], lane) end
  redis.call('ZADD', KEYS[KEY_READY] .. ':' .. lane, unpack(members))
end
-- A webhook may have named the intent before it had a hold: request its refresh
-- now.
for _, id in ipairs(created) do
  if redis.call('ZSCORE', KEYS[KEY_UNMATCHED], id) then
    redis.call('ZADD', KEYS[KEY_REFRESH], now_ms(), id)
    redis.call('ZREM', KEYS[KEY_UNMATCHED], id)
  end
end
if #records > 0 then redis.call('HSET', KEYS[KEY_HOLDS], unpack(records)) end
if #deleted > 0 then redis.call('HDEL', KEYS[KEY_HOLDS], unpack(deleted)) end
for _, set in ipairs(sets) do
  if #remove[set] > 0 then redis.call('ZREM', KEYS[set], unpack(remove[set])) end
end
for i = 1, #unsettle, 2 do
  remove_settled(KEYS[KEY_SETTLED], unsettle[i], unsettle[i + 1])
end
for lane, members in pairs(leave_lanes) do
  redis.call('ZREM', KEYS[KEY_READY] .. ':' .. lane, unpack(members))
end
-- The deliverer of each sink reads this stream, see Outbox.ReadEvents.
for _, event in ipairs(events) do
  redis.call('XADD', KEYS[KEY_EVENTS], '*', 'event', event)
end
if #events > 0 then trim_events(KEYS[KEY_EVENTS], max_event_bytes) end
return reply
