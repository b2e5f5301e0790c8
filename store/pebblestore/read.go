package pebblestore

import (
	"bytes"
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
)

// Lookup implements [rescind.Store].
func (s *Store) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	if err := s.enter(ctx); err != nil {
		return rescind.Snapshot{}, err
	}
	defer s.leave()
	return s.lookup(ctx, &id)
}

func (s *Store) lookup(ctx context.Context, id *rescind.SessionID) (rescind.Snapshot, error) {
	var patience time.Time // writes that keep coming must not keep a reader for ever
	for {
		snap, wait, err := s.read(id)
		if err != nil {
			return rescind.Snapshot{}, unavailable("look-up", err)
		}
		if wait == 0 {
			return snap, nil
		}
		switch now := time.Now(); {
		case patience.IsZero():
			patience = now.Add(s.timeout)
		case now.After(patience):
			return rescind.Snapshot{}, unavailable("look-up", errUnsettled)
		}
		if err := s.await(ctx, wait); err != nil {
			return rescind.Snapshot{}, err
		}
	}
}

// maxList bounds a page of sessions.
const maxList = 1000

// List implements [rescind.Store]. A page has at most 1000 records.
func (s *Store) List(ctx context.Context, q rescind.ListQuery) (page rescind.ListPage, err error) {
	if err := s.enter(ctx); err != nil {
		return page, err
	}
	defer s.leave()
	if q.Tag != nil {
		if page.Count, err = s.count(*q.Tag); err != nil {
			return page, unavailable("list", err)
		}
	}
	part, err := s.scan(ctx, q.Tag, q.After, min(max(q.Limit, 1), maxList), nil)
	if err != nil {
		return rescind.ListPage{}, unavailable("list", err)
	}
	for i := range part.sessions {
		if snap := &part.sessions[i]; snap.Found {
			page.Sessions = append(page.Sessions, *snap)
		}
	}
	page.More = part.more
	return page, nil
}

// part is a piece of the ledger. A session that was forgotten meanwhile is not
// Found. last is the id of the last record that was met.
type part struct {
	sessions []rescind.Snapshot
	last     rescind.SessionID
	more     bool
}

// scan reads records in the order of their ids. raw, if given, is told the stored
// bytes of each, which it may not keep.
func (s *Store) scan(ctx context.Context, tag *rescind.Tag, after rescind.SessionID, limit int, raw func([]byte)) (p part, err error) {
	lower, upper := []byte{keySession}, []byte{keySession + 1}
	if tag != nil {
		lower = tagKey(keySession, *tag)
		upper = successor(lower)
	}
	if !after.IsZero() {
		if next := append(sessionKey(after), 0); bytes.Compare(next, lower) > 0 {
			lower = next
		}
	}
	if bytes.Compare(lower, upper) >= 0 {
		return p, nil
	}
	if err := s.scanRecords(&p, lower, upper, limit, raw); err != nil {
		return p, err
	}
	// All that the scan has seen must be on disk before it is told.
	if err := s.settleAll(ctx); err != nil {
		return p, err
	}
	// The cutoffs are read after the records. One that has not passed the birth
	// cannot have moved in between, since it would have moved past it; where one
	// has passed, the record may have been given a new birth in that same step.
	v := s.view.Load()
	for i := range p.sessions {
		snap := &p.sessions[i]
		tag := snap.Session.ID.Tag()
		snap.Config = v.config
		snap.Cutoffs = rescind.Cutoffs{All: v.all.to, Client: v.clients[snap.Session.Client].to}
		if snap.Cutoffs.Passed(snap.Session.Birth) || s.moved[s.slotOfTag(&tag)].Load() {
			if *snap, err = s.lookup(ctx, &snap.Session.ID); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func (s *Store) scanRecords(p *part, lower, upper []byte, limit int, raw func([]byte)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if len(p.sessions) == limit {
			p.more = true
			return nil
		}
		if len(it.Key()) != 1+len(p.last) {
			return damaged("the key of a record")
		}
		copy(p.last[:], it.Key()[1:])
		r, err := rescind.ParseRecord(p.last, it.Value())
		if err != nil {
			return err
		}
		p.sessions = append(p.sessions, rescind.Snapshot{Found: true, Session: r})
		if raw != nil {
			raw(it.Value())
		}
	}
	return it.Error()
}

// successor returns the first key behind all that begin with prefix.
func successor(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil // not reached: the first byte is a letter
}

const maxFeed = 10_000 // entries on a page

// Feed implements [rescind.Store]. A page has at most 10,000 endings. Positions
// are dense, so a first entry that is not the next one says that some are gone.
func (s *Store) Feed(ctx context.Context, after rescind.Position, limit int) (page rescind.FeedPage, err error) {
	if err := s.enter(ctx); err != nil {
		return page, err
	}
	defer s.leave()
	page.Head = rescind.Position(s.head.Load()) // only what is durable is read
	if after >= page.Head {
		return page, nil
	}
	limit = min(max(limit, 0), maxFeed)
	next, full := after+1, false
	err = s.ascend(keyEnding, uint64(next), uint64(page.Head)+1, func(at uint64, entry []byte) (bool, error) {
		switch {
		case rescind.Position(at) != next:
			return false, nil
		case len(page.Endings) == limit:
			full = true
			return false, nil
		}
		e, err := rescind.ParseEnding(next, entry)
		page.Endings = append(page.Endings, e)
		next++
		return true, err
	})
	if err != nil {
		return rescind.FeedPage{}, unavailable("feed", err)
	}
	if !full && next <= page.Head {
		page.Gone, page.Endings = true, nil
	}
	return page, nil
}
