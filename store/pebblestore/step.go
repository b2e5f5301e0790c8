package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// seen is a record as a caller has read it, before its step came to the
// committer. It may be of a batch that is not on disk yet: the step's answer
// waits for that batch too.
type seen struct {
	id      rescind.SessionID
	slot    uint64
	applied uint64 // the last flight that the reading was sure to see
	found   bool
	session rescind.Session
}

// see reads a record in the caller's goroutine.
func (s *Store) see(id rescind.SessionID) (seen, error) {
	r := seen{id: id, slot: s.slotOf(&id), applied: s.applied.Load()}
	return r, s.fill(&r)
}

func (s *Store) fill(r *seen) error {
	var key [1 + len(r.id)]byte
	key[0] = keySession
	copy(key[1:], r.id[:])
	found, err := s.get(key[:], func(value []byte) (err error) {
		r.session, err = rescind.ParseRecord(r.id, value)
		return err
	})
	r.found = found
	return err
}

// write runs prepare, which may read the database, and then gives its step to the
// committer.
func (s *Store) write(ctx context.Context, st step, prepare func() error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	err := prepare()
	s.leave()
	if err != nil {
		return unavailable("write", err)
	}
	return s.do(ctx, st)
}

func encodeEvents(events []rescind.Event) [][]byte {
	values := make([][]byte, len(events))
	for i := range events {
		values[i] = rescind.AppendEvent(nil, &events[i])
	}
	return values
}

// endPlan is one session that is to end.
type endPlan struct {
	seen
	mark   []byte
	ending []byte
	event  []byte
}

func (s *Store) planEnd(p *endPlan, e *rescind.End) (err error) {
	at := e.At
	if at.UnixMilli() <= 0 {
		at = s.Now() // a record without a time would be an active one
	}
	if p.seen, err = s.see(e.Session); err != nil {
		return err
	}
	b := make([]byte, 0, 256) // for all three
	b = appendMark(b, at, e.Reason)
	p.mark = b[:len(b):len(b)]
	b = rescind.AppendEnding(b[len(b):], &rescind.Ending{Kind: rescind.EndSession, Session: e.Session, At: at})
	p.ending = b[:len(b):len(b)]
	p.event = rescind.AppendEvent(b[len(b):], &e.Event)
	return nil
}

func (p *endPlan) applies() bool { return p.found && !p.session.Ended() }

func (p *endPlan) write(c *committer) {
	c.markEnded(&p.seen, p.mark)
	c.ending(p.ending)
	c.event(p.event)
}

type endStep struct {
	outcome
	plan endPlan
	out  rescind.Ended
}

// End implements [rescind.Store].
func (s *Store) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	st := &endStep{}
	if err := s.write(ctx, st, func() error { return s.planEnd(&st.plan, &e) }); err != nil {
		return rescind.Ended{}, err
	}
	return st.out, nil
}

func (st *endStep) apply(c *committer) error {
	if _, err := c.refresh(&st.plan.seen); err != nil {
		return err
	}
	if st.out.Changed = st.plan.applies(); st.out.Changed {
		st.plan.write(c)
	}
	st.out.Position = c.head
	return nil
}

type createStep struct {
	outcome
	seen    seen
	session rescind.Session
	count   *uint64
	ends    []endPlan
	events  [][]byte
	birth   rescind.Position
}

// Create implements [rescind.Store].
func (s *Store) Create(ctx context.Context, n rescind.Creation) (rescind.Position, error) {
	st := &createStep{}
	err := s.write(ctx, st, func() (err error) {
		st.session = clone(n.Session)
		if n.Count != nil {
			count := *n.Count
			st.count = &count
		}
		if st.seen, err = s.see(n.Session.ID); err != nil {
			return err
		}
		st.ends = make([]endPlan, 0, len(n.End))
		named := make(map[rescind.SessionID]bool, len(n.End))
		for i := range n.End {
			if named[n.End[i].Session] {
				continue // named twice, ended once
			}
			named[n.End[i].Session] = true
			st.ends = append(st.ends, endPlan{})
			if err := s.planEnd(&st.ends[len(st.ends)-1], &n.End[i]); err != nil {
				return err
			}
		}
		st.events = encodeEvents(n.Events)
		return nil
	})
	if err != nil {
		return 0, err // st is still the committer's, perhaps
	}
	return st.birth, nil
}

func (st *createStep) apply(c *committer) error {
	if _, err := c.refresh(&st.seen); err != nil {
		return err
	}
	if st.seen.found {
		return rescind.ErrConflict
	}
	tag := st.session.ID.Tag()
	if st.count != nil {
		n, err := c.count(tag)
		if err != nil {
			return err
		}
		if n != *st.count {
			return rescind.ErrConflict
		}
	}
	for i := range st.ends {
		if _, err := c.refresh(&st.ends[i].seen); err != nil {
			return err
		}
	}

	for i := range st.ends {
		if st.ends[i].applies() {
			st.ends[i].write(c)
		}
	}
	st.birth = c.head
	st.session.Version, st.session.Birth = 1, c.head
	c.buf = rescind.AppendRecord(c.buf[:0], &st.session)
	c.record(&st.seen, c.buf)
	if st.count != nil {
		c.enter(c.s.slotOfTag(&tag))
		c.set(tagKey(keyCount, tag), binary.AppendUvarint(nil, *st.count+1))
	}
	for _, e := range st.events {
		c.event(e)
	}
	return nil
}

type replaceStep struct {
	outcome
	seen    seen
	session rescind.Session
	value   []byte // of what was seen
	dropped [][]byte
	events  [][]byte
}

// Replace implements [rescind.Store].
func (s *Store) Replace(ctx context.Context, r rescind.Replacement) error {
	st := &replaceStep{}
	return s.write(ctx, st, func() (err error) {
		st.session = clone(r.Session)
		if st.seen, err = s.see(r.Session.ID); err != nil {
			return err
		}
		st.prepare()
		now := s.Now()
		st.dropped = make([][]byte, len(r.Dropped))
		for i, id := range r.Dropped {
			st.dropped[i] = rescind.AppendEnding(nil, &rescind.Ending{Kind: rescind.EndToken, Session: r.Session.ID, Token: id, At: now})
		}
		st.events = encodeEvents(r.Events)
		return nil
	})
}

func (st *replaceStep) prepare() {
	old, r := &st.seen.session, st.session
	r.Version, r.Birth = old.Version+1, old.Birth
	r.LastActive = later(r.LastActive, old.LastActive)
	st.value = rescind.AppendRecord(make([]byte, 0, 512), &r)
}

func (st *replaceStep) apply(c *committer) error {
	stale, err := c.refresh(&st.seen)
	if err != nil {
		return err
	}
	if err := c.compare(&st.seen, st.session.Version); err != nil {
		return err
	}
	if c.idle(&st.seen.session) {
		return rescind.ErrConflict
	}
	if stale {
		st.prepare()
	}

	c.record(&st.seen, st.value)
	for _, e := range st.dropped {
		c.ending(e)
	}
	for _, e := range st.events {
		c.event(e)
	}
	return nil
}

// compare returns ErrConflict unless a record stands in a version.
func (c *committer) compare(s *seen, version uint64) error {
	if !s.found || s.session.Version != version || s.session.Ended() {
		return rescind.ErrConflict
	}
	passed, err := c.passed(&s.session)
	if err == nil && passed {
		err = rescind.ErrConflict
	}
	return err
}

// idle reports whether a session has been idle for too long. Somebody may have
// been told so: no activity that comes later may change that.
func (c *committer) idle(r *rescind.Session) bool {
	return !c.s.Now().Before(r.LastActive.Add(r.IdleTimeout))
}

type moveStep struct {
	outcome
	ending  rescind.Ending
	keep    *seen
	version uint64
	event   []byte
	to      rescind.Position
}

// MoveCutoff implements [rescind.Store].
func (s *Store) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	switch {
	case m.Kind != rescind.EndSubject && m.Kind != rescind.EndClient && m.Kind != rescind.EndAll:
		return 0, fmt.Errorf("%w: no cutoff of kind %d", rescind.ErrInvalid, m.Kind)
	case m.Keep != nil && (m.Kind != rescind.EndSubject || m.Keep.Session.Tag() != m.Tag):
		return 0, fmt.Errorf("%w: a cutoff spares a session of its subject only", rescind.ErrInvalid)
	}
	st := &moveStep{ending: rescind.Ending{Kind: m.Kind, Tag: m.Tag, Name: m.Name, At: m.At}, event: rescind.AppendEvent(nil, &m.Event)}
	err := s.write(ctx, st, func() error {
		if m.Keep == nil {
			return nil
		}
		st.ending.Session, st.version = m.Keep.Session, m.Keep.Version
		keep, err := s.see(m.Keep.Session)
		st.keep = &keep
		return err
	})
	if err != nil {
		return 0, err
	}
	return st.to, nil
}

func (st *moveStep) apply(c *committer) error {
	if st.keep != nil {
		if _, err := c.refresh(st.keep); err != nil {
			return err
		}
		if err := c.compare(st.keep, st.version); err != nil {
			return err
		}
	}

	c.moveCutoff(&st.ending)
	st.to = c.head
	if st.keep != nil {
		r := st.keep.session
		r.Version++
		r.Birth = c.head
		c.record(st.keep, rescind.AppendRecord(nil, &r))
	}
	c.event(st.event)
	return nil
}

type touchStep struct {
	outcome
	seen seen
	at   time.Time
}

// Touch implements [rescind.Store]. It is as durable as every other write.
func (s *Store) Touch(ctx context.Context, id rescind.SessionID, at time.Time) error {
	st := &touchStep{at: at}
	return s.write(ctx, st, func() (err error) {
		st.seen, err = s.see(id)
		return err
	})
}

func (st *touchStep) apply(c *committer) error {
	if _, err := c.refresh(&st.seen); err != nil {
		return err
	}
	r := &st.seen.session
	if !st.seen.found || r.Ended() || c.idle(r) || !st.at.After(r.LastActive) {
		return nil
	}
	if passed, err := c.passed(r); passed || err != nil {
		return err
	}

	r.LastActive = st.at
	c.record(&st.seen, rescind.AppendRecord(nil, r))
	return nil
}

// clone copies what a session shares with its caller.
func clone(s rescind.Session) rescind.Session {
	s.Audience = append([]string(nil), s.Audience...)
	s.Claims = append([]byte(nil), s.Claims...)
	s.Access = append([]rescind.AccessEntry(nil), s.Access...)
	return s
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
