-- Rate limits as policies/rates.py has them, where all workers and gateways share them: atomic, and on one clock.
-- KEYS  of each charge, a hash (amounts by number of the step) or a sorted set (places by their end)
-- ARGV  1 what: take | give | renew   2 Unix ms, '' = the server's clock   3 window ms   4 step ms   5 ms a place is kept
--       then three for each key:
--         take   limit, amount, name of the place ('' = a window)
--         give   amount, Unix ms at which it was taken, name of the place
--         renew  -, -, name of the place
-- Returns for take {at, index of the charge refused or -1, ms to wait, used …}, else nothing of interest.
redis.set_repl(redis.REPL_NONE)  -- no disk and no replica waits for what counts for a minute

local what, window, stepping, kept = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now
if ARGV[2] ~= '' then now = tonumber(ARGV[2])
else local t = redis.call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end

local function argument(i, k) return ARGV[5 + 3 * (i - 1) + k] end
local function whole(number) return string.format('%.0f', number) end
local function leaves(step) return (step + 1) * stepping + window end

local function keep(i)
  redis.call('ZADD', KEYS[i], whole(now + kept), argument(i, 3))
  redis.call('PEXPIRE', KEYS[i], whole(kept + 1000))
end

if what == 'renew' then
  for i = 1, #KEYS do keep(i) end
  return 0
end

if what == 'give' then
  for i = 1, #KEYS do
    if argument(i, 3) ~= '' then redis.call('ZREM', KEYS[i], argument(i, 3))
    else
      local amount = tonumber(argument(i, 1))
      local step = whole(math.floor((amount < 0 and now or tonumber(argument(i, 2))) / stepping))
      local taken = redis.call('HGET', KEYS[i], step)
      if taken or amount < 0 then
        redis.call('HSET', KEYS[i], step, whole(math.max(0, tonumber(taken or '0') - amount)))
        redis.call('PEXPIRE', KEYS[i], whole(window + stepping))
      end
    end
  end
  return 0
end

local answer, refused, longest = {now, -1, 0}, -1, 0
for i = 1, #KEYS do
  local limit, amount, place = tonumber(argument(i, 1)), tonumber(argument(i, 2)), argument(i, 3)
  local used, wait, steps = 0, 0, {}
  if place ~= '' then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', whole(now))
    used = redis.call('ZCARD', KEYS[i])
  else
    local found = redis.call('HGETALL', KEYS[i])
    for j = 1, #found, 2 do
      local step = tonumber(found[j])
      if leaves(step) > now then
        used = used + tonumber(found[j + 1])
        steps[#steps + 1] = {step, tonumber(found[j + 1])}
      else redis.call('HDEL', KEYS[i], found[j]) end
    end
  end
  answer[3 + i] = used
  if used + amount > limit then
    local over = used + amount - limit
    table.sort(steps, function(a, b) return a[1] < b[1] end)
    for _, one in ipairs(steps) do
      over = over - one[2]
      if over <= 0 then wait = leaves(one[1]) - now; break end
    end
    if refused < 0 or wait > longest then refused, longest = i - 1, wait end
  end
end
answer[2], answer[3] = refused, longest
if refused >= 0 then return answer end

for i = 1, #KEYS do
  answer[3 + i] = answer[3 + i] + tonumber(argument(i, 2))
  if argument(i, 3) ~= '' then keep(i)
  else
    redis.call('HINCRBY', KEYS[i], whole(math.floor(now / stepping)), argument(i, 2))
    redis.call('PEXPIRE', KEYS[i], whole(window + stepping))
  end
end
return answer
