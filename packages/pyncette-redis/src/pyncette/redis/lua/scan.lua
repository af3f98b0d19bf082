-- A page of a dynamic queue, in the order of the members.
-- KEYS: rows, order.  ARGV: where the page begins and ends, as for ZRANGEBYLEX; limit.
-- Reply: of each record the lengths of its member and its row, and both.

local from, to, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local out = {}

while wanted > 0 do
  local members = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, wanted)
  if #members == 0 then
    break
  end
  local rows = ask('HMGET', KEYS[1], members)
  for i = 1, #members do
    if rows[i] then -- or else the index is damaged; a short page would mean that there are no more
      tell(out, members[i], rows[i])
      wanted = wanted - 1
    end
  end
  from = '(' .. members[#members]
end
return table.concat(out)
