-- Checks whether the data in a namespace are Pyncette's. Marks a new namespace.
-- KEYS: the marker; the names of all queues; on a server that may have been used by version 1 also that version's index of
--       static tasks.
-- ARGV: the marker of a new namespace; then the commands that the user must be allowed to run, each preceded by its number
--       of words.
-- Reply: the marker; or 'legacy', or 'unmarked' if the marker was deleted; or 'forbidden' and the commands.

local marker, queues, legacy = KEYS[1], KEYS[2], KEYS[3]

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
if legacy and redis.call('EXISTS', legacy) == 1 then
  return 'legacy'
end
local found = redis.call('GET', marker)
if found then
  return found
end
if redis.call('EXISTS', queues) == 1 then
  return 'unmarked'
end
redis.call('SET', marker, ARGV[1])
return ARGV[1]
