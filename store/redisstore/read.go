package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// Lookup implements [rescind.Store]. It is one MGET of one slot, which a server
// executes at one moment.
func (s *Store) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return rescind.Snapshot{}, err
	}
	defer cancel()
	found, err := s.snapshots(ctx, []rescind.SessionID{id})
	if err != nil {
		return rescind.Snapshot{}, err
	}
	return found[0].Snapshot, nil
}

// seen is a snapshot and the record that it was read from.
type seen struct {
	rescind.Snapshot
	record []byte
}

// snapshots reads sessions of one shard, and what concerns them, at one moment.
func (s *Store) snapshots(ctx context.Context, ids []rescind.SessionID) ([]seen, error) {
	tag := ids[0].Tag()
	h := s.shardOf(&tag)
	// Ids are in order, so those of one subject lie side by side and share a key.
	keys := make([]string, 1, 1+2*len(ids))
	keys[0] = h.meta
	places := make([]int, len(ids)) // of each id's record; its subject's cutoff is at cuts
	cuts := make([]int, len(ids))
	for i := range ids {
		if t := ids[i].Tag(); i == 0 || t != tag {
			tag = t
			keys = append(keys, h.subject(&tag))
			cuts[i] = len(keys) - 1
		} else {
			cuts[i] = cuts[i-1]
		}
		keys = append(keys, h.session(&ids[i]))
		places[i] = len(keys) - 1
	}
	for {
		msg, err := s.read(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Mget().Key(keys...).Build() })
		if err != nil {
			return nil, err
		}
		values, err := msg.ToArray()
		if err != nil || len(values) != len(keys) {
			return nil, unavailable("lookup", err)
		}
		m, err := s.metaOf(&values[0])
		if err != nil {
			return nil, err
		}
		view, same, err := s.view(ctx, h, &m)
		if err != nil {
			return nil, err
		}
		if !same {
			continue // a client's cutoff has moved meanwhile: all of it must be of one moment
		}
		if m.config > s.settled.Load() {
			if _, err := s.version(ctx); err != nil {
				return nil, err
			}
		}
		found := make([]seen, len(ids))
		for i, id := range ids {
			f := &found[i]
			f.Config = m.config
			if values[places[i]].IsNil() {
				continue
			}
			if f.record, err = values[places[i]].AsBytes(); err != nil {
				return nil, unavailable("lookup", err)
			}
			if f.Session, err = h.parseRecord(id, f.record); err != nil {
				return nil, err
			}
			f.Found = true
			f.Cutoffs = rescind.Cutoffs{Client: h.cutoff(view[f.Session.Client]), All: h.cutoff(m.all)}
			if v := values[cuts[i]]; !v.IsNil() {
				text, err := v.ToString()
				c, ok := parseCutoff(text)
				if err != nil || !ok {
					return nil, damaged("a cutoff")
				}
				f.Cutoffs.Subject = h.cutoff(c.to)
			}
		}
		return found, nil
	}
}

// metaOf reads a shard's own record. A shard that has none has lost everything.
func (s *Store) metaOf(v *rueidis.RedisMessage) (meta, error) {
	if v.IsNil() {
		return meta{}, s.fail(errGone)
	}
	text, err := v.ToString()
	if err != nil {
		return meta{}, unavailable("redis", err)
	}
	m, ok := parseMeta(text)
	if !ok {
		return meta{}, damaged("the record of a shard")
	}
	return m, nil
}

// view returns the cutoffs of clients of the moment of m, or reads them, if they
// are not known, and says that m is not of the same moment.
func (s *Store) view(ctx context.Context, h *shard, m *meta) (cutoffs map[string]uint64, same bool, err error) {
	if m.clients == 0 {
		return nil, true, nil
	}
	if v := s.clients[h.number].Load(); v != nil && v.number == m.clients {
		return v.cutoffs, true, nil
	}
	v, err := s.readClients(ctx, h)
	if err != nil {
		return nil, false, err
	}
	s.clients[h.number].Store(v)
	return v.cutoffs, v.number == m.clients, nil
}

func (s *Store) readClients(ctx context.Context, h *shard) (*clientView, error) {
	list, number, err := s.clientCutoffs(ctx, h)
	if err != nil {
		return nil, err
	}
	v := &clientView{number: number, cutoffs: make(map[string]uint64, len(list))}
	for name, raw := range list {
		c, ok := parseCutoff(raw)
		if !ok {
			return nil, damaged("a cutoff")
		}
		v.cutoffs[name] = c.to
	}
	return v, nil
}

// clientCutoffs reads the cutoffs of clients as they are kept, with their number.
func (s *Store) clientCutoffs(ctx context.Context, h *shard) (map[string]string, uint64, error) {
	m, err := s.run(ctx, steps["clients"], []string{h.meta, h.clients})
	if err != nil {
		return nil, 0, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) != 2 {
		return nil, 0, unavailable("lookup", err)
	}
	n, err := parts[0].AsInt64()
	if err != nil {
		return nil, 0, unavailable("lookup", err)
	}
	list, err := parts[1].AsStrMap()
	return list, uint64(n), unavailable("lookup", err)
}

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

// records reads sessions of any shards, those of one shard at one moment.
func (s *Store) records(ctx context.Context, ids []rescind.SessionID) ([]seen, error) {
	var all []seen
	for len(ids) > 0 {
		tag := ids[0].Tag()
		h := s.shardOf(&tag)
		n := slices.IndexFunc(ids, func(id rescind.SessionID) bool { t := id.Tag(); return s.shardOf(&t) != h })
		if n < 0 {
			n = len(ids)
		}
		found, err := s.snapshots(ctx, ids[:n])
		if err != nil {
			return nil, err
		}
		all, ids = append(all, found...), ids[n:]
	}
	return all, nil
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
	m, err := s.run(ctx, steps["buckets"], []string{h.buckets}, strconv.Itoa(int(from-first)), strconv.Itoa(most))
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
	m, err := s.read(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Zrangebylex().Key(h.bucket(bucket)).Min(from).Max(to).Limit(0, int64(limit)).Build()
	})
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
