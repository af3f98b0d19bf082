-- KEYS: of each queue its rows.
-- ARGV: of each queue: number of members, members.
-- Reply: of each member the length of its row as 4 bytes, and the row; the length 0 for none.

local out, argument = {}, 1

for key = 1, #KEYS do
  local count, members = tonumber(ARGV[argument]), {}
  for i = 1, count do
    members[i] = ARGV[argument + i]
  end
  argument = argument + 1 + count
  local rows = ask('HMGET', KEYS[key], members)
  for i = 1, count do
    local row = rows[i] or ''
    out[#out + 1] = pack('>I4', #row)
    out[#out + 1] = row
  end
end
return table.concat(out)
