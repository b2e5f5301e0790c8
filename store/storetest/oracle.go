package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

// NewOracle returns an instance of the oracle: the contract of [rescind.Store]
// written down as plainly as it can be, in maps under one lock. Random tests
// compare a store with it. It is no product: it forgets all when the process
// ends, never times out, and its steps cost whatever they cost.
func NewOracle(now func() time.Time) Instance {
	return instanceOf(newOracle(now), func(o *oracle) rescind.Store { return o })
}

// instanceOf wraps an oracle, again after each restart, which is how planted
// bugs are put around it.
func instanceOf(o *oracle, wrap func(*oracle) rescind.Store) Instance {
	return Instance{
		Store: wrap(o),
		Restart: func() rescind.Store {
			o = o.reopen()
			return wrap(o)
		},
	}
}

type oracle struct {
	mu     sync.Mutex
	now    func() time.Time
	last   time.Time
	closed bool

	sessions map[rescind.SessionID]rescind.Session
	counters map[rescind.Tag]uint64
	cutoffs  map[cutoff]moved
	*lane            // of the first shard, in which all lies where there is one
	lanes    []*lane // of each shard
	place    func(rescind.Tag) int
	events   []rescind.Event // oldest first
	eventSeq int
	docs     map[docKey][]byte
	version  uint64
	epoch    [16]byte
}

// lane is the feed of one shard.
type lane struct {
	feed []rescind.Ending // those not purged; the last one's position is head
	head rescind.Position
}

// tail is the position of the last ending that was purged.
func (l *lane) tail() rescind.Position { return l.head - rescind.Position(len(l.feed)) }

// cutoff names one: a subject's by tag, a client's by name, or that of all. The
// latter two are in every shard.
type cutoff struct {
	kind  rescind.EndingKind
	tag   rescind.Tag
	name  string
	shard int
}

type moved struct {
	to rescind.Position
	at time.Time
}

type docKey struct{ kind, id string }

var errClosed = fmt.Errorf("%w: the store is closed", rescind.ErrUnavailable)

func newOracle(now func() time.Time) *oracle { return newShardedOracle(now, 1) }

// newShardedOracle puts tags into shards by their first bits.
func newShardedOracle(now func() time.Time, shards int) *oracle {
	o := &oracle{
		place:    func(t rescind.Tag) int { return int(t[0]) * shards / 256 },
		now:      now,
		sessions: map[rescind.SessionID]rescind.Session{},
		counters: map[rescind.Tag]uint64{},
		cutoffs:  map[cutoff]moved{},
		docs:     map[docKey][]byte{},
	}
	for i := range shards {
		o.lanes = append(o.lanes, &lane{head: rescind.ShardStart(i)})
	}
	o.lane = o.lanes[0]
	_, _ = rand.Read(o.epoch[:]) // never fails: crypto/rand ends the process instead
	return o
}

// reopen closes o and returns another one over the same state.
func (o *oracle) reopen() *oracle {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return &oracle{
		now: o.now, last: o.last,
		sessions: o.sessions, counters: o.counters, cutoffs: o.cutoffs,
		lane: o.lane, lanes: o.lanes, place: o.place, events: o.events, eventSeq: o.eventSeq,
		docs: o.docs, version: o.version, epoch: o.epoch,
	}
}

// step takes the lock for one atomic step.
func (o *oracle) step(ctx context.Context) (unlock func(), err error) {
	o.mu.Lock()
	err = ctx.Err()
	if err != nil {
		err = fmt.Errorf("%w: %w", rescind.ErrUnavailable, err)
	}
	if o.closed {
		err = errClosed
	}
	if err != nil {
		o.mu.Unlock()
		return nil, err
	}
	return o.mu.Unlock, nil
}

func (o *oracle) Now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.time()
}

func (o *oracle) time() time.Time {
	if t := o.now(); t.After(o.last) {
		o.last = t
	}
	return o.last
}

func (o *oracle) Create(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	s := cloneSession(c.Session)
	if _, there := o.sessions[s.ID]; there {
		return 0, rescind.ErrConflict
	}
	if c.Count != nil {
		if o.counters[s.ID.Tag()] != *c.Count {
			return 0, rescind.ErrConflict
		}
		o.counters[s.ID.Tag()]++
	}
	for _, e := range c.End {
		o.end(e)
	}
	s.Version, s.Birth = 1, o.laneOf(s.ID.Tag()).head
	o.sessions[s.ID] = s
	o.log(c.Events...)
	return s.Birth, nil
}

func (o *oracle) laneOf(tag rescind.Tag) *lane { return o.lanes[o.place(tag)] }

func (o *oracle) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.Snapshot{}, err
	}
	defer unlock()
	return o.snapshot(id), nil
}

func (o *oracle) snapshot(id rescind.SessionID) rescind.Snapshot {
	s, found := o.sessions[id]
	if !found {
		return rescind.Snapshot{Config: o.version}
	}
	return rescind.Snapshot{Found: true, Session: cloneSession(s), Cutoffs: o.cutoffsOf(s), Config: o.version}
}

func (o *oracle) cutoffsOf(s rescind.Session) rescind.Cutoffs {
	shard := o.place(s.ID.Tag())
	return rescind.Cutoffs{
		Subject: o.cutoffs[cutoff{kind: rescind.EndSubject, tag: s.ID.Tag(), shard: shard}].to,
		Client:  o.cutoffs[cutoff{kind: rescind.EndClient, name: s.Client, shard: shard}].to,
		All:     o.cutoffs[cutoff{kind: rescind.EndAll, shard: shard}].to,
	}
}

// standing returns a record that is not ended, nor passed by a cutoff.
func (o *oracle) standing(id rescind.SessionID) (rescind.Session, bool) {
	s, found := o.sessions[id]
	return s, found && !s.Ended() && !o.cutoffsOf(s).Passed(s.Birth)
}

func (o *oracle) idle(s rescind.Session) bool {
	return !o.time().Before(s.LastActive.Add(s.IdleTimeout))
}

func (o *oracle) Replace(ctx context.Context, r rescind.Replacement) error {
	unlock, err := o.step(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	old, ok := o.standing(r.Session.ID)
	if !ok || old.Version != r.Session.Version || o.idle(old) {
		return rescind.ErrConflict
	}
	s := cloneSession(r.Session)
	s.Version, s.Birth = old.Version+1, old.Birth
	s.LastActive = later(s.LastActive, old.LastActive)
	o.sessions[s.ID] = s
	for _, id := range r.Dropped {
		o.take(rescind.Ending{Kind: rescind.EndToken, Session: s.ID, Token: id, At: o.time()})
	}
	o.log(r.Events...)
	return nil
}

func (o *oracle) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.Ended{}, err
	}
	defer unlock()
	changed := o.end(e)
	return rescind.Ended{Position: o.laneOf(e.Session.Tag()).head, Changed: changed}, nil
}

func (o *oracle) end(e rescind.End) bool {
	s, found := o.sessions[e.Session]
	if !found || s.Ended() {
		return false
	}
	s.EndedAt, s.EndReason = e.At, e.Reason
	s.Version++
	o.sessions[s.ID] = s
	o.take(rescind.Ending{Kind: rescind.EndSession, Session: s.ID, At: e.At})
	o.log(e.Event)
	return true
}

// take gives an ending the next position of its shard, or of each, if it concerns
// all, and returns it, or the last.
func (o *oracle) take(e rescind.Ending) (p rescind.Position) {
	lanes := o.lanes
	switch e.Kind {
	case rescind.EndSession, rescind.EndToken:
		lanes = []*lane{o.laneOf(e.Session.Tag())}
	case rescind.EndSubject:
		lanes = []*lane{o.laneOf(e.Tag)}
	}
	for _, l := range lanes {
		p = l.take(e)
	}
	return p
}

func (l *lane) take(e rescind.Ending) rescind.Position {
	l.head++
	e.Position = l.head
	_, _ = rand.Read(e.Nonce[:]) // never fails: crypto/rand ends the process instead
	l.feed = append(l.feed, e)
	return l.head
}

func (o *oracle) log(events ...rescind.Event) {
	for _, e := range events {
		o.eventSeq++
		e.ID = fmt.Sprintf("%012d", o.eventSeq)
		o.events = append(o.events, e)
	}
}

func (o *oracle) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	e := rescind.Ending{Kind: m.Kind, Tag: m.Tag, Name: m.Name, At: m.At}
	if m.Keep != nil {
		kept, ok := o.standing(m.Keep.Session)
		if !ok || kept.Version != m.Keep.Version {
			return 0, rescind.ErrConflict
		}
		e.Session = kept.ID
		kept.Version, kept.Birth = kept.Version+1, o.laneOf(m.Tag).head+1
		o.sessions[kept.ID] = kept
	}
	p := o.moveCutoff(e)
	o.log(m.Event)
	return p, nil
}

func (o *oracle) moveCutoff(e rescind.Ending) rescind.Position {
	p := o.take(e)
	for i, l := range o.lanes {
		if e.Kind != rescind.EndSubject || i == o.place(e.Tag) {
			o.cutoffs[cutoff{kind: e.Kind, tag: e.Tag, name: e.Name, shard: i}] = moved{to: l.head, at: e.At}
		}
	}
	return p
}

func (o *oracle) Touch(ctx context.Context, id rescind.SessionID, at time.Time) error {
	unlock, err := o.step(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s, ok := o.standing(id)
	if ok && !o.idle(s) {
		s.LastActive = later(s.LastActive, at)
		o.sessions[id] = s
	}
	return nil
}

func (o *oracle) List(ctx context.Context, q rescind.ListQuery) (rescind.ListPage, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.ListPage{}, err
	}
	defer unlock()
	var page rescind.ListPage
	if q.Tag != nil {
		page.Count = o.counters[*q.Tag]
	}
	for _, id := range o.ids(q.Tag) {
		switch {
		case bytes.Compare(id[:], q.After[:]) <= 0:
		case len(page.Sessions) == q.Limit:
			page.More = true
			return page, nil
		default:
			page.Sessions = append(page.Sessions, o.snapshot(id))
		}
	}
	return page, nil
}

func (o *oracle) ids(tag *rescind.Tag) []rescind.SessionID {
	ids := slices.SortedFunc(maps.Keys(o.sessions), compareIDs)
	return slices.DeleteFunc(ids, func(id rescind.SessionID) bool { return tag != nil && id.Tag() != *tag })
}

func (o *oracle) Feed(ctx context.Context, after rescind.Position, max int) (rescind.FeedPage, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.FeedPage{}, err
	}
	defer unlock()
	if after.Shard() >= len(o.lanes) {
		return rescind.FeedPage{}, fmt.Errorf("%w: no such shard", rescind.ErrInvalid)
	}
	l := o.lanes[after.Shard()]
	page := rescind.FeedPage{Head: l.head, Gone: after < l.tail()}
	if !page.Gone && after < l.head {
		rest := l.feed[after-l.tail():]
		page.Endings = slices.Clone(rest[:min(max, len(rest))])
	}
	return page, nil
}

func (o *oracle) Events(ctx context.Context, q rescind.EventQuery) (rescind.EventPage, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.EventPage{}, err
	}
	defer unlock()
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	var page rescind.EventPage
	for _, e := range slices.Backward(o.events) {
		if !q.Match(&e) || q.After != "" && e.ID >= q.After {
			continue
		}
		if len(page.Events) == limit {
			page.Next = page.Events[limit-1].ID
			break
		}
		page.Events = append(page.Events, e)
	}
	return page, nil
}

func (o *oracle) Config(ctx context.Context) (rescind.StoreConfig, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.StoreConfig{}, err
	}
	defer unlock()
	cfg := rescind.StoreConfig{Version: o.version, Epoch: o.epoch, Shards: len(o.lanes)}
	for k, v := range o.docs {
		cfg.Documents = append(cfg.Documents, rescind.Document{Kind: k.kind, ID: k.id, Value: slices.Clone(v)})
	}
	return cfg, nil
}

func (o *oracle) ConfigVersion(ctx context.Context) (uint64, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return o.version, nil
}

func (o *oracle) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if c.Expect != o.version {
		return 0, rescind.ErrConflict
	}
	o.version++
	if c.NewEpoch {
		_, _ = rand.Read(o.epoch[:])
	}
	for _, d := range c.Documents {
		k := docKey{strings.Clone(d.Kind), strings.Clone(d.ID)}
		if d.Value == nil {
			delete(o.docs, k)
		} else {
			o.docs[k] = slices.Clone(d.Value)
		}
	}
	for _, e := range c.Ends {
		if e.Kind == rescind.EndClient {
			o.moveCutoff(e)
		} else {
			o.take(e)
		}
	}
	o.log(c.Events...)
	return o.lanes[len(o.lanes)-1].head, nil
}

// Purge reads sessions, in the order of their ids, and then events; the cursor
// is the last one read. Endings and cutoffs are forgotten in the last step.
func (o *oracle) Purge(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
	unlock, err := o.step(ctx)
	if err != nil {
		return rescind.Purged{}, err
	}
	defer unlock()
	var p rescind.Purged
	phase, after := "s", ""
	if q.Cursor != nil {
		phase, after = string(q.Cursor[:1]), string(q.Cursor[1:])
	}
	if phase == "s" {
		for _, id := range o.ids(q.Tag) {
			if string(id[:]) <= after {
				continue
			}
			if p.Read == q.Limit {
				return p, nil
			}
			p.Read++
			p.Cursor = append([]byte("s"), id[:]...)
			if q.Drop != nil && o.forget(id, q.Drop) {
				p.Sessions++
			}
		}
		after = ""
	}
	for _, e := range slices.Clone(o.events) {
		if e.ID <= after {
			continue
		}
		if p.Read == q.Limit {
			return p, nil
		}
		p.Read++
		p.Cursor = append([]byte("e"), e.ID...)
		if q.DropEvent != nil && q.DropEvent(&e) {
			o.events = slices.DeleteFunc(o.events, func(d rescind.Event) bool { return d.ID == e.ID })
			p.Events++
		}
	}
	for _, l := range o.lanes {
		for len(l.feed) > 0 && l.feed[0].At.Before(q.FeedBefore) {
			l.feed = l.feed[1:]
			p.Endings++
		}
	}
	p.Cutoffs = o.forgetCutoffs(q.CutoffsBefore)
	p.Cursor = nil
	return p, nil
}

// forgetCutoffs counts one that is in every shard once.
func (o *oracle) forgetCutoffs(before time.Time) (n int) {
	for k, m := range o.cutoffs {
		if m.at.Before(before) {
			delete(o.cutoffs, k)
			if k.kind == rescind.EndSubject || k.shard == 0 {
				n++
			}
		}
	}
	return n
}

// forget lets others in while drop decides, and then looks whether they changed
// what it has seen.
func (o *oracle) forget(id rescind.SessionID, drop func(*rescind.Snapshot) bool) bool {
	seen := o.sessions[id]
	snap := o.snapshot(id)
	o.mu.Unlock()
	gone := drop(&snap)
	o.mu.Lock()
	if !gone || showSession(seen) != showSession(o.sessions[id]) {
		return false
	}
	delete(o.sessions, id)
	return true
}

func (o *oracle) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return nil
}

func cloneSession(s rescind.Session) rescind.Session {
	s.Audience = slices.Clone(s.Audience)
	s.Claims = slices.Clone(s.Claims)
	s.Access = slices.Clone(s.Access)
	return s
}

func compareIDs(a, b rescind.SessionID) int { return bytes.Compare(a[:], b[:]) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
