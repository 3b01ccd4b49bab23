-- Answers a query on one partition at one instant.
-- KEYS: metas, rows, sets of members, lists; all in one slot.
-- ARGV: how many of each of the four, then the members, then how many values of each list.
-- Returns {metas, rows, members, lists}; -1 in the place of what is of another type.
local function get(...)
  local ok, value = pcall(redis.call, ...)
  if ok then return value end
  local why = type(value) == 'table' and value.err or tostring(value)
  if string.find(why, 'WRONGTYPE', 1, true) then return -1 end
  error(value)
end

local metas, rows, members, lists = {}, {}, {}, {}
local key, arg = 0, 4
for i = 1, tonumber(ARGV[1]) do
  key = key + 1
  metas[i] = get('HGETALL', KEYS[key])
end
for i = 1, tonumber(ARGV[2]) do
  key = key + 1
  rows[i] = get('GET', KEYS[key])
end
for i = 1, tonumber(ARGV[3]) do
  key, arg = key + 1, arg + 1
  members[i] = get('SISMEMBER', KEYS[key], ARGV[arg])
end
for i = 1, tonumber(ARGV[4]) do
  key, arg = key + 1, arg + 1
  if ARGV[arg] == '0' then
    lists[i] = {}
  else
    lists[i] = get('LRANGE', KEYS[key], '-' .. ARGV[arg], -1)
  end
end
return {metas, rows, members, lists}
