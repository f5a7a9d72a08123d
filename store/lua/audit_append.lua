-- Appends entries to the audit stream, if its newest entry is the one on which
-- the caller built their hashes.
--
-- KEYS:
--   KEYS[1]  audit stream
-- ARGV:
--   ARGV[1]  hash of the newest entry; "": the stream is empty
--   ARGV[2]  about how many entries to keep
--   then for each entry its text, the hash of the entry before it, and its hash
-- Reply:
--   1 if appended, else 0
--   hash of the newest entry
redis.call('XDEL', KEYS[1], '0-0') -- after it, Redis accepts XADD even above maxmemory
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local hash = ''
if newest then
  for i = 1, #newest[2], 2 do
    if newest[2][i] == 'hash' then hash = newest[2][i + 1] end
  end
end
if hash ~= ARGV[1] then return {0, hash} end
for i = 3, #ARGV, 3 do
  hash = ARGV[i + 2]
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*',
    'entry', ARGV[i], 'previous', ARGV[i + 1], 'hash', hash)
end
return {1, hash}
