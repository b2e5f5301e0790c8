package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

const maxPage = 1000 // records on a page

// List implements [rescind.Store]. A page has at most 1000 records.
func (s *Store) List(ctx context.Context, q rescind.ListQuery) (page rescind.ListPage, err error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return page, err
	}
	defer cancel()
	if q.Tag != nil {
		v, err := s.get(ctx, s.shardOf(q.Tag).counter(q.Tag))
		if err == nil && v != "" {
			page.Count, err = strconv.ParseUint(v, 10, 64)
		}
		if err != nil {
			return page, unavailable("list", err)
		}
	}
	limit := min(max(q.Limit, 1), maxPage)
	after := q.After
	for {
		ids, more, err := s.ids(ctx, q.Tag, after, limit-len(page.Sessions))
		if err != nil {
			return page, err
		}
		found, err := s.records(ctx, ids)
		if err != nil {
			return page, err
		}
		for i := range found {
			if found[i].Found { // else it has gone since
				page.Sessions = append(page.Sessions, found[i].Snapshot)
			}
		}
		if page.More = more; !more || len(page.Sessions) == limit {
			return page, nil
		}
		after = ids[len(ids)-1]
	}
}

// seen is a snapshot and the record that it was read from.
type seen struct {
	rescind.Snapshot
	record []byte
}

// records reads sessions, each as Lookup does.
func (s *Store) records(ctx context.Context, ids []rescind.SessionID) ([]seen, error) {
	found := make([]seen, len(ids))
	var parts [][2]int // of one shard each
	for i := range ids {
		tag := ids[i].Tag()
		if n := len(parts); n > 0 && parts[n-1][1]-parts[n-1][0] < batchSize {
			first := ids[parts[n-1][0]].Tag()
			if s.shardOf(&first) == s.shardOf(&tag) {
				parts[n-1][1]++
				continue
			}
		}
		parts = append(parts, [2]int{i, i + 1})
	}
	return found, each(parts, func(p [2]int) error { return s.part(ctx, ids[p[0]:p[1]], found[p[0]:p[1]]) })
}

// part reads sessions of one shard by one MGET.
func (s *Store) part(ctx context.Context, ids []rescind.SessionID, found []seen) error {
	tag := ids[0].Tag()
	batch := make([]*lookup, len(ids))
	for i := range ids {
		batch[i] = &lookup{id: ids[i], shard: s.shardOf(&tag)}
	}
	for {
		if err := s.answer(ctx, batch); err != nil {
			return err
		}
		again := false
		for i, l := range batch {
			if l.err != nil {
				return l.err
			}
			snap, same, err := s.snapshot(ctx, l)
			if err != nil {
				return err
			}
			found[i] = seen{Snapshot: snap, record: l.record}
			again = again || !same
		}
		if !again {
			return nil
		}
	}
}

// ids reads up to limit ids behind one, in their order, and whether there are more.
func (s *Store) ids(ctx context.Context, tag *rescind.Tag, after rescind.SessionID, limit int) (ids []rescind.SessionID, more bool, err error) {
	if tag != nil {
		h := s.shardOf(tag)
		top := append(bytes.Repeat([]byte{0xff}, 0), tag[:]...)
		top = append(top, bytes.Repeat([]byte{0xff}, len(after)-len(tag))...)
		var low rescind.SessionID
		copy(low[:], tag[:])
		from := "[" + string(low[:])
		if bytes.Compare(after[:], low[:]) >= 0 {
			from = "(" + string(after[:])
		}
		ids, err = s.bucketIDs(ctx, h, bucketOf(tag), from, "["+string(top), limit+1)
		if len(ids) > limit {
			return ids[:limit], true, err
		}
		return ids, false, err
	}
	start := after.Tag()
	bucket, from := bucketOf(&start), "("+string(after[:])
	if after.IsZero() {
		from = "-"
	}
	for n := shardOfTag(&start, len(s.shards)); n < len(s.shards); n++ {
		h := s.shards[n]
		bucket = max(bucket, h.first(len(s.shards)))
		for {
			// One more than asked for, because one bucket may hold nothing behind after.
			numbers, err := s.filled(ctx, h, bucket, min(limit+1-len(ids), bucketsAtOnce)+1)
			if err != nil {
				return nil, false, err
			}
			if len(numbers) == 0 {
				break
			}
			lists := make([][]rescind.SessionID, len(numbers))
			places := make([]int, len(numbers))
			for i := range places {
				places[i] = i
			}
			if err := each(places, func(i int) (err error) {
				low := "-"
				if numbers[i] == bucketOf(&start) {
					low = from
				}
				lists[i], err = s.bucketIDs(ctx, h, numbers[i], low, "+", limit+1-len(ids))
				return err
			}); err != nil {
				return nil, false, err
			}
			for _, list := range lists {
				ids = append(ids, list...)
			}
			if len(ids) > limit {
				return ids[:limit], true, nil
			}
			bucket = numbers[len(numbers)-1] + 1
		}
	}
	return ids, false, nil
}

const bucketsAtOnce = 64

// filled returns the numbers of buckets with ids in them, from one on.
func (s *Store) filled(ctx context.Context, h *shard, from uint32, most int) ([]uint32, error) {
	first := h.first(len(s.shards))
	m, err := s.run(ctx, steps["buckets"], []string{h.meta, h.buckets}, strconv.Itoa(int(from-first)), strconv.Itoa(most))
	if err != nil {
		return nil, err
	}
	bits, err := m.AsIntSlice()
	if err != nil {
		return nil, unavailable("list", err)
	}
	numbers := make([]uint32, len(bits))
	for i, b := range bits {
		numbers[i] = first + uint32(b)
	}
	return numbers, nil
}

func (s *Store) bucketIDs(ctx context.Context, h *shard, bucket uint32, from, to string, limit int) ([]rescind.SessionID, error) {
	m, err := s.run(ctx, steps["ids"], []string{h.meta, h.bucket(bucket)}, from, to, strconv.Itoa(limit))
	if err != nil {
		return nil, err
	}
	list, err := m.AsStrSlice()
	if err != nil {
		return nil, unavailable("list", err)
	}
	ids := make([]rescind.SessionID, len(list))
	for i, v := range list {
		if copy(ids[i][:], v) != len(ids[i]) {
			return nil, damaged("an id in a list")
		}
	}
	return ids, nil
}

// Feed implements [rescind.Store]. Max is at most 10,000.
func (s *Store) Feed(ctx context.Context, after rescind.Position, most int) (page rescind.FeedPage, err error) {
	if after.Shard() >= len(s.shards) {
		return page, fmt.Errorf("%w: the feed has no shard %d", rescind.ErrInvalid, after.Shard())
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return page, err
	}
	defer cancel()
	h := s.shards[after.Shard()]
	head, tail, entries, err := s.endings(ctx, h, count(after), min(max(most, 0), maxFeed))
	if err != nil {
		return page, err
	}
	page = rescind.FeedPage{Head: h.position(head), Gone: count(after) < tail}
	for i, x := range entries {
		at := h.position(count(after) + uint64(i) + 1)
		if n, err := streamNumber(x.ID); err != nil || n != count(at) {
			return rescind.FeedPage{}, damaged("the feed has a gap")
		}
		e, err := parseEnding(at, x.FieldValues["e"])
		if err != nil {
			return rescind.FeedPage{}, err
		}
		page.Endings = append(page.Endings, e)
	}
	return page, nil
}

const maxFeed = 10_000

// endings reads a part of a shard's feed as it is kept, with its head and its tail.
func (s *Store) endings(ctx context.Context, h *shard, after uint64, most int) (head, tail uint64, entries []rueidis.XRangeEntry, err error) {
	m, err := s.run(ctx, steps["feed"], []string{h.meta, h.feed}, decimal(after), strconv.Itoa(most))
	if err != nil {
		return 0, 0, nil, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) != 3 {
		return 0, 0, nil, unavailable("feed", err)
	}
	a, err := parts[0].AsInt64()
	if err != nil {
		return 0, 0, nil, unavailable("feed", err)
	}
	b, err := parts[1].AsInt64()
	if err != nil {
		return 0, 0, nil, unavailable("feed", err)
	}
	entries, err = parts[2].AsXRange()
	return uint64(a), uint64(b), entries, unavailable("feed", err)
}
