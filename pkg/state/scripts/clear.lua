-- Removes a bounded piece of a shard that is being reset.
-- KEYS: meta, timers, customers, names, then the keys to remove.
-- ARGV: how many rows, their names, then the names of lists and sets; with none of either it is the last
-- piece. It does nothing once the reset is finished, so that a late one cannot touch what came after.
-- Returns 0 if the reset is finished, 1 if there is more, 2 if an index was of another type: it is removed, and
-- what it should have led to has to be found without it.
if redis.call('HEXISTS', KEYS[1], 'reset') == 0 then return 0 end
local function sound(key, want)
  local is = redis.call('TYPE', key)
  is = is.ok or is
  if is == 'none' or is == want then return true end
  redis.call('UNLINK', key)
  return false
end
local timers, customers, names = sound(KEYS[2], 'zset'), sound(KEYS[3], 'zset'), sound(KEYS[4], 'set')
if not (timers and customers and names) then return 2 end

local rows = tonumber(ARGV[1])
for i = 5, #KEYS do
  redis.call('UNLINK', KEYS[i])
  if i - 4 <= rows then
    redis.call('ZREM', KEYS[3], ARGV[i - 3])
  else
    redis.call('SREM', KEYS[4], ARGV[i - 3])
  end
end
if #KEYS == 4 and redis.call('EXISTS', KEYS[3], KEYS[4]) == 0 then
  redis.call('UNLINK', KEYS[2])
  redis.call('DEL', KEYS[1])
  return 0
end
return 1
