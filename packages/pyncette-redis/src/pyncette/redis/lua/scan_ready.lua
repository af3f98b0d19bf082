-- A page of a dynamic queue, in the order of ready_at and, for equal ones, of the members' bytes.
-- KEYS: rows, ready.  ARGV: lowest and highest score in the index, as for ZRANGEBYSCORE; limit; the score and the member
-- after which the page starts, or '' twice.
-- Reply: see `tell`.

local rows_key, ready_key = KEYS[1], KEYS[2]
local lower, upper, wanted, place, last = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

-- The rank of the first entry after `last` at `place`, which may be gone by now.
local function after_last()
  local score = ask('ZMSCORE', ready_key, { last })[1]
  if score and tonumber(score) == tonumber(place) then
    return redis.call('ZRANK', ready_key, last) + 1
  end
  local low, high = redis.call('ZCOUNT', ready_key, '-inf', '(' .. place), redis.call('ZCOUNT', ready_key, '-inf', place)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_greater(redis.call('ZRANGE', ready_key, middle, middle)[1], last) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local first
if place ~= '' then
  first = after_last()
elseif lower == '-inf' then
  first = 0
else
  first = redis.call('ZCOUNT', ready_key, '-inf', '(' .. lower)
end
local stop = redis.call('ZCOUNT', ready_key, '-inf', upper)
local out = {}
while wanted > 0 and first < stop do
  local members = redis.call('ZRANGE', ready_key, first, math.min(first + wanted, stop) - 1)
  first = first + #members
  -- Without a row the index is damaged; a short page would mean that there are no more.
  wanted = wanted - tell_all(out, rows_key, members)
end
return table.concat(out)
