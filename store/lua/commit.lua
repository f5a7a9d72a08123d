-- Commits writes to holds. Each write is committed whole or not at all, and only if the hold still
-- has the version that the decision was made on. Go decides which changes are allowed; this script
-- serves all of them.
-- KEYS:  the keys of one partition; commit.go lists them as KEY_HOLDS and so on
-- ARGV:  1 number of events to keep in the stream; then for each write its arguments and events:
--        WRITE_ID                hold id
--        WRITE_VERSION           version that the hold must have, 6 bytes; "": there must be no hold
--        WRITE_RECORD            new record; "": delete the hold
--        WRITE_SCHEDULED, WRITE_LEASED, WRITE_EXPIRING, WRITE_SETTLED, WRITE_ATTENTION,
--        WRITE_UNVERIFIED, WRITE_MIRROR
--                                score in that set; "": not in it; "=": leave it as it is.
--                                WRITE_EXPIRING "<score": keep a milestone that is due and earlier than
--                                this score, otherwise set this score; "<score:by:at": the same, but
--                                set a milestone that is due, at most by, and later than at back to at
--        WRITE_LANE              lane in which the hold is ready; "": not ready
--        WRITE_DEADLINE          score in the lane
--        WRITE_REFERENCE_REMOVE, WRITE_REFERENCE_ADD
--                                members of references; "": none
--        WRITE_EVENT_COUNT       how many events follow
-- Reply: for each write 1 committed, 0 another writer was first
--
-- A write that is in place already counts as committed and changes nothing: its reply was lost, and
-- the caller sent it again.
local max_events = ARGV[1]
local writes, ids, n = {}, {}, 2
while ARGV[n] do
  writes[#writes + 1] = n
  ids[#ids + 1] = ARGV[n + WRITE_ID]
  n = n + WRITE_SIZE + ARGV[n + WRITE_EVENT_COUNT]
end
if #ids == 0 then return {} end

-- What to do is collected first and then done in few commands. Lists for ZADD are score, member, …
local reply, records, deleted, created, events = {}, {}, {}, {}, {}
local add, remove = {}, {}
local sets = {
  KEY_SCHEDULED, KEY_LEASED, KEY_EXPIRING, KEY_SETTLED, KEY_ATTENTION, KEY_UNVERIFIED, KEY_REFERENCES,
  KEY_MIRROR,
}
for _, set in ipairs(sets) do add[set] = {}; remove[set] = {} end
local join_lanes, leave_lanes = {}, {} -- by lane
local seen = {}

-- place puts a hold into a set, takes it out, or leaves it as it is.
local function place(set, id, score, exists)
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

-- milestone_score resolves "<score".
local function milestone_score(id, score)
  if string.sub(score, 1, 1) == '<' then
    local set = redis.call('ZSCORE', KEYS[KEY_EXPIRING], id)
    local by, at
    score, by, at = string.match(score, '^<(%d+):?(%d*):?(%d*)$')
    if set and tonumber(set) <= now_ms() then
      if by ~= '' and tonumber(set) <= tonumber(by) and tonumber(at) < tonumber(set) then
        score = at
      elseif tonumber(set) < tonumber(score) then
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
  local w, old = writes[i], recs[i]
  local version, rec, lane = ARGV[w + WRITE_VERSION], ARGV[w + WRITE_RECORD], ARGV[w + WRITE_LANE]
  if seen[id] then
    reply[i] = 0 -- the caller named the hold twice: the first write counts
  elseif old and old == rec then
    reply[i] = 1
  elseif (version == '' and old) or (version ~= '' and (not old or record_version(old) ~= version)) then
    reply[i] = 0
    if not old and rec == '' then reply[i] = 1 end
  else
    reply[i] = 1
    seen[id] = true
    if rec == '' then
      deleted[#deleted + 1] = id
    else
      records[#records + 1] = id
      records[#records + 1] = rec
    end
    place(KEY_SCHEDULED, id, ARGV[w + WRITE_SCHEDULED], old)
    place(KEY_LEASED, id, ARGV[w + WRITE_LEASED], old)
    place(KEY_EXPIRING, id, milestone_score(id, ARGV[w + WRITE_EXPIRING]), old)
    place(KEY_SETTLED, id, ARGV[w + WRITE_SETTLED], old)
    place(KEY_ATTENTION, id, ARGV[w + WRITE_ATTENTION], old)
    place(KEY_UNVERIFIED, id, ARGV[w + WRITE_UNVERIFIED], old)
    place(KEY_MIRROR, id, ARGV[w + WRITE_MIRROR], old)
    if old and has_header(old) and record_next_op(old) > 0 then
      local old_lane = record_lane(old)
      if old_lane ~= lane then append_to(leave_lanes, old_lane, id) end
    end
    if lane ~= '' then
      append_to(join_lanes, lane, ARGV[w + WRITE_DEADLINE])
      append_to(join_lanes, lane, id)
    end
    if ARGV[w + WRITE_REFERENCE_REMOVE] ~= '' then
      remove[KEY_REFERENCES][#remove[KEY_REFERENCES] + 1] = ARGV[w + WRITE_REFERENCE_REMOVE]
    end
    if ARGV[w + WRITE_REFERENCE_ADD] ~= '' then
      place(KEY_REFERENCES, ARGV[w + WRITE_REFERENCE_ADD], 0, old)
    end
    if not old then created[#created + 1] = id end
    local first = w + WRITE_SIZE
    for e = first, first + ARGV[w + WRITE_EVENT_COUNT] - 1 do events[#events + 1] = ARGV[e] end
  end
end

-- Add to the next set before removing from the last one: a Redis that died can come back with only
-- the first of these commands.
for _, set in ipairs(sets) do
  if #add[set] > 0 then redis.call('ZADD', KEYS[set], unpack(add[set])) end
end
for lane, members in pairs(join_lanes) do
  for m = 1, #members, 2 do redis.call('ZADD', KEYS[KEY_LANES], 'LT', members[m], lane) end
  redis.call('ZADD', KEYS[KEY_READY] .. ':' .. lane, unpack(members))
end
-- A webhook may have named the intent before there was a hold: request its refresh now.
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
for lane, members in pairs(leave_lanes) do
  redis.call('ZREM', KEYS[KEY_READY] .. ':' .. lane, unpack(members))
end
for _, event in ipairs(events) do
  redis.call('XADD', KEYS[KEY_EVENTS], 'MAXLEN', '~', max_events, '*', 'event', event)
end
return reply
