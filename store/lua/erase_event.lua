-- Deletes an entry of a stream, and adds a copy of it without personal data.
--
-- KEYS:
--   KEYS[1]  the stream
--   KEYS[2]  erased: ids of deleted events, by time; only read for events
--   KEYS[3]  changes
-- ARGV:
--   ARGV[1]  id of the entry
--   ARGV[2]  maximum number of ids in erased; "": do not remember the id
--   ARGV[3]  and further: fields and values of the copy; missing: no copy
-- Reply:
--   1 if it deleted the entry, 0 if the entry was gone
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
count_change(KEYS[3])
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[2], string.match(ARGV[1], '^%d+'), ARGV[1])
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[2])
end
if ARGV[3] then redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3)) end
return 1
