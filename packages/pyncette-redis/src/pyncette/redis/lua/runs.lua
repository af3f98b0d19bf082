-- Lines of a log of runs, newest first; those of the same moment in descending order of their ids.
-- KEYS: the log.
-- ARGV: the lower bound of lines that are too new, as for ZCOUNT; the highest score;
--       the moment as 8 bytes and the id after which the lines start, or '' twice;
--       how many lines to return; how many to scan;
--       the instance, or ''; what the text must contain; '1' if only some outcomes are wanted; these.
-- Reply: the last line scanned if there are more to scan, or ''; then the lines.

local newer, lower, at, last, wanted, budget, instance, text, chosen = unpack(ARGV, 1, 9)
wanted, budget = tonumber(wanted), tonumber(budget)
local outcomes = {}
for i = 10, #ARGV do
  outcomes[ARGV[i]] = true
end

local PAGE = 200

local function fits(line)
  local stop = string.find(line, '\0', 1, true)
  if not stop or #line < stop + 12 then
    return false -- damaged
  end
  if at == sub(line, stop + 1, stop + 8) and not is_greater(last, sub(line, 1, stop - 1)) then
    return false
  end
  local ends = stop + 10 + unpack_bytes('>I2', line, stop + 9)
  if chosen == '1' and not outcomes[sub(line, stop + 11, ends)] then
    return false
  end
  if #line < ends + 2 then
    return false
  end
  local key_ends = ends + 2 + unpack_bytes('>I2', line, ends + 1)
  if instance ~= '' and instance ~= sub(line, ends + 3, key_ends) then
    return false
  end
  return text == '' or string.find(line, text, key_ends + 1, true) ~= nil
end

local out = { '' }
local first, stop = redis.call('ZCOUNT', KEYS[1], newer, '+inf'), redis.call('ZCOUNT', KEYS[1], lower, '+inf')
while first < stop and wanted > 0 do
  local lines = redis.call('ZRANGE', KEYS[1], first, math.min(first + PAGE, stop) - 1, 'REV')
  first, budget = first + #lines, budget - #lines
  for i = 1, #lines do
    if fits(lines[i]) then
      out[#out + 1] = lines[i]
      wanted = wanted - 1
      if wanted == 0 then
        return out
      end
    end
  end
  if budget <= 0 and first < stop then
    out[1] = lines[#lines]
    return out
  end
end
return out
