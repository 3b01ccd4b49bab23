-- Writes one part of a record, or of an image: then the target is image:<name>, and prev 0.
-- KEYS: meta, timers, customers, names, then those that operations name by position.
-- ARGV: prev, target, from, upto, count of meta fields (0 unless this is the last part), the fields and
-- their values, then the operations:
--   S <key> <row> <value> <wake or ''>   set a row        D <key> <row>            delete a row
--   A <key> <name> <value>               append to a list  T <key> <name> <keep>    trim it
--   M <key> <name> <value>               add to a set      X <list> <set> <name>    drop both
-- Sequences are compared as text: they may exceed what a Lua number holds exactly.
-- Returns {verdict, number}, or {'damaged', why} if something there is of another type. A part that finds that
-- out half-way leaves the shard to be reset: a script that fails is not undone.
local meta, timers, customers, names = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prev, target, from, upto = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function text(why) return type(why) == 'table' and why.err or tostring(why) end

local known, stored = pcall(redis.call, 'HMGET', meta, 'applied', 'target', 'at', 'reset')
if not known then return {'damaged', text(stored)} end
local applied = stored[1] or '0'
if stored[4] then return {'reset', '0'} end
if applied == target then return {'done', applied} end
if applied ~= prev then return {'fenced', applied} end
if stored[2] and stored[2] ~= target then
  if string.sub(stored[2], 1, 6) == 'image:' then return {'fenced', applied} end
  return {'other', stored[2]}
end
local at = stored[3] or '0'
if at ~= from then return {'at', at} end

local arg = 5
local fields = tonumber(ARGV[arg])
if fields > 0 then
  for i = 1, fields do
    redis.call('HSET', meta, ARGV[arg + 1], ARGV[arg + 2])
    arg = arg + 2
  end
  redis.call('HDEL', meta, 'target', 'at')
else
  redis.call('HSET', meta, 'target', target, 'at', upto)
end

local function list_name(key) return 'l' .. key end
local function set_name(key) return 'u' .. key end

local function write()
  arg = arg + 1
  while ARGV[arg] do
    local op, key, name = ARGV[arg], KEYS[tonumber(ARGV[arg + 1])], ARGV[arg + 2]
    if op == 'S' then
      redis.call('SET', key, ARGV[arg + 3])
      redis.call('ZADD', customers, 0, name)
      if ARGV[arg + 4] == '' then
        redis.call('ZREM', timers, name)
      else
        redis.call('ZADD', timers, ARGV[arg + 4], name)
      end
      arg = arg + 5
    elseif op == 'D' then
      redis.call('DEL', key)
      redis.call('ZREM', customers, name)
      redis.call('ZREM', timers, name)
      arg = arg + 3
    elseif op == 'A' then
      if redis.call('RPUSH', key, ARGV[arg + 3]) == 1 then
        redis.call('SADD', names, list_name(name))
      end
      arg = arg + 4
    elseif op == 'T' then
      if ARGV[arg + 3] == '0' then
        redis.call('UNLINK', key)
        redis.call('SREM', names, list_name(name))
      else
        redis.call('LTRIM', key, '-' .. ARGV[arg + 3], -1)
      end
      arg = arg + 4
    elseif op == 'M' then
      if redis.call('SADD', key, ARGV[arg + 3]) == 1 and redis.call('SCARD', key) == 1 then
        redis.call('SADD', names, set_name(name))
      end
      arg = arg + 4
    else
      redis.call('UNLINK', key, KEYS[tonumber(name)])
      redis.call('SREM', names, list_name(ARGV[arg + 3]), set_name(ARGV[arg + 3]))
      arg = arg + 4
    end
  end
end

local written, why = pcall(write)
if not written then
  redis.call('DEL', meta)
  redis.call('HSET', meta, 'reset', '1')
  return {'damaged', text(why)}
end
return {'ok', upto}
