package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// A round of forgetting goes through these, and through the shards in each of
// them. A cursor is one of them, a shard, and what was read last there.
const (
	purgeSessions = 's'
	purgeEvents   = 'e'
	purgeEndings  = 'f'
	purgeCutoffs  = 'c'
)

var purgeOrder = [...]byte{purgeSessions, purgeEvents, purgeEndings, purgeCutoffs}

const maxPurge = 10_000 // records and entries read by one step

// Purge implements [rescind.Store]. One step reads at most 10,000 records and
// entries, and ends when half of the time-out is over.
func (s *Store) Purge(ctx context.Context, q rescind.PurgeStep) (sum rescind.Purged, err error) {
	phase, n, after, err := s.parseCursor(q.Cursor)
	if err != nil {
		return sum, err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return sum, err
	}
	defer cancel()
	begun, limit := time.Now(), min(max(q.Limit, 1), maxPurge)
	for ; phase < len(purgeOrder); phase, n = phase+1, 0 {
		for ; n < len(s.shards); n++ {
			if sum.Read >= limit || time.Since(begun) > s.timeout/2 {
				sum.Cursor = cursor(phase, n, after)
				return sum, nil
			}
			last, err := s.purge(ctx, &q, purgeOrder[phase], s.shards[n], after, limit-sum.Read, &sum)
			if err != nil {
				return sum, err
			}
			if after = last; last != "" {
				sum.Cursor = cursor(phase, n, last)
				return sum, nil
			}
		}
	}
	return sum, nil
}

func cursor(phase, shard int, after string) []byte {
	return append([]byte{purgeOrder[phase], byte(shard)}, after...)
}

func (s *Store) parseCursor(c []byte) (phase, shard int, after string, err error) {
	if c == nil {
		return 0, 0, "", nil
	}
	if len(c) >= 2 && int(c[1]) < len(s.shards) {
		for i, kind := range purgeOrder {
			if kind == c[0] {
				return i, int(c[1]), string(c[2:]), nil
			}
		}
	}
	return 0, 0, "", fmt.Errorf("%w: no cursor of a purge", rescind.ErrInvalid)
}

// purge reads on in one shard and drops what is to go. It returns what it has read
// last, or "" at the end.
func (s *Store) purge(ctx context.Context, q *rescind.PurgeStep, phase byte, h *shard, after string, limit int, sum *rescind.Purged) (string, error) {
	switch {
	case phase == purgeSessions && q.Drop != nil && (q.Tag == nil || s.shardOf(q.Tag) == h):
		return s.purgeSessions(ctx, q, h, after, limit, sum)
	case phase == purgeEvents && q.DropEvent != nil:
		return s.purgeEvents(ctx, q, h, after, limit, sum)
	case phase == purgeEndings && !q.FeedBefore.IsZero():
		return s.purgeEndings(ctx, q, h, limit, sum)
	case phase == purgeCutoffs && !q.CutoffsBefore.IsZero():
		return s.purgeCutoffs(ctx, q, h, limit, sum)
	}
	return "", nil
}

func (s *Store) purgeSessions(ctx context.Context, q *rescind.PurgeStep, h *shard, after string, limit int, sum *rescind.Purged) (string, error) {
	var from rescind.SessionID
	if after != "" {
		copy(from[:], after)
	} else { // the last id before the shard's first
		from = idBefore(h.first(len(s.shards)))
	}
	ids, more, err := s.ids(ctx, q.Tag, from, limit)
	if err != nil {
		return "", err
	}
	for i := range ids {
		if t := ids[i].Tag(); s.shardOf(&t) != h {
			ids, more = ids[:i], false // the next shard's
			break
		}
	}
	sum.Read += len(ids)
	found, err := s.records(ctx, ids)
	if err != nil {
		return "", err
	}
	var drop []*seen
	for i := range found {
		f := &found[i]
		id := f.Session.ID
		if f.Found && q.Drop(&f.Snapshot) {
			f.Session.ID = id // Drop may have changed it
			drop = append(drop, f)
		}
	}
	dropped, err := s.count(drop, func(f *seen) (*rueidis.RedisMessage, error) {
		id := f.Session.ID
		tag := id.Tag()
		bucket := bucketOf(&tag)
		m, err := s.run(ctx, steps["forget"], []string{h.session(&id), h.bucket(bucket), h.buckets},
			string(f.record), string(id[:]), strconv.Itoa(int(bucket-h.first(len(s.shards)))))
		return &m, err
	})
	sum.Sessions += dropped
	if err != nil || !more {
		return "", err
	}
	return string(ids[len(ids)-1][:]), nil
}

// idBefore is the greatest id below a bucket.
func idBefore(bucket uint32) (id rescind.SessionID) {
	if bucket == 0 {
		return id
	}
	for i := range id {
		id[i] = 0xff
	}
	binary.BigEndian.PutUint32(id[:], bucket<<(32-bucketBits)-1)
	return id
}

// purgesAtOnce bounds the steps on their way at one time.
const purgesAtOnce = 128

// count runs f for all and adds up what they return.
func (s *Store) count(list []*seen, f func(*seen) (*rueidis.RedisMessage, error)) (sum int, err error) {
	for len(list) > 0 {
		part := list[:min(len(list), purgesAtOnce)]
		list = list[len(part):]
		n := make([]int64, len(part))
		places := make([]int, len(part))
		for i := range places {
			places[i] = i
		}
		err := each(places, func(i int) error {
			m, err := f(part[i])
			if err == nil {
				n[i], err = m.AsInt64()
			}
			return unavailable("purge", err)
		})
		for _, v := range n {
			sum += int(v)
		}
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (s *Store) purgeEvents(ctx context.Context, q *rescind.PurgeStep, h *shard, after string, limit int, sum *rescind.Purged) (string, error) {
	from := "-"
	if after != "" {
		from = "(" + decimal(number(after)) + "-0"
	}
	entries, err := s.entries(ctx, h, h.events, "XRANGE", from, "+", limit)
	if err != nil {
		return "", err
	}
	sum.Read += len(entries)
	var drop []string
	last := ""
	for _, x := range entries {
		n, err := streamNumber(x.ID)
		if err != nil {
			return "", err
		}
		e, err := parseEvent(stamp{at: n, shard: h.number}.String(), x.FieldValues["e"])
		if err != nil {
			return "", err
		}
		if q.DropEvent(&e) {
			drop = append(drop, x.ID)
		}
		last = versionArg(n)
	}
	if len(drop) > 0 {
		m, err := s.write(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Xdel().Key(h.events).Id(drop...).Build() })
		if err != nil {
			return "", err
		}
		n, err := m.AsInt64()
		if err != nil {
			return "", unavailable("purge", err)
		}
		sum.Events += int(n)
	}
	if len(entries) < limit {
		return "", nil
	}
	return last, nil
}

// purgeEndings cuts off only the front of the feed, so that it stays dense.
func (s *Store) purgeEndings(ctx context.Context, q *rescind.PurgeStep, h *shard, limit int, sum *rescind.Purged) (string, error) {
	entries, err := s.entries(ctx, h, h.feed, "XRANGE", "-", "+", limit)
	if err != nil {
		return "", err
	}
	tail, all := uint64(0), true
	for _, x := range entries {
		n, err := streamNumber(x.ID)
		if err != nil {
			return "", err
		}
		e, err := parseEnding(h.position(n), x.FieldValues["e"])
		if err != nil {
			return "", err
		}
		sum.Read++
		if all = e.At.Before(q.FeedBefore); !all {
			break
		}
		tail = n
	}
	if tail > 0 {
		m, err := s.run(ctx, steps["trim"], []string{h.meta, h.feed}, s.stampNow(), decimal(tail))
		if err != nil {
			return "", err
		}
		n, err := m.AsInt64()
		if err != nil {
			return "", unavailable("purge", err)
		}
		sum.Endings += int(n)
	}
	if !all || len(entries) < limit {
		return "", nil
	}
	return "+", nil // what was read is gone: it goes on at the front
}

// purgeCutoffs counts those of clients, and that of all, once: in the first shard.
func (s *Store) purgeCutoffs(ctx context.Context, q *rescind.PurgeStep, h *shard, limit int, sum *rescind.Purged) (string, error) {
	before := milliseconds(q.CutoffsBefore.Add(time.Millisecond - 1)) // what is kept has whole ones
	m, err := s.read(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Zrangebyscore().Key(h.moves).Min("-inf").Max("("+decimal(before)).Limit(0, int64(limit)).Build()
	})
	if err != nil {
		return "", err
	}
	tags, err := m.AsStrSlice()
	if err != nil {
		return "", unavailable("purge", err)
	}
	sum.Read += len(tags)
	for _, t := range tags {
		var tag rescind.Tag
		if copy(tag[:], t) != len(tag) {
			return "", damaged("a tag")
		}
		v, err := s.get(ctx, h.subject(&tag))
		if err != nil {
			return "", err
		}
		if c, ok := parseCutoff(v); !ok || milliseconds(c.at) >= before {
			continue // it has moved since, or another node was faster
		}
		n, err := s.forgetCutoff(ctx, "uncut", []string{h.subject(&tag), h.moves}, v, t)
		if err != nil {
			return "", err
		}
		sum.Cutoffs += n
	}
	if len(tags) == limit {
		return "+", nil
	}
	return "", s.purgeSwept(ctx, h, before, sum)
}

func (s *Store) purgeSwept(ctx context.Context, h *shard, before uint64, sum *rescind.Purged) error {
	list, _, err := s.clientCutoffs(ctx, h)
	if err != nil {
		return err
	}
	v, err := s.get(ctx, h.meta)
	if err != nil {
		return err
	}
	m, ok := parseMeta(v)
	if !ok {
		return damaged("the record of a shard")
	}
	old := map[string]string{} // by argument, as it is kept
	if m.all > 0 && m.allAt < before {
		old[""] = string(appendNumber(appendNumber(nil, m.all), m.allAt))
	}
	for name, raw := range list {
		c, ok := parseCutoff(raw)
		if !ok {
			return damaged("a cutoff")
		}
		if milliseconds(c.at) < before {
			old["="+name] = raw
		}
	}
	for name, raw := range old {
		n, err := s.forgetCutoff(ctx, "unsweep", []string{h.meta, h.clients}, s.stampNow(), name, raw, randomNumber())
		if err != nil {
			return err
		}
		if h == s.shards[0] {
			sum.Cutoffs += n
		}
	}
	return nil
}

func (s *Store) forgetCutoff(ctx context.Context, step string, keys []string, args ...string) (int, error) {
	m, err := s.run(ctx, steps[step], keys, args...)
	if err != nil {
		return 0, err
	}
	n, err := m.AsInt64()
	return int(n), unavailable("purge", err)
}
