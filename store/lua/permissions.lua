-- Asks which commands this user may not use. It calls none of them and changes nothing.
-- KEYS: none, so that it runs on any server of a Cluster
-- ARGV: 1 and 2 names of keys, then commands
-- Returns: the commands that are not allowed on one of the keys; nil if this server can't say (Redis before 7.0)
if not redis.acl_check_cmd then return false end
local lacking = {}
for i = 3, #ARGV do
  local c, ok = ARGV[i], true
  if c == 'PING' or c == 'TIME' then
    ok = redis.acl_check_cmd(c)
  elseif c == 'EVAL' or c == 'EVALSHA' then
    ok = redis.acl_check_cmd(c, '', '0')
  elseif c == 'DEL' or c == 'EXISTS' then -- all that follows is keys
    ok = redis.acl_check_cmd(c, ARGV[1], ARGV[2])
  elseif c == 'XGROUP' then
    ok = redis.acl_check_cmd(c, 'CREATE', ARGV[1], 'holdd', '0') and redis.acl_check_cmd(c, 'DELCONSUMER', ARGV[1], 'holdd', 'c')
  elseif c == 'XINFO' then
    ok = redis.acl_check_cmd(c, 'CONSUMERS', ARGV[1], 'holdd') and redis.acl_check_cmd(c, 'STREAM', ARGV[1])
  elseif c == 'XREADGROUP' then
    ok = redis.acl_check_cmd(c, 'GROUP', 'holdd', 'c', 'STREAMS', ARGV[1], '>')
  elseif c == 'XAUTOCLAIM' then
    ok = redis.acl_check_cmd(c, ARGV[1], 'holdd', 'c', '0', '0-0')
  else
    ok = redis.acl_check_cmd(c, ARGV[1], '1', '1') and redis.acl_check_cmd(c, ARGV[2], '1', '1')
  end
  if not ok then lacking[#lacking + 1] = c end
end
return lacking
