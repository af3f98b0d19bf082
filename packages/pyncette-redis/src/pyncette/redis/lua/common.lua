-- This is prepended to every script.
--
-- A queue's records are in a hash (member -> row), with a sorted set by ready_at. A large spec is stored separately from its
-- row, so that each execution rewrites little. It is another field of the same hash: with a key that may not exist, all
-- calls would have to wait while a cluster moves the slot. Records of a dynamic queue are also in a sorted set by member.
-- All static tasks share one hash and one sorted set, and have no index by member.
--
-- The log of runs is a sorted set for each queue, including static ones, scored by the end of the run. Its members are the
-- lines: the id, 0, the moment as 8 bytes, the length of the outcome as 2 bytes, the outcome, the length of the instance's
-- member as 2 bytes, that member, and the text.
--
-- A row, integers big endian:
--    1..2   length of the header       19..22  attempt
--    3..10  due_at                     23      length of the revision
--   11..18  fence                      24..    revision, then ready_at and the lease unless the record just waits
-- The header is followed by the length of the state as 4 bytes, the state, the spec unless it is stored separately, and a
-- last byte: 0, or 1 if the spec is stored separately. No text ends with either byte, so a truncated row can be recognised.
-- Lua's numbers are exact only up to 2^53, so due_at and fence are handled as bytes. A row may be damaged: no function may
-- fail if it is too short.

local byte, char, rep, sub = string.byte, string.char, string.rep, string.sub
local pack, unpack_bytes = struct.pack, struct.unpack
local PER_CALL = 2000 -- Lua's stack holds about 8,000 arguments
local INLINE, APART = 0, 1
local LEASE = 17 -- bytes of a lease but for its holder

local function header_length(row)
  local high, low = byte(row, 1, 2)
  return (high or 0) * 256 + (low or 0)
end

local function revision(row)
  return sub(row, 24, 23 + (byte(row, 23) or 0))
end

local function damaged(row)
  if #row < 28 then
    return true
  end
  local last, header = byte(row, -1), header_length(row)
  local bare = 23 + byte(row, 23)
  if last > APART or (header ~= bare and header < bare + LEASE) or header + 5 > #row then
    return true
  end
  return header + 5 + unpack_bytes('>I4', row, header + 1) > #row
end

-- Keep a damaged row as the spec of an intact one.
local function kept(row)
  return 'damaged ' .. row .. char(INLINE)
end

-- The part after the state: the spec and the last byte.
local function rest(row)
  if damaged(row) then
    return kept(row)
  end
  local header = header_length(row)
  return sub(row, header + 5 + unpack_bytes('>I4', row, header + 1))
end

-- Call a command that takes any number of arguments after its key.
local function send(command, key, arguments)
  for first = 1, #arguments, PER_CALL do
    redis.call(command, key, unpack(arguments, first, math.min(first + PER_CALL - 1, #arguments)))
  end
end

-- The same for a command that returns one value per argument.
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

-- Whether a score is between two bounds, written as for ZRANGEBYSCORE.
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

-- Compares members with the same score as an index does. Lua's own comparison depends on the server's locale.
local function is_greater(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = byte(one, i), byte(other, i)
    if a ~= b then
      return a > b
    end
  end
  return #one > #other
end

-- Members of a dynamic queue within the bounds, earliest first.
local function ready_in(key, lower, upper, limit)
  return redis.call('ZRANGEBYSCORE', key, lower, upper, 'LIMIT', 0, limit)
end

-- The static tasks among `names` that are within the bounds, in their order.
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

-- Iterate over the runs of queues in a claim, and pass ready members to `take(rows_key, ready_key, members, run)`, which
-- appends to `out` and returns how many it took. A run consists of queues of one kind with the same limit, lease and window.
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

-- The field of a spec that is stored separately. No member ends like this.
local function spec_field(member)
  return member .. '\0'
end

-- By position: the specs stored separately from `rows`; '' for a missing one.
local function apart_from(rows, rows_key, members)
  local specs, wanted, places = {}, {}, {}
  for i = 1, #members do
    if rows[i] and byte(rows[i], -1) == APART then
      wanted[#wanted + 1], places[#places + 1] = spec_field(members[i]), i
    end
  end
  local found = ask('HMGET', rows_key, wanted)
  for i = 1, #wanted do
    specs[places[i]] = found[i] or ''
  end
  return specs
end

-- Append a record to a reply: the lengths of its member and its row, and both; then, for a spec stored separately, its
-- length and the spec.
local function tell(out, member, row, spec)
  local at = #out
  out[at + 1] = pack('>I2I4', #member, #row)
  out[at + 2] = member
  out[at + 3] = row
  if spec then
    out[at + 4] = pack('>I4', #spec)
    out[at + 5] = spec
  end
end

-- Append to a reply those of `members` that have a row. Returns how many there are.
local function tell_all(out, rows_key, members)
  local rows, count = ask('HMGET', rows_key, members), 0
  local specs = apart_from(rows, rows_key, members)
  for i = 1, #members do
    if rows[i] then
      tell(out, members[i], rows[i], specs[i])
      count = count + 1
    end
  end
  return count
end

-- Append to a reply the records requested from `key` and `argument` on. KEYS there: the rows of each queue. ARGV there: for
-- each queue the number of members, and the members. The reply: for each member the length of its row plus one as 4 bytes,
-- and the row; then, for a spec stored separately, its length and the spec; 0 if there is no record.
local function read(out, key, argument)
  while key <= #KEYS do
    local count, members = tonumber(ARGV[argument]), {}
    for i = 1, count do
      members[i] = ARGV[argument + i]
    end
    argument = argument + 1 + count
    local rows = ask('HMGET', KEYS[key], members)
    local specs = apart_from(rows, KEYS[key], members)
    for i = 1, count do
      local at = #out
      if rows[i] then
        out[at + 1] = pack('>I4', #rows[i] + 1)
        out[at + 2] = rows[i]
        if specs[i] then
          out[at + 3] = pack('>I4', #specs[i])
          out[at + 4] = specs[i]
        end
      else
        out[at + 1] = pack('>I4', 0)
      end
    end
    key = key + 1
  end
end
