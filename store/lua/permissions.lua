-- Lists the commands that this Redis user may not use. The script executes none
-- of them and changes nothing. A command that this Redis does not have counts as
-- allowed: no rule of an ACL could grant it.
--
-- KEYS:
--   none, so that the script can run on every server of a Cluster
-- ARGV:
--   ARGV[1]  name of a key
--   ARGV[2]  name of another key
--   then the commands to check
-- Reply:
--   the commands that are not allowed on one of the keys; nil before Redis 7.0,
--   which cannot check permissions
if not redis.acl_check_cmd then return false end

local function is_allowed(command)
  local allowed = true
  local container, subcommand = string.match(command, '^(%u+)|(%u+)$')
  if container then
    allowed = redis.acl_check_cmd(container, subcommand, '*')
  elseif command == 'PING' or command == 'TIME' or command == 'INFO' or command == 'MULTI'
    or command == 'EXEC' or command == 'UNWATCH' or command == 'COMMAND' then
    allowed = redis.acl_check_cmd(command)
  elseif command == 'EVAL' or command == 'EVALSHA' then
    allowed = redis.acl_check_cmd(command, '', '0')
  elseif command == 'DEL' or command == 'EXISTS' or command == 'MGET' or command == 'WATCH' then
    -- every argument is a key
    allowed = redis.acl_check_cmd(command, ARGV[1], ARGV[2])
  elseif command == 'XGROUP' then
    allowed = redis.acl_check_cmd(command, 'CREATE', ARGV[1], 'holdd', '0')
      and redis.acl_check_cmd(command, 'DELCONSUMER', ARGV[1], 'holdd', 'c')
  elseif command == 'XINFO' then
    allowed = redis.acl_check_cmd(command, 'CONSUMERS', ARGV[1], 'holdd')
      and redis.acl_check_cmd(command, 'STREAM', ARGV[1])
  elseif command == 'XREADGROUP' then
    allowed = redis.acl_check_cmd(command, 'GROUP', 'holdd', 'c', 'STREAMS', ARGV[1], '>')
  elseif command == 'XAUTOCLAIM' then
    allowed = redis.acl_check_cmd(command, ARGV[1], 'holdd', 'c', '0', '0-0')
  else
    allowed = redis.acl_check_cmd(command, ARGV[1], '1', '1')
      and redis.acl_check_cmd(command, ARGV[2], '1', '1')
  end
  return allowed
end

local missing = {}
for i = 3, #ARGV do
  local known, allowed = pcall(is_allowed, ARGV[i])
  if known and not allowed then missing[#missing + 1] = ARGV[i] end
end
return missing
