-- Put before every script.
--
-- A queue's records are in a hash (member -> row), with a sorted set by ready_at. Those of a dynamic queue are also in a
-- sorted set by member. All static tasks share one hash and one sorted set, and have no third.
--
-- A row, integers big endian:
--    1..2   length of the header       19..22  attempt
--    3..10  due_at                     23      length of the revision
--   11..18  fence                      24..    revision, then ready_at and the lease unless the record just waits
-- The header is followed by the length of the state as 4 bytes, the state, and the spec. Lua's numbers are exact up to 2^53
-- only, so due_at and fence are moved as bytes. A row may be damaged: no function fails for one that is too short.

local byte, char, rep, sub = string.byte, string.char, string.rep, string.sub
local pack, unpack_bytes = struct.pack, struct.unpack
local PER_CALL = 2000 -- Lua's stack holds about 8,000 arguments

local function header_length(row)
  local high, low = byte(row, 1, 2)
  return (high or 0) * 256 + (low or 0)
end

local function revision(row)
  return sub(row, 24, 23 + (byte(row, 23) or 0))
end

local function spec(row)
  local first = header_length(row) + 1
  if #row < first + 3 then
    return ''
  end
  return sub(row, first + 4 + unpack_bytes('>I4', row, first))
end

-- Call a command that takes any number of arguments after its key.
local function send(command, key, arguments)
  for first = 1, #arguments, PER_CALL do
    redis.call(command, key, unpack(arguments, first, math.min(first + PER_CALL - 1, #arguments)))
  end
end

-- The same for a command that replies with one value for each argument.
local function ask(command, key, arguments)
  if #arguments == 0 then
    return {}
  end
  if #arguments <= PER_CALL then
    return redis.call(command, key, unpack(arguments))
  end
  local all = {}
  for first = 1, #arguments, PER_CALL do
    local some = redis.call(command, key, unpack(arguments, first, math.min(first + PER_CALL - 1, #arguments)))
    for i = 1, #some do
      all[first + i - 1] = some[i]
    end
  end
  return all
end

local function split(names)
  local list = {}
  for name in string.gmatch(names, '[^%z]+') do
    list[#list + 1] = name
  end
  return list
end

-- Whether a score lies between two bounds, written as for ZRANGEBYSCORE.
local function within(score, lower, upper)
  local moment = tonumber(score)
  if lower ~= '-inf' and moment < tonumber(lower) then
    return false
  end
  if sub(upper, 1, 1) == '(' then
    return moment < tonumber(sub(upper, 2))
  end
  return moment <= tonumber(upper)
end

-- Members of a dynamic queue within the bounds, the earliest first.
local function ready_in(key, lower, upper, limit)
  return redis.call('ZRANGEBYSCORE', key, lower, upper, 'LIMIT', 0, limit)
end

-- Those of the static tasks `names` that are within the bounds, in their order.
local function ready_of(key, names, lower, upper, limit)
  local all, ready = split(names), {}
  local scores = ask('ZMSCORE', key, all)
  for i = 1, #all do
    if #ready >= limit then
      break
    end
    if scores[i] and within(scores[i], lower, upper) then
      ready[#ready + 1] = all[i]
    end
  end
  return ready
end

-- Walk over the runs of queues that a claim asks for, and give what is ready to `take(rows_key, ready_key, members, run)`,
-- which appends to `out` and returns how many it took. A run is queues of one kind with the same limit, lease and window.
local RUN = 8 -- arguments

local function each_ready(first, limit, out, take)
  local key, queue = 1, 0
  for argument = first, #ARGV, RUN do
    local kind, count, each = ARGV[argument], tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
    local lower, upper = ARGV[argument + 6], ARGV[argument + 7]
    local run = { lease_end = ARGV[argument + 3], tail = ARGV[argument + 4] }
    for _ = 1, kind == 'static' and 1 or count do
      local rows_key, ready_key, members = KEYS[key], KEYS[key + 1], nil
      key = key + 2
      if limit <= 0 then
        return
      end
      if kind == 'static' then
        local any = redis.call('ZCOUNT', ready_key, lower, upper) > 0
        members = any and ready_of(ready_key, ARGV[argument + 5], lower, upper, math.min(each * count, limit)) or {}
      else
        queue = queue + 1
        members = ready_in(ready_key, lower, upper, math.min(each, limit))
      end
      if #members > 0 then
        local at = #out + 1
        out[at] = ''
        local taken = take(rows_key, ready_key, members, run)
        out[at] = pack('>I4I4', kind == 'static' and 0 or queue, taken)
        limit = limit - taken
      end
    end
  end
end

-- Append a record to a reply.
local function tell(out, member, row)
  local at = #out
  out[at + 1] = pack('>I2I4', #member, #row)
  out[at + 2] = member
  out[at + 3] = row
end
