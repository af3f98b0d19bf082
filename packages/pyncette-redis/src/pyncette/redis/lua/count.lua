-- The number of ready records in each queue, up to its limit. KEYS and ARGV as for a claim, but without the arguments before
-- the runs.
-- Reply: 4 bytes for each queue, in the order of the runs; in a run of static tasks 4 bytes for each of them: 0 or 1.

local key, out = 1, {}

for argument = 1, #ARGV, RUN do
  local count, each = tonumber(ARGV[argument + 1]), tonumber(ARGV[argument + 2])
  local lower, upper = ARGV[argument + 6], ARGV[argument + 7]
  if ARGV[argument] == 'static' then
    local scores = ask('ZMSCORE', KEYS[key + 1], split(ARGV[argument + 5]))
    for i = 1, count do
      out[#out + 1] = pack('>I4', scores[i] and within(scores[i], lower, upper) and 1 or 0)
    end
    key = key + 2
  else
    for _ = 1, count do
      out[#out + 1] = pack('>I4', math.min(each, redis.call('ZCOUNT', KEYS[key + 1], lower, upper)))
      key = key + 2
    end
  end
end
return table.concat(out)
