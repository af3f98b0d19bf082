-- What an idle poll asks.
-- KEYS: ready of each dynamic queue; if static tasks are asked for, their ready; then what `read` takes.
-- ARGV: '-inf' or '(' and the moment after which the earliest ready_at is asked for; names of static tasks separated by
--       NUL, or ''; where held records begin; number of dynamic queues; then what `read` takes.
-- Reply: that ready_at in microseconds, or nil; what `read` appends; the time in microseconds.

local after, names, held, queues = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
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
local key = queues + 1
if names ~= '' then
  local bound = after == '-inf' and -math.huge or tonumber(sub(after, 2))
  for _, score in ipairs(ask('ZMSCORE', KEYS[key], split(names))) do
    if score and tonumber(score) > bound and tonumber(score) < tonumber(held) then
      consider(score)
    end
  end
  key = key + 1
end
local out = {}
read(out, key, 5)
local now = redis.call('TIME')
return { first and string.format('%.0f', first) or false, table.concat(out), string.format('%s%06d', now[1], now[2]) }
