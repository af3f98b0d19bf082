-- How many records are ready in each queue, up to its limit. KEYS and ARGV as of `due`.
-- Reply: 4 bytes for each queue, in the order of the runs; for a run of static tasks 4 bytes for each of them: 0 or 1.

local now, key, out = ARGV[1], 1, {}

for argument = 3, #ARGV, 6 do
  local count, each = tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
  if ARGV[argument] == 'static' then
    local scores = ask('ZMSCORE', KEYS[key + 1], split(ARGV[argument + 5]))
    for i = 1, count do
      out[#out + 1] = pack('>I4', scores[i] and tonumber(scores[i]) <= tonumber(now) and 1 or 0)
    end
    key = key + 2
  else
    for _ = 1, count do
      out[#out + 1] = pack('>I4', math.min(each, redis.call('ZCOUNT', KEYS[key + 1], '-inf', now)))
      key = key + 2
    end
  end
end
return table.concat(out)
