-- The earliest ready_at.
-- KEYS: ready of each dynamic queue; if static tasks are asked for, their ready as the last.
-- ARGV: '-inf' or '(' and the moment after which it is; names of static tasks separated by NUL, or ''; where held records
--       begin.
-- Reply: microseconds, or nil.

local after, names, held = ARGV[1], ARGV[2], ARGV[3]
local queues = names == '' and #KEYS or #KEYS - 1
local first

local function consider(score)
  local moment = tonumber(score)
  if not first or moment < first then
    first = moment
  end
end

for key = 1, queues do
  local found = redis.call('ZRANGEBYSCORE', KEYS[key], after, '(' .. held, 'WITHSCORES', 'LIMIT', 0, 1)
  if found[2] then
    consider(found[2])
  end
end
if names ~= '' then
  local bound = after == '-inf' and -math.huge or tonumber(sub(after, 2))
  for _, score in ipairs(ask('ZMSCORE', KEYS[#KEYS], split(names))) do
    if score and tonumber(score) > bound and tonumber(score) < tonumber(held) then
      consider(score)
    end
  end
end
return first and string.format('%.0f', first)
