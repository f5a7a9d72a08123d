-- Finds attempts to authorize that are to be looked after.
-- KEYS: 1 open attempts by the time to look after them
-- ARGV: 1 how many at the most
-- Returns: now, then ids
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local reply = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
table.insert(reply, 1, now)
return reply
