-- Lease what is ready: write what pyncette.lease.claim says, and return it.
-- KEYS: of each queue, in the order of the runs: rows, ready; of a run of static tasks once.
-- ARGV: now; now as 8 bytes; limit; length of the new headers as 2 bytes; then of each run of queues:
--       'static' or 'dynamic', number of queues, limit of each, end of the leases, the tail of a header from the length of
--       the revision on, names of the static tasks separated by NUL.
-- Reply: of each queue that gave something its number (0: static tasks) and the number of records; of each record the
--        lengths of its member and its row, and both.

local now, now_bytes, limit, length_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local moment = tonumber(now)

local function plus_one(bytes)
  local last = #bytes
  while last > 0 and byte(bytes, last) == 255 do
    last = last - 1
  end
  if last == 0 then
    return rep('\0', #bytes)
  end
  return sub(bytes, 1, last - 1) .. char(byte(bytes, last) + 1) .. rep('\0', #bytes - last)
end

-- max(fence + 1, now). As a number a fence may be rounded, but only far above any time.
local function next_fence(row)
  if unpack_bytes('>i8', row, 11) < moment then
    return now_bytes
  end
  return plus_one(sub(row, 11, 18))
end

local function leased(row, tail)
  return length_bytes
    .. sub(row, 3, 10)
    .. next_fence(row)
    .. pack('>I4', unpack_bytes('>I4', row, 19) + 1)
    .. tail
    .. sub(row, header_length(row) + 1)
end

local out = {}

local function take(rows_key, ready_key, members, run)
  local rows = ask('HMGET', rows_key, members)
  local written, moved, strays = {}, {}, {}
  for i = 1, #members do
    local member, row = members[i], rows[i]
    if row then
      local new = leased(row, run.tail)
      local at = #written
      written[at + 1], written[at + 2] = member, new
      moved[at + 1], moved[at + 2] = run.lease_end, member
      tell(out, member, new)
    else
      strays[#strays + 1] = member
    end
  end
  send('HSET', rows_key, written)
  send('ZADD', ready_key, moved)
  send('ZREM', ready_key, strays) -- of a damaged index; they would be in the way forever
  return #written / 2
end

each_ready(5, now, limit, out, take)
return table.concat(out)
