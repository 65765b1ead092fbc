-- The strike rule of policies/strikes.py, run where the standings are: atomic, and on one clock for all.
-- KEYS  1 the person  2 the utterance (count) or the appeal (uphold)  3 people of note  4 sequence  5 epoch: there once the standings are complete
--       6 what was counted of the person  7… marks of utterances and of appeals (set)
-- ARGV  1 what: count | lift | uphold | suspend | set | look   2 person   3 Unix ms, '' = the server's clock
--       4 argument: violation 1 or 0 (count), until (suspend), {state, entries} as JSON (set)
--       5 sequence that the person must still have, '' = any
--       6 consecutive 7 daily 8 suspensions 9 decay 10 same 11 seen 12 same_most 13 utc_offset 14 channel 15 seconds kept
--       16 id of what is counted, '' = it has none  17 its utterance  18 entries kept of a person
--       19… of each mark its value, and for how many ms it is kept
-- An entry is "seq|seq before|at|kind|until|utterance", by its id: what has one is counted once, and a rebuild knows of it.
-- Returns {seq, at, event, before, after}; states as "row|today|day|until|level|last|why|at|seq". No epoch: {-1}, another sequence: {-2}.
local what, person, given, argument = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if what ~= 'set' and redis.call('EXISTS', KEYS[5]) == 0 then return {-1} end

local now
if given ~= '' then now = tonumber(given)
else local t = redis.call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end

local NAMES = {'row', 'today', 'day', 'until', 'level', 'last', 'why', 'at', 'seq'}
local found = redis.call('HMGET', KEYS[1], unpack(NAMES))
local s = {}
for i, name in ipairs(NAMES) do s[name] = tonumber(found[i]) or 0 end

local function packed()
  local words = {}
  for i, name in ipairs(NAMES) do words[i] = string.format('%d', s[name]) end
  return table.concat(words, '|')
end

local function suspended() return s['until'] == -1 or now < s['until'] end

local before = packed()

-- Makes what the state has become known: to the person's key, to the people of note, to the workers.
local function kept(event)
  s.seq = redis.call('INCR', KEYS[4])
  s.at = now
  local words = {}
  for _, name in ipairs(NAMES) do words[#words + 1] = name; words[#words + 1] = string.format('%d', s[name]) end
  redis.call('HSET', KEYS[1], unpack(words))
  redis.call('EXPIRE', KEYS[1], ARGV[15])
  local after = packed()
  if s.row > 0 or suspended() then redis.call('HSET', KEYS[3], person, after)
  else redis.call('HDEL', KEYS[3], person) end
  redis.call('PUBLISH', ARGV[14], person .. ' ' .. after)
  return {s.seq, now, event, before, after}
end

-- Remembers what was counted; of too much the oldest quarter goes.
local function remembered(id, entry)
  if id == '' then return end
  redis.call('HSETNX', KEYS[6], id, entry)
  redis.call('EXPIRE', KEYS[6], ARGV[15])
  local most = tonumber(ARGV[18])
  if redis.call('HLEN', KEYS[6]) <= most then return end
  local all, entries = redis.call('HGETALL', KEYS[6]), {}
  for i = 1, #all, 2 do
    local seq, at = string.match(all[i + 1], '^(%d+)|%d+|(%d+)')
    entries[#entries + 1] = {id = all[i], seq = tonumber(seq), at = tonumber(at)}
  end
  table.sort(entries, function(a, b) return a.at < b.at or (a.at == b.at and a.seq < b.seq) end)
  for i = 1, math.ceil(most / 4) do redis.call('HDEL', KEYS[6], entries[i].id) end
end

local function counted(event, kind, ends)
  local old = s.seq
  local done = kept(event)
  remembered(ARGV[16], string.format('%d|%d|%d|%s|%s|', s.seq, old, now, kind, ends) .. ARGV[17])
  return done
end

if what == 'look' then return {s.seq, now, '', before, before} end

-- An appeal is upheld once; whoever asks again, after a kill, learns what was done.
if what == 'uphold' then
  local done = redis.call('GET', KEYS[2])
  if done then
    local seq, at, was, became = string.match(done, '^(%d+) (%d+) (%S+) (%S+)$')
    return {tonumber(seq), tonumber(at), what, was, became}
  end
end

-- What a rebuild, or a first try whose answer was lost, has counted already.
local entry = ARGV[16] ~= '' and redis.call('HGET', KEYS[6], ARGV[16])
if entry then
  local seq, at = string.match(entry, '^(%d+)|%d+|(%d+)|')
  return {tonumber(seq), tonumber(at), what == 'count' and 'repeated' or what, before, before}
end

if ARGV[5] ~= '' and s.seq ~= tonumber(ARGV[5]) then return {-2} end

if what == 'set' then
  local document = cjson.decode(argument)
  local state = document.state
  for _, name in ipairs(NAMES) do if name ~= 'seq' then s[name] = state[name] or 0 end end
  now = s.at
  for i = 7, #KEYS do redis.call('SET', KEYS[i], ARGV[2 * i + 5], 'PX', ARGV[2 * i + 6]) end
  local done = kept('set')
  redis.call('HSET', KEYS[1], 'set', done[1])
  for id, given_entry in pairs(document.entries) do remembered(id, given_entry) end
  return done
end

now = math.max(now, s.at)  -- a person's time never goes backwards

if what == 'lift' or what == 'uphold' then
  s.row, s.today, s['until'], s.why = 0, 0, 0, 0
  if what == 'lift' then return counted(what, what, '0') end
  s.level = math.max(0, s.level - 1)
  local done = counted(what, what, '0')
  redis.call('SET', KEYS[2], string.format('%d %d %s %s', done[1], done[2], before, done[5]), 'EX', ARGV[15])
  return done
end
if what == 'suspend' then
  s['until'], s.why = tonumber(argument), 3
  return counted(what, what, argument)
end

local violation = argument == '1'
if suspended() then return {s.seq, now, 'while_suspended', before, before} end
if not violation and s.row == 0 then return {s.seq, now, '', before, before} end

local same, same_most = tonumber(ARGV[10]), tonumber(ARGV[12])
local first, repeated, violated = now, false, false
local seen = redis.call('GET', KEYS[2])
if seen then
  local f, l, v = string.match(seen, '^(%d+)|(%d+)|(%d)$')
  f, l = tonumber(f), tonumber(l)
  repeated = now - l < same and now - f < same_most
  if repeated then first, violated = f, v == '1' end
end
local mark = string.format('%d|%d|%d', first, now, (violation or violated) and 1 or 0)
redis.call('SET', KEYS[2], mark, 'PX', ARGV[11])
if repeated and (violated or not violation) then return {s.seq, now, 'repeated', before, before} end

if not violation then
  s.row = 0
  return counted('reset', 'clean', '0')
end
local day = math.floor((now + tonumber(ARGV[13])) / 86400000)
s.today = (s.day == day and s.today or 0) + 1
s.row, s.day = s.row + 1, day
if now - s.last > tonumber(ARGV[9]) then s.level = 0 end
s.last, s['until'], s.why = now, 0, 0
local event = 'struck'
if s.row >= tonumber(ARGV[6]) or s.today >= tonumber(ARGV[7]) then
  s.why = s.row >= tonumber(ARGV[6]) and 1 or 2
  event = s.why == 1 and 'suspended_consecutive' or 'suspended_daily'
  local durations = {}
  for word in string.gmatch(ARGV[8], '[^,]+') do durations[#durations + 1] = tonumber(word) end
  local duration = durations[math.min(s.level + 1, #durations)]
  s['until'] = duration == -1 and -1 or now + duration
  s.row, s.level = 0, s.level + 1
end
return counted(event, 'violation', '0')
