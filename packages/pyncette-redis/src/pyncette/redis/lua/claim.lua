-- Lease ready records: change them as pyncette.lease.claim does, and return them as they were before.
-- KEYS: for each queue, in the order of the runs: rows, ready; for a run of static tasks only once.
-- ARGV: now; now as 8 bytes; limit; length of the new headers as 2 bytes; then for each run of queues:
--       'static' or 'dynamic', number of queues, limit of each, end of the leases, the tail of a header from the length of
--       the revision on, names of the static tasks separated by NUL, first and last place in the index.
-- Reply: for each queue with claimed records its number (0: static tasks) and their number; then the records, see `tell`.

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

-- max(fence + 1, now). As a number, a fence may be rounded, but only far above any time.
local LAST_FENCE = '\127' .. rep('\255', 7)

local function next_fence(row)
  if unpack_bytes('>i8', row, 11) < moment then
    return now_bytes
  end
  local fence = sub(row, 11, 18)
  return fence == LAST_FENCE and fence or plus_one(fence)
end

local LAST_ATTEMPT = 2147483647

local function leased(row, tail)
  if damaged(row) then -- made whole around what is left, so that it can be set aside, overwritten and deleted
    return length_bytes .. rep('\0', 8) .. now_bytes .. pack('>I4', 1) .. tail .. pack('>I4', 0) .. kept(row)
  end
  return length_bytes
    .. sub(row, 3, 10)
    .. next_fence(row)
    .. pack('>I4', math.min(unpack_bytes('>I4', row, 19) + 1, LAST_ATTEMPT))
    .. tail
    .. sub(row, header_length(row) + 1)
end

local out = {}

local function take(rows_key, ready_key, members, run)
  local rows = ask('HMGET', rows_key, members)
  local specs = apart_from(rows, rows_key, members)
  local written, moved, strays = {}, {}, {}
  for i = 1, #members do
    local member, row = members[i], rows[i]
    if row then
      local new = leased(row, run.tail)
      local at = #written
      written[at + 1], written[at + 2] = member, new
      moved[at + 1], moved[at + 2] = run.lease_end, member
      tell(out, member, row, specs[i])
    else
      strays[#strays + 1] = member
    end
  end
  send('HSET', rows_key, written)
  send('ZADD', ready_key, moved)
  send('ZREM', ready_key, strays) -- of a damaged index; they would be in the way forever
  return #written / 2
end

each_ready(5, limit, out, take)
return table.concat(out)
