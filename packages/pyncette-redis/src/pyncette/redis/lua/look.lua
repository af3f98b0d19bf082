-- The query of an idle poll.
-- KEYS: ready of each dynamic queue; if static tasks are asked for, their ready; then what `read` takes.
-- ARGV: '-inf' or '(' and the moment after which the earliest ready_at is asked for; names of static tasks separated by
--       NUL, or ''; the lower bound of held records; number of dynamic queues; up to which moment to return those of each
--       queue, and how many at most; then what `read` takes.
-- Reply: that ready_at in microseconds, or nil; what `read` appends; the time in microseconds; for each moment returned
--       the number of its queue, static ones after the others, and the moment.

local after, names, held, queues = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local last, most = tonumber(ARGV[5]), tonumber(ARGV[6])
local first
local soon = {}

local function tell_moment(queue, score)
  soon[#soon + 1] = tostring(queue)
  soon[#soon + 1] = string.format('%.0f', tonumber(score))
end

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
    if tonumber(found[2]) <= last then
      local near = redis.call('ZRANGEBYSCORE', KEYS[key], after, ARGV[5], 'WITHSCORES', 'LIMIT', 0, most)
      for i = 2, #near, 2 do
        if tonumber(near[i]) < tonumber(held) then
          tell_moment(key, near[i])
        end
      end
    end
  end
end
local key = queues + 1
if names ~= '' then
  local bound = after == '-inf' and -math.huge or tonumber(sub(after, 2))
  for i, score in ipairs(ask('ZMSCORE', KEYS[key], split(names))) do
    if score and tonumber(score) > bound and tonumber(score) < tonumber(held) then
      consider(score)
      if tonumber(score) <= last then
        tell_moment(queues + i, score)
      end
    end
  end
  key = key + 1
end
local out = {}
read(out, key, 7)
local now = redis.call('TIME')
return { first and string.format('%.0f', first) or false, table.concat(out), string.format('%s%06d', now[1], now[2]), soon }
