-- Commits changes to holds, each whole or not at all, if the hold is still the one that the decision was made on.
-- KEYS: 1 holds, 2 scheduled, 3 leased, 4 expiring, 5 settled, 6 attention, 7 unverified, 8 refs, 9 lanes, 10 ready, 11 events,
--       12 mirror, 13 heard, 14 looks
-- ARGV: 1 length at which the events are trimmed; then per hold
--       id, version it must have (48 bits; "": there must be none), record ("": forget it),
--       scores in scheduled, leased, expiring, settled, attention, unverified ("": not in it; expiring "=": as it is,
--       "<score": likewise if its milestone has come and nobody has passed it yet, else the score;
--       "<score:by:at": the same, but one that has come, was set to by or earlier, and lies behind at, is set to at),
--       lane ("": not ready), deadline, reference index to remove, to add ("": none), score in mirror ("": not in it, "=": as it is),
--       number of events, events
-- Returns: per hold 1 committed, 0 somebody else was first. A change that was committed before counts as committed and does nothing: the
-- reply to it may have been lost.
-- One script serves all transitions: which may happen is decided once, in Go, on the version that this script insists on.
local maxlen = ARGV[1]
local items, ids, n = {}, {}, 2
while ARGV[n] do
  items[#items + 1] = n
  ids[#ids + 1] = ARGV[n]
  n = n + 15 + ARGV[n + 14]
end
if #ids == 0 then return {} end

local recs = redis.call('HMGET', KEYS[1], unpack(ids))
local reply, sets, dels, events = {}, {}, {}, {}
local add, rem = {}, {}
local sorted = {2, 3, 4, 5, 6, 7, 8, 12}
for _, k in ipairs(sorted) do add[k] = {}; rem[k] = {} end
local born = {}
local unlane, lanes, seen = {}, {}, {}

for i, id in ipairs(ids) do
  local p, old = items[i], recs[i]
  local version, rec = ARGV[p + 1], ARGV[p + 2]
  if seen[id] then
    reply[i] = 0 -- named twice: the first was first
  elseif old and old == rec then
    reply[i] = 1
  elseif (version == '' and old) or (version ~= '' and (not old or string.sub(old, 5, 10) ~= version)) then
    reply[i] = 0
    if not old and rec == '' then reply[i] = 1 end
  else
    reply[i] = 1
    seen[id] = true
    if rec == '' then
      dels[#dels + 1] = id
    else
      sets[#sets + 1] = id
      sets[#sets + 1] = rec
    end
    for k = 2, 7 do
      local score = ARGV[p + 1 + k]
      if string.sub(score, 1, 1) == '<' then
        local t = redis.call('TIME')
        local set = redis.call('ZSCORE', KEYS[4], id)
        local by, at
        score, by, at = string.match(score, '^<(%d+):?(%d*):?(%d*)$')
        if set and tonumber(set) <= t[1] * 1000 + math.floor(t[2] / 1000) then
          if by ~= '' and tonumber(set) <= tonumber(by) and tonumber(at) < tonumber(set) then
            score = at
          elseif tonumber(set) < tonumber(score) then
            score = '='
          end
        end
      end
      if score == '' then
        if old then rem[k][#rem[k] + 1] = id end
      elseif score ~= '=' then
        add[k][#add[k] + 1] = score
        add[k][#add[k] + 1] = id
      end
    end
    if old and #old >= 23 then
      local op = string.byte(old, 4)
      if op > 0 then
        local lane = op .. ':' .. string.sub(old, 24, 23 + string.byte(old, 23))
        if lane ~= ARGV[p + 9] then
          if not unlane[lane] then unlane[lane] = {} end
          table.insert(unlane[lane], id)
        end
      end
    end
    local lane = ARGV[p + 9]
    if lane ~= '' then
      if not lanes[lane] then lanes[lane] = {} end
      table.insert(lanes[lane], ARGV[p + 10])
      table.insert(lanes[lane], id)
    end
    if ARGV[p + 11] ~= '' then rem[8][#rem[8] + 1] = ARGV[p + 11] end
    if ARGV[p + 12] ~= '' then
      add[8][#add[8] + 1] = 0
      add[8][#add[8] + 1] = ARGV[p + 12]
    end
    local mirror = ARGV[p + 13]
    if mirror == '' then
      if old then rem[12][#rem[12] + 1] = id end
    elseif mirror ~= '=' then
      add[12][#add[12] + 1] = mirror
      add[12][#add[12] + 1] = id
    end
    if not old then born[#born + 1] = id end
    for e = p + 15, p + 14 + ARGV[p + 14] do events[#events + 1] = ARGV[e] end
  end
end

-- Into the next set first, out of the last one last: a Redis that died can come back with the beginning of this.
for _, k in ipairs(sorted) do
  if #add[k] > 0 then redis.call('ZADD', KEYS[k], unpack(add[k])) end
end
for lane, members in pairs(lanes) do
  for m = 1, #members, 2 do redis.call('ZADD', KEYS[9], 'LT', members[m], lane) end
  redis.call('ZADD', KEYS[10] .. ':' .. lane, unpack(members))
end
-- What Stripe told of a hold before there was one: it is looked at now.
for _, id in ipairs(born) do
  if redis.call('ZSCORE', KEYS[13], id) then
    local t = redis.call('TIME')
    redis.call('ZADD', KEYS[14], t[1] * 1000 + math.floor(t[2] / 1000), id)
    redis.call('ZREM', KEYS[13], id)
  end
end
if #sets > 0 then redis.call('HSET', KEYS[1], unpack(sets)) end
if #dels > 0 then redis.call('HDEL', KEYS[1], unpack(dels)) end
for _, k in ipairs(sorted) do
  if #rem[k] > 0 then redis.call('ZREM', KEYS[k], unpack(rem[k])) end
end
for lane, members in pairs(unlane) do redis.call('ZREM', KEYS[10] .. ':' .. lane, unpack(members)) end
for _, event in ipairs(events) do redis.call('XADD', KEYS[11], 'MAXLEN', '~', maxlen, '*', 'event', event) end
return reply
