-- Removes a record that is not the record of a hold from its partition, if it
-- has not changed since it was read. Its settled chunk, if it has one, is
-- unknown: what reads a chunk ignores a hold with another time.
--
-- KEYS:
--   KEYS[1]  holds
--   KEYS[2]  lanes
--   KEYS[3]  ready, the prefix of the lanes: lane NAME has the key KEYS[3]:NAME
--   KEYS[4]  references
--   KEYS[5]  changes
--   KEYS[6]  and further: the sets whose members are ids
-- ARGV:
--   ARGV[1]  hold id
--   ARGV[2]  SHA-1 of the record
--   ARGV[3]  and further: members of references
-- Reply:
--   1 if it was removed, 0 if the record is another one by now
local id = ARGV[1]
local rec = redis.call('HGET', KEYS[1], id)
if not rec or redis.sha1hex(rec) ~= ARGV[2] then return 0 end
count_change(KEYS[5])
for _, lane in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('ZREM', KEYS[3] .. ':' .. lane, id)
end
for i = 3, #ARGV do redis.call('ZREM', KEYS[4], ARGV[i]) end
for i = 6, #KEYS do redis.call('ZREM', KEYS[i], id) end
redis.call('HDEL', KEYS[1], id)
return 1
