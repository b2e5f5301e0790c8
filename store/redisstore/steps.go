package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// conflict is what a script answers that has compared and written nothing.
const conflict = -1

// headOrConflict reads the count that a script returns.
func headOrConflict(m *rueidis.RedisMessage) (uint64, error) {
	n, err := m.AsInt64()
	switch {
	case err != nil:
		return 0, unavailable("redis", err)
	case n == conflict:
		return 0, rescind.ErrConflict
	}
	return uint64(n), nil
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// Create implements [rescind.Store]. The sessions that it ends are of the same
// subject; ErrInvalid else.
func (s *Store) Create(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
	if err := validRecord(&c.Session); err != nil {
		return 0, err
	}
	id := c.Session.ID
	tag := id.Tag()
	h, bucket := s.shardOf(&tag), bucketOf(&tag)
	keys := []string{h.meta, h.feed, h.events, h.session(&id), h.bucket(bucket), h.buckets, h.counter(&tag)}
	expect := ""
	if c.Count != nil {
		expect = decimal(*c.Count)
	}
	record := appendNumber(make([]byte, 0, 512), milliseconds(c.Session.LastActive))
	record = appendNumber(appendNumber(record, milliseconds(c.Session.EndedAt)), idleOf(&c.Session))
	record = appendTail(record, &c.Session)
	args := []string{s.stampNow(), expect, string(record), string(id[:]), strconv.Itoa(int(bucket - h.first(len(s.shards)))), strconv.Itoa(len(c.Events))}
	args = appendEvents(args, c.Events)
	for i := range c.End {
		e := &c.End[i]
		if other := e.Session.Tag(); s.shardOf(&other) != h {
			return 0, fmt.Errorf("%w: a login ends only sessions of its own subject", rescind.ErrInvalid)
		}
		keys = append(keys, h.session(&e.Session))
		args = appendEnd(args, e)
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	m, err := s.run(ctx, steps["create"], keys, args...)
	if err != nil {
		return 0, err
	}
	head, err := headOrConflict(&m)
	if err != nil {
		return 0, err
	}
	return h.position(head), nil
}

// appendEnd is what a script needs to end one session.
func appendEnd(args []string, e *rescind.End) []string {
	at := max(milliseconds(e.At), 1) // whatever it says, it has ended
	reason := string(e.Reason[:min(len(e.Reason), maxText)])
	return append(args, decimal(at), reason, endingEntry(&rescind.Ending{Kind: rescind.EndSession, Session: e.Session, At: e.At}), eventEntry(&e.Event))
}

// Replace implements [rescind.Store].
func (s *Store) Replace(ctx context.Context, r rescind.Replacement) error {
	if err := validRecord(&r.Session); err != nil {
		return err
	}
	id := r.Session.ID
	tag := id.Tag()
	h := s.shardOf(&tag)
	record := r.Session
	record.EndReason = ""
	args := []string{s.stampNow(), versionText(r.Session.Version), decimal(milliseconds(r.Session.LastActive)), decimal(idleOf(&r.Session)),
		string(appendTail(make([]byte, 0, 512), &record)), strconv.Itoa(len(r.Dropped))}
	now := s.Now()
	for _, token := range r.Dropped {
		args = append(args, endingEntry(&rescind.Ending{Kind: rescind.EndToken, Session: id, Token: token, At: now}))
	}
	args = appendEvents(args, r.Events)
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	m, err := s.run(ctx, steps["replace"], []string{h.meta, h.feed, h.events, h.session(&id), h.subject(&tag), h.clients}, args...)
	if err != nil {
		return err
	}
	_, err = headOrConflict(&m)
	return err
}

// versionText is a version as a record holds it, for comparing; one that no record
// can hold equals none.
func versionText(v uint64) string {
	if v > largest {
		return ""
	}
	return string(appendNumber(nil, v))
}

// End implements [rescind.Store].
func (s *Store) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	tag := e.Session.Tag()
	h := s.shardOf(&tag)
	args := appendEnd([]string{s.stampNow()}, &e)
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return rescind.Ended{}, err
	}
	defer cancel()
	m, err := s.run(ctx, steps["finish"], []string{h.meta, h.feed, h.events, h.session(&e.Session)}, args...)
	if err != nil {
		return rescind.Ended{}, err
	}
	n, err := m.AsIntSlice()
	if err != nil || len(n) != 2 {
		return rescind.Ended{}, unavailable("end", err)
	}
	return rescind.Ended{Position: h.position(uint64(n[1])), Changed: n[0] == 1}, nil
}

// MoveCutoff implements [rescind.Store]. Its event is in the first shard.
func (s *Store) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	if len(m.Name) > maxName {
		return 0, fmt.Errorf("%w: the name of a client is too long", rescind.ErrInvalid)
	}
	e := rescind.Ending{Kind: m.Kind, Tag: m.Tag, Name: m.Name, At: m.At}
	event := eventEntry(&m.Event)
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	switch m.Kind {
	case rescind.EndSubject:
		return s.cut(ctx, &e, m.Keep, event)
	case rescind.EndClient, rescind.EndAll:
		return s.sweep(ctx, &e, event)
	}
	return 0, fmt.Errorf("%w: no cutoff of this kind", rescind.ErrInvalid)
}

func (s *Store) cut(ctx context.Context, e *rescind.Ending, keep *rescind.Keep, event string) (rescind.Position, error) {
	tag := e.Tag
	h := s.shardOf(&tag)
	keys := []string{h.meta, h.feed, h.events, h.subject(&tag), h.moves, h.clients}
	if keep != nil {
		if other := keep.Session.Tag(); other != tag {
			return 0, fmt.Errorf("%w: a cutoff keeps a session of its own subject", rescind.ErrInvalid)
		}
		e.Session = keep.Session
		keys = append(keys, h.session(&keep.Session))
	}
	args := []string{s.stampNow(), decimal(milliseconds(e.At)), string(tag[:]), endingEntry(e), event}
	if keep != nil {
		args = append(args, versionText(keep.Version))
	}
	m, err := s.run(ctx, steps["cut"], keys, args...)
	if err != nil {
		return 0, err
	}
	head, err := headOrConflict(&m)
	if err != nil {
		return 0, err
	}
	return h.position(head), nil
}

// sweep moves a cutoff in every shard.
func (s *Store) sweep(ctx context.Context, e *rescind.Ending, event string) (rescind.Position, error) {
	var at rescind.Position
	err := each(s.shards, func(h *shard) error {
		args := []string{s.stampNow(), decimal(milliseconds(e.At)), clientArg(e), endingEntry(e), randomNumber()}
		if h == s.shards[0] {
			args = append(args, event)
		}
		m, err := s.run(ctx, steps["sweep"], []string{h.meta, h.feed, h.events, h.clients}, args...)
		if err != nil {
			return err
		}
		head, err := headOrConflict(&m)
		if h == s.last() {
			at = h.position(head)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return at, nil
}

// Touch implements [rescind.Store]. It is as durable as any other step.
func (s *Store) Touch(ctx context.Context, id rescind.SessionID, at time.Time) error {
	tag := id.Tag()
	h := s.shardOf(&tag)
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = s.run(ctx, steps["touch"], []string{h.meta, h.session(&id), h.subject(&tag), h.clients}, s.stampNow(), decimal(milliseconds(at)))
	return err
}
