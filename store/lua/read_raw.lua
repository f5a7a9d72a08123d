-- Reads a record as it is, also one that no release can read.
--
-- KEYS:
--   KEYS[1]  holds
--   KEYS[2]  mirror
-- ARGV:
--   ARGV[1]  hold id
--   ARGV[2]  maximum number of bytes to return
-- Reply:
--   SHA-1 of the record; nil: there is none
--   its size, bytes
--   "1" if its terms were still to be written to the intent's metadata, else "0"
--   the record, cut to the maximum size
local rec = redis.call('HGET', KEYS[1], ARGV[1])
if not rec then return {false, 0, '0', ''} end
local unmirrored = redis.call('ZSCORE', KEYS[2], ARGV[1]) and '1' or '0'
return {redis.sha1hex(rec), #rec, unmirrored, sub(rec, 1, tonumber(ARGV[2]))}
