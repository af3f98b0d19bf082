-- Compare and swap each change independently.
-- KEYS: for each queue: rows, ready, order; for static tasks rows, ready, and ready again. Then logs of runs.
-- ARGV: the number of queues; for each queue: number of changes, '1' if it has an order or '0'; then for each change:
--       member
--       '+' to insert, '=' or '!' and the old revision to replace, '-' and the old revision to delete
--       the new row ('+', '!'), or its part before the spec ('='), if the stored spec stays; or '' ('-')
--       the spec if it is stored separately from the new row, or ''
--       ready_at
--       then for each line of a log of runs: the number of its change, the number of the log's key, its score, the line.
-- Reply: one character per change: '1' if it was applied, otherwise '0'.

local PARTS = 5
local out = {}
local queues, argument = tonumber(ARGV[1]), 2

for key = 1, 3 * queues, 3 do
  local rows_key, ready_key, order_key = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local count, ordered = tonumber(ARGV[argument]), ARGV[argument + 1] == '1'
  argument = argument + 2
  local members = {}
  for i = 1, count do
    members[i] = ARGV[argument + PARTS * (i - 1)]
  end
  local rows = ask('HMGET', rows_key, members)
  local written, moved, named, gone, dropped = {}, {}, {}, {}, {}
  for i = 1, count do
    local member, condition, row, spec, ready_at = unpack(ARGV, argument, argument + PARTS - 1)
    argument = argument + PARTS
    local kind, stored = sub(condition, 1, 1), rows[i]
    local applied
    if kind == '+' then
      applied = not stored
    else
      applied = stored and revision(stored) == sub(condition, 2)
    end
    if applied then
      if kind == '=' then
        row = row .. rest(stored)
      elseif spec ~= '' then
        written[#written + 1], written[#written + 2] = spec_field(member), spec
      elseif stored and byte(stored, -1) ~= INLINE then
        dropped[#dropped + 1] = spec_field(member)
      end
      if kind == '-' then
        gone[#gone + 1], dropped[#dropped + 1] = member, member
      else
        if kind == '+' then
          named[#named + 1], named[#named + 2] = '0', member
        end
        written[#written + 1], written[#written + 2] = member, row
        moved[#moved + 1], moved[#moved + 2] = ready_at, member
      end
    end
    out[#out + 1] = applied and '1' or '0'
  end
  send('HSET', rows_key, written)
  send('ZADD', ready_key, moved)
  send('HDEL', rows_key, dropped)
  send('ZREM', ready_key, gone)
  if ordered then
    send('ZADD', order_key, named)
    send('ZREM', order_key, gone)
  end
end
local logged = {}
for i = argument, #ARGV, 4 do
  if out[tonumber(ARGV[i])] == '1' then
    local key = KEYS[tonumber(ARGV[i + 1])]
    local lines = logged[key] or {}
    lines[#lines + 1], lines[#lines + 2] = ARGV[i + 2], ARGV[i + 3]
    logged[key] = lines
  end
end
for key, lines in pairs(logged) do
  send('ZADD', key, lines)
end
return table.concat(out)
