-- What all steps share. It is put before each of the parts below, so that each
-- step is one script. No rule stands here: a step compares and writes, and
-- what the comparison means the Authority knows.
--
-- Numbers are below 2^53, so that Lua's are exact.

local META = '>BI8I8I8I8I8I8I8'  -- format, head, tail, config, all, all's time, clients, stamp
local RECORD = '>BI6I6I6I6I6'    -- format, version, birth, active, ended, idle
local CUTOFF = '>I6I6'           -- count, time

local function load(key)
	local v = redis.call('GET', key)
	if not v then return nil, redis.error_reply('RESCIND GONE no such shard') end
	if string.byte(v) ~= 1 then return nil, redis.error_reply('RESCIND NEWER format of a shard') end
	local m, _ = {key = key}
	_, m.head, m.tail, m.config, m.all, m.allAt, m.clients, m.stamp = struct.unpack(META, v)
	return m
end

local function save(m, now)
	if now > m.stamp then m.stamp = now end
	redis.call('SET', m.key, struct.pack(META, 1, m.head, m.tail, m.config, m.all, m.allAt, m.clients, m.stamp))
end

-- number writes what tostring would shorten.
local function number(n) return string.format('%.0f', n) end

local function take(m, feed, entry)
	m.head = m.head + 1
	redis.call('XADD', feed, number(m.head) .. '-0', 'e', entry)
end

local function log(m, events, now, entry)
	m.stamp = math.max(m.stamp + 1, now)
	redis.call('XADD', events, number(m.stamp) .. '-0', 'e', entry)
end

-- record takes the head of a record apart; the rest stays as it is.
local function record(v)
	local r, n, c, _ = {}
	_, r.version, r.birth, r.active, r.ended, r.idle, n = struct.unpack(RECORD, v)
	n, c = string.byte(v, n, n + 1)
	r.reason, r.client, r.rest = string.sub(v, 34, 33 + n), string.sub(v, 34 + n, 33 + n + c), string.sub(v, 34 + n + c)
	return r
end

local function head(version, birth, active, ended, idle)
	return struct.pack(RECORD, 1, version, birth, active, ended, idle)
end

local function write(key, r)
	redis.call('SET', key, head(r.version, r.birth, r.active, r.ended, r.idle) ..
		string.char(#r.reason, #r.client) .. r.reason .. r.client .. r.rest)
end

local function count(v)
	if not v then return 0 end
	local n = struct.unpack(CUTOFF, v)
	return n
end

-- standing reports whether a record has not ended, nor a cutoff passed its birth.
local function standing(r, m, subject, clients)
	return r.ended == 0 and m.all <= r.birth and count(redis.call('GET', subject)) <= r.birth and
		count(redis.call('HGET', clients, r.client)) <= r.birth
end

local function idle(r, now) return math.floor(now / 1000) >= r.active + r.idle end

local CONFLICT = -1

-- finish ends the session at key, unless its record says so already.
local function finish(m, key, feed, events, now, ended, reason, entry, event)
	local v = redis.call('GET', key)
	if not v then return false end
	local r = record(v)
	if r.ended ~= 0 then return false end
	r.version, r.ended, r.reason = r.version + 1, tonumber(ended), reason
	write(key, r)
	take(m, feed, entry)
	log(m, events, now, event)
	return true
end

--== create meta feed events session bucket buckets counter [ended…]
-- now, count or '', the record behind its birth, id, bucket, number of events, events…, and of each session to end: time, reason, entry, event
local m, err = load(KEYS[1])
if err then return err end
local now = tonumber(ARGV[1])
if redis.call('EXISTS', KEYS[4]) == 1 then return CONFLICT end
if ARGV[2] ~= '' then
	if (redis.call('GET', KEYS[7]) or '0') ~= ARGV[2] then return CONFLICT end
	redis.call('INCR', KEYS[7])
end
local at = 7 + tonumber(ARGV[6])
for i = 8, #KEYS do
	finish(m, KEYS[i], KEYS[2], KEYS[3], now, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
	at = at + 4
end
redis.call('SET', KEYS[4], struct.pack('>BI6I6', 1, 1, m.head) .. ARGV[3])
redis.call('ZADD', KEYS[5], 0, ARGV[4])
if redis.call('ZCARD', KEYS[5]) == 1 then redis.call('SETBIT', KEYS[6], ARGV[5], 1) end
for i = 7, 6 + tonumber(ARGV[6]) do log(m, KEYS[3], now, ARGV[i]) end
save(m, now)
return m.head

--== replace meta feed events session subject clients
-- now, version, time of activity, idle time, the record behind its head, number of
-- tokens dropped, their entries…, events…
local m, err = load(KEYS[1])
if err then return err end
local now = tonumber(ARGV[1])
local v = redis.call('GET', KEYS[4])
if not v then return CONFLICT end
if string.sub(v, 2, 7) ~= ARGV[2] then return CONFLICT end
local r = record(v)
if not standing(r, m, KEYS[5], KEYS[6]) or idle(r, now) then return CONFLICT end
redis.call('SET', KEYS[4], head(r.version + 1, r.birth, math.max(r.active, tonumber(ARGV[3])), 0, tonumber(ARGV[4])) .. ARGV[5])
local dropped = tonumber(ARGV[6])
for i = 7, 6 + dropped do take(m, KEYS[2], ARGV[i]) end
for i = 7 + dropped, #ARGV do log(m, KEYS[3], now, ARGV[i]) end
save(m, now)
return m.head

--== finish meta feed events session
-- now, time, reason, entry, event
local m, err = load(KEYS[1])
if err then return err end
local now = tonumber(ARGV[1])
if not finish(m, KEYS[4], KEYS[2], KEYS[3], now, ARGV[2], ARGV[3], ARGV[4], ARGV[5]) then return {0, m.head} end
save(m, now)
return {1, m.head}

--== cut meta feed events subject moves clients [session]
-- now, time, tag, entry, event, [version]
local m, err = load(KEYS[1])
if err then return err end
local now = tonumber(ARGV[1])
local kept
if KEYS[7] then
	local v = redis.call('GET', KEYS[7])
	if not v then return CONFLICT end
	if string.sub(v, 2, 7) ~= ARGV[6] then return CONFLICT end
	kept = record(v)
	if not standing(kept, m, KEYS[4], KEYS[6]) then return CONFLICT end
end
-- The position comes first: if the server refuses the rest, nobody else takes that
-- position, and so no cutoff stays behind a birth that is ahead of the feed.
take(m, KEYS[2], ARGV[4])
if kept then
	kept.version, kept.birth = kept.version + 1, m.head
	write(KEYS[7], kept)
end
redis.call('SET', KEYS[4], struct.pack(CUTOFF, m.head, tonumber(ARGV[2])))
redis.call('ZADD', KEYS[5], ARGV[2], ARGV[3])
log(m, KEYS[3], now, ARGV[5])
save(m, now)
return m.head

--== sweep meta feed events clients
-- now, time, '=' and the client's name, or '' for all, entry, a random number, [event]
local m, err = load(KEYS[1])
if err then return err end
local now = tonumber(ARGV[1])
take(m, KEYS[2], ARGV[4])
if ARGV[3] == '' then
	m.all, m.allAt = m.head, tonumber(ARGV[2])
else
	redis.call('HSET', KEYS[4], string.sub(ARGV[3], 2), struct.pack(CUTOFF, m.head, tonumber(ARGV[2])))
	m.clients = tonumber(ARGV[5])
end
if ARGV[6] then log(m, KEYS[3], now, ARGV[6]) end
save(m, now)
return m.head

--== touch meta session subject clients
-- now, time
local m, err = load(KEYS[1])
if err then return err end
local v = redis.call('GET', KEYS[2])
if not v then return 0 end
local r, at = record(v), tonumber(ARGV[2])
if at > r.active and standing(r, m, KEYS[3], KEYS[4]) and not idle(r, tonumber(ARGV[1])) then
	redis.call('SETRANGE', KEYS[2], 13, struct.pack('>I6', at))
end
return 1

--== time meta
return redis.call('TIME') -- of the server where that key lies

--== clients meta clients
local m, err = load(KEYS[1])
if err then return err end
return {m.clients, redis.call('HGETALL', KEYS[2])}

--== feed meta feed
-- after, most
local m, err = load(KEYS[1])
if err then return err end
local after, entries = tonumber(ARGV[1]), {}
if after >= m.tail and after < m.head then
	entries = redis.call('XRANGE', KEYS[2], number(after + 1) .. '-0', '+', 'COUNT', ARGV[2])
end
return {m.head, m.tail, entries}

--== entries meta stream
-- XRANGE or XREVRANGE, from, to, most
local m, err = load(KEYS[1])
if err then return err end
return redis.call(ARGV[1], KEYS[2], ARGV[2], ARGV[3], 'COUNT', ARGV[4])

--== ids meta bucket
-- from, to, most
local m, err = load(KEYS[1])
if err then return err end
return redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])

--== buckets meta buckets
-- the first to look at, most
local m, err = load(KEYS[1])
if err then return err end
local found, from = {}, tonumber(ARGV[1])
for i = 1, tonumber(ARGV[2]) do
	local at = redis.call('BITPOS', KEYS[2], 1, from, -1, 'BIT')
	if at < 0 then break end
	found[i], from = at, at + 1
end
return found

--== configure config documents meta events
-- now, version, next version, epoch or '', what has to be done in every shard, number of documents,
-- their names and values…, events…
local v = redis.call('GET', KEYS[1])
if not v then return redis.error_reply('RESCIND GONE no such store') end
if string.sub(v, 4, 11) ~= ARGV[2] then return {CONFLICT} end
if #v > 27 then return {0, v} end
local m, err = load(KEYS[3])
if err then return err end
local epoch = ARGV[4]
if epoch == '' then epoch = string.sub(v, 12, 27) end
local docs = 7
for i = 1, tonumber(ARGV[6]) do
	if string.sub(ARGV[docs + 1], 1, 1) == '-' then
		redis.call('HDEL', KEYS[2], ARGV[docs])
	else
		redis.call('HSET', KEYS[2], ARGV[docs], string.sub(ARGV[docs + 1], 2))
	end
	docs = docs + 2
end
for i = docs, #ARGV do log(m, KEYS[4], tonumber(ARGV[1]), ARGV[i]) end
save(m, tonumber(ARGV[1]))
v = string.sub(v, 1, 3) .. ARGV[3] .. epoch .. ARGV[5]
redis.call('SET', KEYS[1], v)
return {1, v}

--== spread meta feed clients
-- now, version, a random number, and of each ending: '=' and the client's name, or '', its time, entry
local m, err = load(KEYS[1])
if err then return err end
local version = tonumber(ARGV[2])
if m.config >= version then return m.head end
if m.config ~= version - 1 then return redis.error_reply('RESCIND DAMAGED a shard lacks a version of the configuration') end
for i = 4, #ARGV, 3 do
	take(m, KEYS[2], ARGV[i + 2])
	if ARGV[i] ~= '' then
		redis.call('HSET', KEYS[3], string.sub(ARGV[i], 2), struct.pack(CUTOFF, m.head, tonumber(ARGV[i + 1])))
		m.clients = tonumber(ARGV[3])
	end
end
m.config = version
save(m, tonumber(ARGV[1]))
return m.head

--== settle config
-- version
local v = redis.call('GET', KEYS[1])
if v and string.sub(v, 4, 11) == ARGV[1] and #v > 27 then redis.call('SET', KEYS[1], string.sub(v, 1, 27)) end
return 1

--== config config documents
return {redis.call('GET', KEYS[1]), redis.call('HGETALL', KEYS[2])}

--== forget session bucket buckets
-- the record as it was seen, id, bucket
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
if redis.call('ZCARD', KEYS[2]) == 0 then redis.call('SETBIT', KEYS[3], ARGV[3], 0) end
return 1

--== trim meta feed
-- now, the last count to forget
local m, err = load(KEYS[1])
if err then return err end
local tail = tonumber(ARGV[2])
if tail <= m.tail or tail > m.head then return 0 end
local dropped = tail - m.tail
redis.call('XTRIM', KEYS[2], 'MINID', number(tail + 1) .. '-0')
m.tail = tail
save(m, tonumber(ARGV[1]))
return dropped

--== uncut subject moves
-- the cutoff as it was seen, tag
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return 1

--== unsweep meta clients
-- now, '=' and the client's name, or '' for all, the cutoff as it was seen, a random number
local m, err = load(KEYS[1])
if err then return err end
if ARGV[2] == '' then
	if struct.pack(CUTOFF, m.all, m.allAt) ~= ARGV[3] then return 0 end
	m.all, m.allAt = 0, 0
else
	local name = string.sub(ARGV[2], 2)
	if redis.call('HGET', KEYS[2], name) ~= ARGV[3] then return 0 end
	redis.call('HDEL', KEYS[2], name)
	m.clients = tonumber(ARGV[4])
end
save(m, tonumber(ARGV[1]))
return 1
