-- Reads entries of the inbox for a consumer: first entries that another
-- consumer read and did not acknowledge in time, then new ones.
--
-- KEYS:
--   KEYS[1]  inbox
-- ARGV:
--   ARGV[1]  consumer group
--   ARGV[2]  consumer
--   ARGV[3]  maximum number of entries
--   ARGV[4]  idle time after which another consumer takes an entry over, ms
--   ARGV[5]  maximum size of a request, bytes
-- Reply:
--   now (ms)
--   then for each entry
--     its id
--     the size of its field "hold" as text, "-1" if it has none
--     the field, cut to the maximum size
--     its field "traceparent", cut to 128 bytes, empty if it has none
local reply = {now_ms()}
local left = tonumber(ARGV[3])
local function add(entries)
  if type(entries) ~= 'table' then return end
  for _, e in ipairs(entries) do
    local value, traceparent
    if type(e) == 'table' and type(e[2]) == 'table' then
      for f = 1, #e[2], 2 do
        if e[2][f] == 'hold' then value = e[2][f + 1] end
        if e[2][f] == 'traceparent' then traceparent = e[2][f + 1] end
      end
    end
    if type(e) == 'table' then
      reply[#reply + 1] = e[1]
      reply[#reply + 1] = value and tostring(#value) or '-1'
      reply[#reply + 1] = value and string.sub(value, 1, tonumber(ARGV[5])) or ''
      reply[#reply + 1] = traceparent and string.sub(traceparent, 1, 128) or ''
      left = left - 1
    end
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then return reply end
local created = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
if type(created) == 'table' and created.err
  and not string.find(created.err, 'BUSYGROUP', 1, true) then
  return redis.error_reply(created.err)
end
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[4], '0-0', 'COUNT', left)
add(claimed[2])
if left > 0 then
  local new = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', left,
    'STREAMS', KEYS[1], '>')
  if type(new) == 'table' and type(new[1]) == 'table' then add(new[1][2]) end
end
return reply
