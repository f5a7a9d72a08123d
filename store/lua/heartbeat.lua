-- Records that a replica is alive, and returns all replicas.
--
-- KEYS:
--   KEYS[1]  replicas, by the end of their heartbeat
-- ARGV:
--   ARGV[1]  replica
--   ARGV[2]  how long it counts as alive, ms
--   ARGV[3]  how long the store keeps a dead replica, ms
--   ARGV[4]  maximum number of live replicas to return
--   ARGV[5]  maximum number of dead replicas to return
-- Reply:
--   number of live replicas returned
--   the live replicas
--   the dead replicas
write_despite_maxmemory('ZREM', KEYS[1])
local now = now_ms()
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'LIMIT', 0, ARGV[4])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, ARGV[5])
local reply = {#alive}
for _, replica in ipairs(alive) do reply[#reply + 1] = replica end
for _, replica in ipairs(dead) do reply[#reply + 1] = replica end
return reply
