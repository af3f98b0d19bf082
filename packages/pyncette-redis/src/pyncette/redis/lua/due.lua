-- What is ready, without leasing it. KEYS, ARGV and reply as of a claim, but ARGV begins with: now; limit.

local out = {}

local function take(rows_key, _, members)
  local rows, found = ask('HMGET', rows_key, members), 0
  for i = 1, #members do
    if rows[i] then
      tell(out, members[i], rows[i])
      found = found + 1
    end
  end
  return found
end

each_ready(3, ARGV[1], tonumber(ARGV[2]), out, take)
return table.concat(out)
