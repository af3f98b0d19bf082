-- Whose data is it? Marks a namespace that is new.
-- KEYS: the marker; on a server that may have been used by version 1 also that version's index of static tasks.
-- ARGV: this version's number; then words of commands that the user must be allowed to run, each with its number of words.
-- Reply: 'ok', 'legacy', or the number of another version; or 'forbidden' and the commands.

local marker, ours = KEYS[1], ARGV[1]

local forbidden, argument = {}, 2
while argument <= #ARGV do
  local words = tonumber(ARGV[argument])
  if not redis.acl_check_cmd(unpack(ARGV, argument + 1, argument + words)) then
    forbidden[#forbidden + 1] = string.lower(ARGV[argument + 1])
  end
  argument = argument + 1 + words
end
if #forbidden > 0 then
  return 'forbidden ' .. table.concat(forbidden, ' ')
end
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  return 'legacy'
end
local found = redis.call('GET', marker)
if not found then
  redis.call('SET', marker, ours)
  return 'ok'
end
return found == ours and 'ok' or found
