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
-- hold. States that only a later release has count as final.
local function is_final(state)
  return state >= STATE_FIRST_FINAL
end

-- has_header reports whether a record is long enough for a header, in any
-- encoding.
local function has_header(rec)
  return #rec >= HEADER_SIZE
end

-- is_readable reports whether this release can read the header of a record.
local function is_readable(rec)
  if #rec < HEADER_SIZE then return false end
  local encoding = byte(rec, ENCODING_AT)
  return encoding >= FIRST_ENCODING and encoding <= LAST_ENCODING
    and #rec >= HEADER_SIZE + byte(rec, ACCOUNT_SIZE_AT)
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
-- rate that Stripe accepted (per second), the seconds for which the rate was
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
-- maximum. Like TCP CUBIC, it returns to the rate that Stripe accepted within
-- RATE_PLATEAU seconds, stays near it for as long, and then rises ever faster.
-- Time in which no request was sent does not count.
local function rate_after(l, most)
  local beyond = (l.used - RATE_PLATEAU) / RATE_PLATEAU
  return math.min(most, l.accepted * (1 + RATE_CUT_PERCENT / 100 * beyond * beyond * beyond))
end

-- mean_rate_since returns the mean of rate_after over the time of its use.
local function mean_rate_since(l)
  local beyond = (l.used - RATE_PLATEAU) / RATE_PLATEAU
  return l.accepted * (1 + RATE_CUT_PERCENT / 100 * (beyond ^ 4 - 1) / 4 * RATE_PLATEAU / l.used)
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
