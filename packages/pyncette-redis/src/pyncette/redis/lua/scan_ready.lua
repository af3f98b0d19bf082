-- A page of a dynamic queue, in the order of ready_at and, at one moment, of the members.
-- KEYS: rows, ready.  ARGV: first and last place in the index, as for ZRANGEBYSCORE; limit; the place and the member after
-- which the page begins, or '' twice.
-- Reply: of each record the lengths of its member and its row, and both.

local lower, upper, wanted, place, last = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local out, offset = {}, 0

while wanted > 0 do
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], lower, upper, 'WITHSCORES', 'LIMIT', offset, 1000)
  if #found == 0 then
    break
  end
  local members = {}
  for i = 1, #found, 2 do
    local behind = place == '' or tonumber(found[i + 1]) > tonumber(place) or found[i] > last
    if behind and #members < wanted then
      members[#members + 1] = found[i]
    end
  end
  local rows = ask('HMGET', KEYS[1], members)
  for i = 1, #members do
    if rows[i] then -- or else the index is damaged; a short page would mean that there are no more
      tell(out, members[i], rows[i])
      wanted = wanted - 1
    end
  end
  offset = offset + 1000
end
return table.concat(out)
