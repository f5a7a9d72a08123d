-- Tells how long a stream is and how many entries it ever had.
-- KEYS: 1 the stream
-- Returns: length, entries ever added (-1 where this Redis doesn't count them)
local length, added = 0, -1
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0} end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info - 1, 2 do
  if info[i] == 'length' then length = info[i + 1] end
  if info[i] == 'entries-added' then added = info[i + 1] end
end
return {length, added}
