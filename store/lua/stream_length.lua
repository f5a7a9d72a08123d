-- Returns the number of entries in a stream, and how many it ever had.
--
-- KEYS:
--   KEYS[1]  the stream
-- ARGV:
--   none
-- Reply:
--   number of entries
--   number of entries ever added; -1 before Redis 7.0, which does not count
--   them
local length, added = 0, -1
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0} end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info - 1, 2 do
  if info[i] == 'length' then length = info[i + 1] end
  if info[i] == 'entries-added' then added = info[i + 1] end
end
return {length, added}
