-- Functions that the scripts share. definitions.go puts each before the scripts
-- that name it. Go defines the constants in capitals; record.go has those of a
-- record. An empty line separates two functions.

-- A local is faster than a field of the global string.
local byte = string.byte

local char = string.char

local sub = string.sub

-- now_ms returns the time of this Redis in Unix milliseconds.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- count_change counts a change of a partition. A script that changes what a
-- replica polls calls it, so that the replicas poll again.
local function count_change(changes)
  redis.call('INCR', changes)
end

-- write_despite_maxmemory lets the rest of a script write although Redis has
-- reached maxmemory: Redis stops a script at its first write if that needs
-- memory, and never after a write. command removes a member from the kind of key
-- that the key is, and a zero byte is no member, so nothing changes. The scripts that
-- bring holds to their end call it. Those that accept new ones do not.
local function write_despite_maxmemory(command, key)
  redis.call(command, key, '\0')
end

-- decode_uint48 returns the number in 6 bytes of s, big endian.
local function decode_uint48(s, from)
  local b1, b2, b3, b4, b5, b6 = byte(s, from, from + 5)
  return ((((b1 * 256 + b2) * 256 + b3) * 256 + b4) * 256 + b5) * 256 + b6
end

-- encode_uint48 returns n as 6 bytes, big endian.
local function encode_uint48(n)
  local b6 = n % 256; n = (n - b6) / 256
  local b5 = n % 256; n = (n - b5) / 256
  local b4 = n % 256; n = (n - b4) / 256
  local b3 = n % 256; n = (n - b3) / 256
  local b2 = n % 256; n = (n - b2) / 256
  return char(n, b2, b3, b4, b5, b6)
end

-- is_final reports whether a state is final, so that no script may queue the
-- hold.
local function is_final(state)
  return state >= STATE_FIRST_FINAL and state <= STATE_LAST_FINAL
end

-- has_header reports whether a record is long enough for a header, in any
-- encoding.
local function has_header(rec)
  return #rec >= HEADER_SIZE
end

-- is_readable reports whether this release can read the header of a record. No
-- script changes a record that it cannot read.
local function is_readable(rec)
  if #rec < HEADER_SIZE then return false end
  local encoding, state, previous_state, next_op = byte(rec, ENCODING_AT, NEXT_OP_AT)
  return encoding >= FIRST_ENCODING and encoding <= LAST_ENCODING
    and state > 0 and state <= STATE_LAST and previous_state <= STATE_LAST
    and next_op <= OP_LAST and #rec >= HEADER_SIZE + byte(rec, ACCOUNT_SIZE_AT)
end

-- record_state returns 0 for a record that is too short to have a state.
local function record_state(rec)
  return byte(rec, STATE_AT) or 0
end

local function record_previous_state(rec)
  return byte(rec, PREVIOUS_STATE_AT)
end

-- record_next_op returns 0 if the hold has no next operation.
local function record_next_op(rec)
  return byte(rec, NEXT_OP_AT)
end

-- record_version returns the version's 6 bytes.
local function record_version(rec)
  return sub(rec, VERSION_FROM, VERSION_TO)
end

local function record_version_number(rec)
  return decode_uint48(rec, VERSION_FROM)
end

-- record_claimed_at returns the time at which the claim began, as 6 bytes.
local function record_claimed_at(rec)
  return sub(rec, CLAIMED_AT_FROM, CLAIMED_AT_TO)
end

-- record_deadline returns the deadline in Unix milliseconds.
local function record_deadline(rec)
  return decode_uint48(rec, DEADLINE_FROM)
end

-- record_lane returns the name of the lane for the hold's next operation.
local function record_lane(rec)
  local account_size = byte(rec, ACCOUNT_SIZE_AT)
  return byte(rec, NEXT_OP_AT) .. ':'
    .. sub(rec, HEADER_SIZE + 1, HEADER_SIZE + account_size)
end

-- claimed_record returns the record with the changes that a claim makes.
local function claimed_record(rec, previous_state, version, claimed_at)
  return sub(rec, 1, STATE_AT - 1)
    .. char(STATE_WORKING, previous_state, byte(rec, NEXT_OP_AT))
    .. encode_uint48(version) .. claimed_at .. sub(rec, DEADLINE_FROM)
end

-- decode_bucket returns the value of a budget's bucket: when it is full again
-- (Unix microseconds), and how many requests it allowed in this second and in
-- the one before.
local function decode_bucket(value, second)
  local full_at, counted, count, previous = string.match(value or '', '(%d+) (%d+) (%d+) (%d+)')
  local passed = second - (tonumber(counted) or 0)
  local bucket = {full_at = tonumber(full_at) or 0, count = 0, previous = 0}
  if passed == 0 then
    bucket.count, bucket.previous = tonumber(count), tonumber(previous)
  elseif passed == 1 then
    bucket.previous = tonumber(count)
  end
  return bucket
end

-- encode_bucket is the reverse of decode_bucket.
local function encode_bucket(bucket, second)
  return string.format('%.0f %d %d %d', bucket.full_at, second, bucket.count, bucket.previous)
end

-- decode_lowered_rate returns what is known of a rate that a 429 lowered: the
-- rate of the plateau (per second), the seconds for which the rate was
-- used since, when it was lowered (Unix microseconds), and how many requests
-- were rejected in a second and in the one before. The value starts with the
-- rate now, which only people and metrics read.
local function decode_lowered_rate(value)
  local accepted, used, at, second, rejected, before =
    string.match(value, '%S+ (%S+) (%S+) (%d+) (%d+) (%d+) (%d+)')
  return {
    accepted = tonumber(accepted), used = tonumber(used), at = tonumber(at),
    second = tonumber(second), rejected = tonumber(rejected), before = tonumber(before),
  }
end

-- rate_after returns a lowered rate after the time of its use, at most the
-- maximum. As in TCP CUBIC, it stays near the rate of the last rejection for twice
-- RATE_PLATEAU seconds, and then rises ever faster. The fifth power keeps it
-- closer to that rate than the third, and yet doubles it in less than four times
-- RATE_PLATEAU. Time in which no request was sent does not count.
local function rate_after(l, most)
  local beyond = (l.used - RATE_PLATEAU) / RATE_PLATEAU
  return math.min(most, l.accepted * (1 + RATE_RISE_PERMILLE / 1000 * beyond ^ 5))
end

-- mean_rate_since returns the mean of rate_after over the time of its use.
local function mean_rate_since(l)
  local beyond = (l.used - RATE_PLATEAU) / RATE_PLATEAU
  return l.accepted
    * (1 + RATE_RISE_PERMILLE / 1000 * (beyond ^ 6 - 1) / 6 * RATE_PLATEAU / l.used)
end

-- save_lowered_rate saves what is known of a lowered rate. It deletes one that
-- has reached the maximum.
local function save_lowered_rate(key, field, l, most)
  local rate = rate_after(l, most)
  if rate >= most then return redis.call('HDEL', key, field) end
  redis.call('HSET', key, field, string.format('%.4f %.4f %.4f %.0f %d %d %d',
    rate, l.accepted, l.used, l.at, l.second, l.rejected, l.before))
  redis.call('PEXPIRE', key, LOWERED_RATE_TTL)
end

-- sorts_before compares strings by byte, as Redis does. Lua compares them by
-- locale.
local function sorts_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- record_settled_at returns the time of the settlement in Unix milliseconds, as
-- text; nil for a record that is not final.
local function record_settled_at(rec)
  if not has_header(rec) or not is_final(record_state(rec)) then return nil end
  return string.format('%.0f', decode_uint48(rec, CLAIMED_AT_FROM))
end

-- is_settled_at reports whether a member of a chunk has the right score. After a
-- crash, a hold can be in a chunk that its script did not settle. A record that
-- this release cannot read counts as settled: the caller reports it.
local function is_settled_at(rec, score)
  if not rec then return false end
  if not is_readable(rec) then return true end
  return tonumber(record_settled_at(rec)) == tonumber(score)
end

-- open_chunk returns the chunk of settled holds that has the given score. The
-- chunks are sorted sets so small that Redis stores each as one string. The set
-- settled has the lowest score of each, and a chunk has that score in its key. A
-- script adds a chunk to settled before it adds holds to the chunk.
local function open_chunk(settled, score)
  local first = redis.call('ZREVRANGEBYSCORE', settled, score, '-inf', 'LIMIT', 0, 1)[1]
  if not first then
    first = '0'
    redis.call('ZADD', settled, first, first)
  end
  local key = settled .. ':' .. first
  return {
    key = key, first = tonumber(first), members = {}, size = redis.call('ZCARD', key),
    next = tonumber(redis.call('ZRANGEBYSCORE', settled, '(' .. first, '+inf', 'LIMIT', 0, 1)[1]),
    last = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2] or first),
  }
end

-- save_chunk writes the members that were appended to a chunk.
local function save_chunk(chunk)
  if #chunk.members > 0 then redis.call('ZADD', chunk.key, unpack(chunk.members)) end
  chunk.members = {}
end

-- split_chunk moves about the upper half of a chunk to a new one. Holds with the
-- same score stay together.
local function split_chunk(settled, chunk)
  local all = redis.call('ZRANGE', chunk.key, 0, -1, 'WITHSCORES') -- member, score, …
  local count = #all / 2
  local below = math.floor(count / 2) -- number of holds that stay
  while below < count and all[2 * below] == all[2 * below + 2] do below = below + 1 end
  if below == count then
    below = math.floor(count / 2)
    while below > 0 and all[2 * below] == all[2 * below + 2] do below = below - 1 end
  end
  if below == 0 then return end
  local first, members = all[2 * below + 2], {}
  for i = below + 1, count do
    members[#members + 1] = all[2 * i]
    members[#members + 1] = all[2 * i - 1]
  end
  redis.call('ZADD', settled, first, first)
  redis.call('ZADD', settled .. ':' .. first, unpack(members))
  redis.call('ZREMRANGEBYRANK', chunk.key, below, -1)
end

-- add_settled adds holds to their chunks. members is a list of score, id, …
local function add_settled(settled, members)
  local chunk
  for i = 1, #members, 2 do
    local text = members[i]
    local score = tonumber(text)
    if not chunk or score < chunk.first or chunk.next and score >= chunk.next then
      if chunk then save_chunk(chunk) end
      chunk = open_chunk(settled, text)
    end
    if chunk.size >= CHUNK_FULL and score > chunk.last then
      save_chunk(chunk)
      redis.call('ZADD', settled, text, text)
      chunk = {
        key = settled .. ':' .. text, first = score, next = chunk.next, members = {}, size = 0,
      }
    elseif chunk.size == CHUNK_LIMIT then
      save_chunk(chunk)
      split_chunk(settled, chunk)
      chunk = open_chunk(settled, text)
    end
    chunk.members[#chunk.members + 1] = text
    chunk.members[#chunk.members + 1] = members[i + 1]
    chunk.size, chunk.last = chunk.size + 1, math.max(chunk.last or score, score)
  end
  if chunk then save_chunk(chunk) end
end

-- remove_settled removes a hold from its chunk, and the chunk with its last hold.
-- A hold that has another score by now stays.
local function remove_settled(settled, score, id)
  local first = redis.call('ZREVRANGEBYSCORE', settled, score, '-inf', 'LIMIT', 0, 1)[1]
  if not first then return end
  local key = settled .. ':' .. first
  if tonumber(redis.call('ZSCORE', key, id)) ~= tonumber(score) then return end
  redis.call('ZREM', key, id)
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', settled, first) end
end

-- trim_events removes the oldest events of a stream that takes more than
-- max_bytes. Redis keeps a stream in nodes, each of NODE_BYTES if no event is
-- larger, and removes whole nodes.
local function trim_events(events, max_bytes)
  local info, length, nodes = redis.call('XINFO', 'STREAM', events), 0, 0
  for i = 1, #info - 1, 2 do
    if info[i] == 'length' then length = info[i + 1] end
    if info[i] == 'radix-tree-keys' then nodes = info[i + 1] end
  end
  local most = math.floor(max_bytes / NODE_BYTES)
  if nodes > most then
    redis.call('XTRIM', events, 'MAXLEN', '~', math.floor(length * most / nodes))
  end
end

-- forget_request removes a request of the API with an idempotency key. keys are
-- the keys of request_begin.
local function forget_request(keys, id)
  local size = redis.call('HSTRLEN', keys[1], id)
  redis.call('HDEL', keys[1], id)
  redis.call('ZREM', keys[2], id)
  redis.call('DECRBY', keys[3], size)
end

-- write_request writes a request that was forgotten or is new.
local function write_request(keys, id, request, begun)
  redis.call('HSET', keys[1], id, request)
  redis.call('ZADD', keys[2], begun, id)
  redis.call('INCRBY', keys[3], #request)
end
