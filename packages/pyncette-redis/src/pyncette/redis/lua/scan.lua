-- A page of a dynamic queue, in the order of the members.
-- KEYS: rows, order.  ARGV: lower and upper bound of the page, as for ZRANGEBYLEX; limit.
-- Reply: see `tell`.

local from, to, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local out = {}

while wanted > 0 do
  local members = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, wanted)
  if #members == 0 then
    break
  end
  -- Without a row the index is damaged; a short page would mean that there are no more.
  wanted = wanted - tell_all(out, KEYS[1], members)
  from = '(' .. members[#members]
end
return table.concat(out)
