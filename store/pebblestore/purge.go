package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
)

// A round of forgetting goes through the kinds of keys in this order. A cursor is
// the kind and the key that was read last, or only the kind.
var purgeOrder = [...]byte{keySession, keyEvent, keyEnding, keySubject, keyClient, keyAll}

const maxPurge = 10_000 // records and entries read by one step

// purgeStep deletes what Purge has found. Records are deleted only as they were
// seen; everything else never changes, or is compared again.
type purgeStep struct {
	outcome
	sessions []victim
	events   []uint64 // numbers, in order
	endings  []uint64
	cutoffs  []stale
	purged   rescind.Purged
}

type victim struct {
	seen
	raw []byte
}

type stale struct {
	key []byte
	cut cutoff
}

// Purge implements [rescind.Store]. One step reads at most 10,000 records and
// entries. A kind that nothing is to be dropped from is not read.
func (s *Store) Purge(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
	if err := s.enter(ctx); err != nil {
		return rescind.Purged{}, err
	}
	st := &purgeStep{}
	sum, err := s.collect(ctx, &q, st)
	s.leave()
	if err != nil {
		return rescind.Purged{}, unavailable("purge", err)
	}
	if len(st.sessions)+len(st.events)+len(st.endings)+len(st.cutoffs) > 0 {
		if err := s.do(ctx, st); err != nil {
			return rescind.Purged{}, err
		}
		sum.Sessions, sum.Events, sum.Endings, sum.Cutoffs = st.purged.Sessions, st.purged.Events, st.purged.Endings, st.purged.Cutoffs
	}
	return sum, nil
}

// collect reads on from the cursor and notes what is to go.
func (s *Store) collect(ctx context.Context, q *rescind.PurgeStep, st *purgeStep) (sum rescind.Purged, err error) {
	start, after := 0, []byte(nil)
	if q.Cursor != nil {
		start = -1
		if len(q.Cursor) > 0 {
			start = bytes.IndexByte(purgeOrder[:], q.Cursor[0])
		}
		if start < 0 {
			return sum, fmt.Errorf("%w: no cursor of a purge", rescind.ErrInvalid)
		}
		if len(q.Cursor) > 1 { // the kind alone is its beginning
			after = q.Cursor
		}
	}
	limit := min(max(q.Limit, 1), maxPurge)
	for _, kind := range purgeOrder[start:] {
		if sum.Read == limit {
			sum.Cursor = []byte{kind}
			return sum, nil
		}
		var read int
		var last []byte // nil at the end of the kind
		switch kind {
		case keySession:
			read, last, err = s.collectSessions(ctx, q, after, limit-sum.Read, st)
		case keyEvent, keyEnding:
			read, last, err = s.collectEntries(q, kind, after, limit-sum.Read, st)
		default:
			read, last, err = s.collectCutoffs(q, kind, after, limit-sum.Read, st)
		}
		sum.Read += read
		after = nil
		if err != nil {
			return sum, err
		}
		if last != nil {
			sum.Cursor = last
			return sum, nil
		}
	}
	return sum, nil
}

func (s *Store) collectSessions(ctx context.Context, q *rescind.PurgeStep, after []byte, limit int, st *purgeStep) (int, []byte, error) {
	if q.Drop == nil {
		return 0, nil, nil
	}
	var from rescind.SessionID
	if len(after) > 1 {
		copy(from[:], after[1:])
	}
	applied := s.applied.Load()
	var raws [][]byte
	p, err := s.scan(ctx, q.Tag, from, limit, func(raw []byte) { raws = append(raws, bytes.Clone(raw)) })
	if err != nil {
		return 0, nil, err
	}
	for i := range p.sessions {
		snap := &p.sessions[i]
		// Only what was read as raw is deleted; a later version that a second
		// look has found is for the next round.
		if id := snap.Session.ID; snap.Found && q.Drop(snap) {
			st.sessions = append(st.sessions, victim{seen{id: id, slot: s.slotOf(&id), applied: applied}, raws[i]})
		}
	}
	if !p.more {
		return len(p.sessions), nil, nil
	}
	return len(p.sessions), sessionKey(p.last), nil
}

// each calls use for every key of a kind behind a cursor until use says to stop,
// or limit is reached; then it returns the last key that was read.
func (s *Store) each(kind byte, after []byte, limit int, use func(key, value []byte) (bool, error)) (read int, last []byte, err error) {
	lower := []byte{kind}
	if after != nil {
		lower = append(bytes.Clone(after), 0)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{kind + 1}})
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = firstOf(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if read == limit {
			return read, last, nil
		}
		read++
		last = append(last[:0], it.Key()...)
		if more, err := use(it.Key(), it.Value()); err != nil || !more {
			return read, nil, err
		}
	}
	return read, nil, it.Error()
}

func (s *Store) collectEntries(q *rescind.PurgeStep, kind byte, after []byte, limit int, st *purgeStep) (read int, last []byte, err error) {
	var from, to uint64
	use := func(n uint64, entry []byte) (bool, error) {
		e, err := rescind.ParseEvent(eventID(n), entry)
		if err == nil && q.DropEvent(&e) {
			st.events = append(st.events, n)
		}
		return true, err
	}
	switch {
	case kind == keyEvent && q.DropEvent != nil:
		to = s.durableEvents.Load() + 1
	case kind == keyEnding && !q.FeedBefore.IsZero():
		// Only the front of the feed is cut off, so that it stays dense.
		to = s.head.Load() + 1
		use = func(n uint64, entry []byte) (bool, error) {
			e, err := rescind.ParseEnding(rescind.Position(n), entry)
			if err != nil || !e.At.Before(q.FeedBefore) {
				return false, err
			}
			st.endings = append(st.endings, n)
			return true, nil
		}
	default:
		return 0, nil, nil
	}
	if after != nil {
		if from, err = keyNumber(after); err != nil {
			return 0, nil, err
		}
		from++
	}
	err = s.ascend(kind, from, to, func(n uint64, entry []byte) (bool, error) {
		if read == limit {
			last = numberKey(kind, n-1)
			return false, nil
		}
		read++
		return use(n, entry)
	})
	return read, last, err
}

func (s *Store) collectCutoffs(q *rescind.PurgeStep, kind byte, after []byte, limit int, st *purgeStep) (int, []byte, error) {
	if q.CutoffsBefore.IsZero() {
		return 0, nil, nil
	}
	return s.each(kind, after, limit, func(key, value []byte) (bool, error) {
		c, err := parseCutoff(value)
		if err == nil && c.at.Before(q.CutoffsBefore) {
			st.cutoffs = append(st.cutoffs, stale{bytes.Clone(key), c})
		}
		return true, err
	})
}

var errChanged = errors.New("changed")

func (st *purgeStep) apply(c *committer) error {
	// Reading may send the flight off, so all of it comes first.
	if c.purged {
		if c.seal(nil); c.err != nil {
			return c.err
		}
	}
	events, dropped, err := c.s.without(keyEvent, st.events)
	if err != nil {
		return err
	}
	endings, cut, err := c.s.without(keyEnding, st.endings)
	if err != nil {
		return err
	}
	sessions := st.sessions[:0]
	for _, v := range st.sessions {
		same, err := c.unchanged(&v)
		if err != nil {
			return err
		}
		if same {
			sessions = append(sessions, v)
		}
	}
	cutoffs := st.cutoffs[:0]
	for _, old := range st.cutoffs {
		same, err := c.unmoved(&old)
		if err != nil {
			return err
		}
		if same {
			cutoffs = append(cutoffs, old)
		}
	}

	c.wrote = true // the time at least, once a minute where somebody purges
	for i := range sessions {
		c.enter(sessions[i].slot)
		c.delete(sessionKey(sessions[i].id))
	}
	for _, b := range append(events, endings...) {
		c.purged = true
		if b.value == nil {
			c.delete(b.key)
		} else {
			c.set(b.key, b.value)
		}
	}
	for _, old := range cutoffs {
		c.forgetCutoff(old.key)
	}
	st.purged.Sessions, st.purged.Events, st.purged.Endings, st.purged.Cutoffs = len(sessions), dropped, cut, len(cutoffs)
	return nil
}

// unchanged reports whether a record is still what the caller saw.
func (c *committer) unchanged(v *victim) (bool, error) {
	if c.s.touched[v.slot].Load() <= v.applied {
		return true, nil
	}
	if c.ready(v.slot); c.err != nil {
		return false, c.err
	}
	found, err := c.s.get(sessionKey(v.id), func(value []byte) error {
		if !bytes.Equal(value, v.raw) {
			return errChanged
		}
		return nil
	})
	if errors.Is(err, errChanged) {
		return false, nil
	}
	return found, err
}

// unmoved reports whether a cutoff is still where the caller saw it.
func (c *committer) unmoved(old *stale) (bool, error) {
	switch old.key[0] {
	case keyAll:
		return c.view.all.to == old.cut.to, nil
	case keyClient:
		return c.view.clients[string(old.key[1:])].to == old.cut.to, nil
	}
	var tag rescind.Tag
	copy(tag[:], old.key[1:])
	if c.ready(c.s.slotOfTag(&tag)); c.err != nil {
		return false, c.err
	}
	now, err := c.s.subjectCutoff(tag)
	return now.to == old.cut.to, err
}

func (c *committer) forgetCutoff(key []byte) {
	c.delete(key)
	switch key[0] {
	case keyAll:
		c.change().all = cutoff{}
	case keyClient:
		v := c.change()
		v.clients = cloneWithout(v.clients, string(key[1:]))
	default:
		var tag rescind.Tag
		copy(tag[:], key[1:])
		c.enter(c.s.slotOfTag(&tag))
	}
}

func cloneWithout(m map[string]cutoff, name string) map[string]cutoff {
	rest := make(map[string]cutoff, len(m))
	for k, v := range m {
		if k != name {
			rest[k] = v
		}
	}
	return rest
}
