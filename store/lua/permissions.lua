-- Returns the commands that this Redis user may not use. It runs none of them and changes nothing.
-- KEYS:  none, so that it runs on every server of a Cluster
-- ARGV:  1 and 2 names of keys, then commands
-- Reply: the commands that are not allowed on one of the keys; nil before Redis 7.0, which cannot tell
if not redis.acl_check_cmd then return false end
local missing = {}
for i = 3, #ARGV do
  local c, allowed = ARGV[i], true
  if c == 'PING' or c == 'TIME' then
    allowed = redis.acl_check_cmd(c)
  elseif c == 'EVAL' or c == 'EVALSHA' then
    allowed = redis.acl_check_cmd(c, '', '0')
  elseif c == 'DEL' or c == 'EXISTS' then -- every argument is a key
    allowed = redis.acl_check_cmd(c, ARGV[1], ARGV[2])
  elseif c == 'XGROUP' then
    allowed = redis.acl_check_cmd(c, 'CREATE', ARGV[1], 'holdd', '0')
      and redis.acl_check_cmd(c, 'DELCONSUMER', ARGV[1], 'holdd', 'c')
  elseif c == 'XINFO' then
    allowed = redis.acl_check_cmd(c, 'CONSUMERS', ARGV[1], 'holdd')
      and redis.acl_check_cmd(c, 'STREAM', ARGV[1])
  elseif c == 'XREADGROUP' then
    allowed = redis.acl_check_cmd(c, 'GROUP', 'holdd', 'c', 'STREAMS', ARGV[1], '>')
  elseif c == 'XAUTOCLAIM' then
    allowed = redis.acl_check_cmd(c, ARGV[1], 'holdd', 'c', '0', '0-0')
  else
    allowed = redis.acl_check_cmd(c, ARGV[1], '1', '1') and redis.acl_check_cmd(c, ARGV[2], '1', '1')
  end
  if not allowed then missing[#missing + 1] = c end
end
return missing
