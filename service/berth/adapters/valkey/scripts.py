"""The scripts that count calls in Valkey. Each is atomic and takes one round trip.

Calls in flight are members of a sorted set, each with the end of its lease as the score. Requests of
the last minute are members of another, with their times. All times are those of the server, so the
clocks of replicas may differ. A call that has left stays known for a lease if a late entry or renewal of
it may still arrive; those are then ignored.
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function add(key, score, seconds)
  redis.call('ZADD', key, score, ARGV[1])
  redis.call('PEXPIRE', key, math.ceil(seconds * 1000))
end
"""

ENTER = f"""
-- KEYS: mark of a call that left; then for each counter: calls in flight, requests
-- ARGV: call, seconds of a lease; then for each counter: calls that may run, requests in 60 s, -1 for any
-- Returns what is full ('' if nothing), of which counter, and for each one: requests left, milliseconds
{_NOW}
local full, counter, quotas = '', 0, {{}}
local function limit(i, which) return tonumber(ARGV[1 + 2 * i + which]) end
local function calls(i) return KEYS[2 * i] end
local function requests(i) return KEYS[1 + 2 * i] end
local function has_room(key, maximum, before)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', before)
  return redis.call('ZCARD', key) < maximum or redis.call('ZSCORE', key, ARGV[1])
end
local number = (#KEYS - 1) / 2
if redis.call('EXISTS', KEYS[1]) == 1 then return {{'left', 0}} end
for i = 1, number do
  if full == '' and limit(i, 0) >= 0 and not has_room(calls(i), limit(i, 0), now) then
    full, counter = 'calls', i
  end
end
for i = 1, number do
  if full == '' and limit(i, 1) >= 0 and not has_room(requests(i), limit(i, 1), now - 60) then
    full, counter = 'requests', i
  end
end
for i = 1, number do
  if full == '' and limit(i, 0) >= 0 then add(calls(i), now + ARGV[2], ARGV[2]) end
  if full == '' and limit(i, 1) >= 0 then add(requests(i), now, 60) end
end
for i = 1, number do
  local oldest = redis.call('ZRANGE', requests(i), 0, 0, 'WITHSCORES')[2] or now
  quotas[2 * i - 1] = limit(i, 1) - redis.call('ZCARD', requests(i))
  quotas[2 * i] = math.ceil((oldest + 60 - now) * 1000)
end
return {{full, counter, unpack(quotas)}}
"""

RENEW = f"""
-- KEYS: mark of a call that left; then the calls in flight of each counter. ARGV: call, seconds of a lease
{_NOW}
if redis.call('EXISTS', KEYS[1]) == 1 then return end
for i = 2, #KEYS do add(KEYS[i], now + ARGV[2], ARGV[2]) end
"""

LEAVE = """
-- KEYS: as for RENEW. ARGV: call, seconds of a lease, whether late requests of the call may arrive
local is_marked = ARGV[3] == '1'
for i = 2, #KEYS do
  if redis.call('ZREM', KEYS[i], ARGV[1]) == 0 then is_marked = true end
end
if is_marked then redis.call('SET', KEYS[1], '', 'PX', math.ceil(ARGV[2] * 1000)) end
"""
