-- Compare and swap, each change by itself.
-- KEYS: of each queue: rows, ready, order; of static tasks only rows, ready, and ready once more.
-- ARGV: of each queue: number of changes, '1' if it has an order or '0'; then of each change:
--       member
--       '+' to insert, '=' or '!' and the old revision to replace, '-' and the old revision to delete
--       the new row ('+', '!'), or what comes before its spec ('='), to be followed by the spec that is stored; or '' ('-')
--       ready_at
-- Reply: a character for each change, '1' if it was applied or '0'.

local out = {}
local argument = 1

for key = 1, #KEYS, 3 do
  local count, ordered = tonumber(ARGV[argument]), ARGV[argument + 1] == '1'
  argument = argument + 2
  local members = {}
  for i = 1, count do
    members[i] = ARGV[argument + 4 * (i - 1)]
  end
  local rows = ask('HMGET', KEYS[key], members)
  local written, moved, named, gone = {}, {}, {}, {}
  for i = 1, count do
    local member, condition, row, ready_at = members[i], ARGV[argument + 1], ARGV[argument + 2], ARGV[argument + 3]
    argument = argument + 4
    local kind, stored = sub(condition, 1, 1), rows[i]
    local applied
    if kind == '+' then
      applied = not stored
    else
      applied = stored and revision(stored) == sub(condition, 2)
    end
    if applied then
      if kind == '-' then
        gone[#gone + 1] = member
      else
        if kind == '=' then
          row = row .. spec(stored)
        elseif kind == '+' then
          named[#named + 1], named[#named + 2] = '0', member
        end
        local at = #written
        written[at + 1], written[at + 2] = member, row
        moved[at + 1], moved[at + 2] = ready_at, member
      end
    end
    out[#out + 1] = applied and '1' or '0'
  end
  send('HSET', KEYS[key], written)
  send('ZADD', KEYS[key + 1], moved)
  send('HDEL', KEYS[key], gone)
  send('ZREM', KEYS[key + 1], gone)
  if ordered then
    send('ZADD', KEYS[key + 2], named)
    send('ZREM', KEYS[key + 2], gone)
  end
end
return table.concat(out)
