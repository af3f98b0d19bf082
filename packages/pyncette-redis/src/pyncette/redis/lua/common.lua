-- Put before every script.
--
-- A queue's records are in a hash (member -> row), with a sorted set by ready_at. Those of a dynamic queue are also in a
-- sorted set by member. All static tasks share one hash and one sorted set, and have no third.
--
-- A row, integers big endian:
--    1..2   length of the header       19..22  attempt
--    3..10  due_at                     23      length of the revision
--   11..18  fence                      24..    revision, then ready_at and the lease unless the record just waits
-- The spec follows the header. Lua's numbers are exact up to 2^53 only, so due_at and fence are moved as bytes.

local byte, char, rep, sub = string.byte, string.char, string.rep, string.sub
local pack, unpack_bytes = struct.pack, struct.unpack
local PER_CALL = 2000 -- Lua's stack holds about 8,000 arguments

local function header_length(row)
  local high, low = byte(row, 1, 2)
  return high * 256 + low
end

local function revision(row)
  return sub(row, 24, 23 + byte(row, 23))
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

-- Members of a dynamic queue that are ready, the earliest first.
local function ready_in(key, now, limit)
  return redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit)
end

-- Those of the static tasks `names` that are ready, in their order.
local function ready_of(key, names, now, limit)
  local all, ready = split(names), {}
  local scores, moment = ask('ZMSCORE', key, all), tonumber(now)
  for i = 1, #all do
    if #ready >= limit then
      break
    end
    if scores[i] and tonumber(scores[i]) <= moment then
      ready[#ready + 1] = all[i]
    end
  end
  return ready
end

-- Walk over the runs of queues that a claim asks for, and give what is ready to `take(rows_key, ready_key, members, run)`,
-- which appends to `out` and returns how many it took. A run is queues of one kind with the same limit and lease.
local function each_ready(first, now, limit, out, take)
  local key, queue, any_static = 1, 0, nil
  for argument = first, #ARGV, 6 do
    local kind, count, each = ARGV[argument], tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
    local run = { lease_end = ARGV[argument + 3], tail = ARGV[argument + 4] }
    for _ = 1, kind == 'static' and 1 or count do
      local rows_key, ready_key, members = KEYS[key], KEYS[key + 1], nil
      key = key + 2
      if limit <= 0 then
        return
      end
      if kind == 'static' then
        any_static = any_static or redis.call('ZCOUNT', ready_key, '-inf', now)
        members = any_static > 0 and ready_of(ready_key, ARGV[argument + 5], now, math.min(count, limit)) or {}
      else
        queue = queue + 1
        members = ready_in(ready_key, now, math.min(each, limit))
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
