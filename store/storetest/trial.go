package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rescind/rescind"
)

// trial is one test of one store. Its methods call the store and fail the test
// when the call does.
type trial struct {
	T
	clock    *clock
	s        rescind.Store
	restart  func()
	ctx      context.Context
	patience time.Duration // for a call whose context has ended
	shards   int
	places   map[rescind.Tag]rescind.Position
}

func newTrial(t T, k *clock, x Instance) *trial {
	c := &trial{T: t, clock: k, s: x.Store, ctx: context.Background(), patience: time.Minute}
	c.restart = func() { c.s = x.Restart() }
	c.shards, c.places = c.config().Shards, map[rescind.Tag]rescind.Position{}
	return c
}

// now returns the store's time in the resolution of what it keeps.
func (c *trial) now() time.Time { return c.s.Now().Truncate(time.Millisecond) }

// tick lets time pass, so that what was before is before what comes.
func (c *trial) tick() {
	was := c.now()
	for c.clock.move(time.Second); c.now().Sub(was) < 5*time.Millisecond; {
		time.Sleep(time.Millisecond) // the store has a clock of its own
	}
}

func (c *trial) must(what string, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
}

func (c *trial) mustConflict(what string, err error) {
	c.Helper()
	if !errors.Is(err, rescind.ErrConflict) {
		c.Fatalf("%s: want ErrConflict, got %v", what, err)
	}
}

func (c *trial) equal(what, got, want string) {
	c.Helper()
	if got != want {
		c.Fatalf("%s\n got: %s\nwant: %s", what, got, want)
	}
}

func (c *trial) session(subject, client string) rescind.Session {
	return newSession(subject, client, c.now())
}

// created creates a session as login would and returns it as it now stands.
func (c *trial) created(subject, client string) rescind.Session {
	c.Helper()
	return c.create(c.session(subject, client))
}

func (c *trial) create(s rescind.Session) rescind.Session {
	c.Helper()
	birth, err := c.s.Create(c.ctx, rescind.Creation{Session: s})
	c.must("Create", err)
	s.Version, s.Birth = 1, birth
	return s
}

func (c *trial) lookup(id rescind.SessionID) rescind.Snapshot {
	c.Helper()
	snap, err := c.s.Lookup(c.ctx, id)
	c.must("Lookup", err)
	return snap
}

// found looks up a session that must be there.
func (c *trial) found(id rescind.SessionID) rescind.Snapshot {
	c.Helper()
	snap := c.lookup(id)
	if !snap.Found {
		c.Fatalf("session %s is not found", id)
	}
	return snap
}

func (c *trial) mustStand(what string, id rescind.SessionID) {
	c.Helper()
	if snap := c.lookup(id); !stands(snap) {
		c.Fatalf("%s: the session should stand: %s", what, showSnapshot(snap))
	}
}

func (c *trial) mustBeOver(what string, id rescind.SessionID) {
	c.Helper()
	if snap := c.lookup(id); stands(snap) {
		c.Fatalf("%s: the session should have ended: %s", what, showSnapshot(snap))
	}
}

func stands(s rescind.Snapshot) bool {
	return s.Found && !s.Session.Ended() && !s.Cutoffs.Passed(s.Session.Birth)
}

func (c *trial) ending(s rescind.Session) rescind.End {
	e := rescind.End{Session: s.ID, At: c.now(), Reason: rescind.ReasonLogout, Event: newEvent(rescind.EventSessionEnded, s, c.now())}
	e.Event.Reason = string(e.Reason)
	return e
}

func (c *trial) end(s rescind.Session) rescind.Ended {
	c.Helper()
	got, err := c.s.End(c.ctx, c.ending(s))
	c.must("End", err)
	return got
}

func (c *trial) replace(s rescind.Session, dropped ...rescind.TokenID) error {
	return c.s.Replace(c.ctx, rescind.Replacement{
		Session: s, Dropped: dropped, Events: []rescind.Event{newEvent(rescind.EventSessionRefreshed, s, c.now())},
	})
}

// cutoffs of each kind that concern a session.
func (c *trial) cutoffs(s rescind.Session) []rescind.CutoffMove {
	return []rescind.CutoffMove{
		{Kind: rescind.EndSubject, Tag: s.ID.Tag(), At: c.now(), Event: newEvent(rescind.EventSubjectEnded, s, c.now())},
		{Kind: rescind.EndClient, Name: s.Client, At: c.now(), Event: newEvent(rescind.EventClientEnded, s, c.now())},
		{Kind: rescind.EndAll, At: c.now(), Event: newEvent(rescind.EventAllEnded, s, c.now())},
	}
}

func (c *trial) move(m rescind.CutoffMove) rescind.Position {
	c.Helper()
	p, err := c.s.MoveCutoff(c.ctx, m)
	c.must("MoveCutoff", err)
	return p
}

// head returns the head of the feed that a subject's sessions are born at.
func (c *trial) head(subject string) rescind.Position {
	c.Helper()
	return c.headOf(c.shardOf(tagOf(subject)))
}

// feed returns all endings after a position, in its shard, read in pages.
func (c *trial) feed(after rescind.Position) []rescind.Ending {
	c.Helper()
	var all []rescind.Ending
	for {
		page, err := c.s.Feed(c.ctx, after, 100)
		c.must("Feed", err)
		if page.Gone {
			c.Fatalf("Feed after %d is gone, head %d", after, page.Head)
		}
		if len(page.Endings) == 0 {
			if after != page.Head {
				c.Fatalf("Feed after %d is empty before the head %d", after, page.Head)
			}
			return all
		}
		for _, e := range page.Endings {
			if e.Position != after+1 {
				c.Fatalf("Feed has position %d after %d: not dense", e.Position, after)
			}
			after++
		}
		all = append(all, page.Endings...)
	}
}

// events returns all events that q selects, oldest first, read in pages.
func (c *trial) events(q rescind.EventQuery) []rescind.Event {
	c.Helper()
	var all []rescind.Event
	for range 100_000 {
		page, err := c.s.Events(c.ctx, q)
		c.must("Events", err)
		if q.Limit > 0 && len(page.Events) > q.Limit {
			c.Fatalf("Events returned %d of at most %d", len(page.Events), q.Limit)
		}
		for _, e := range page.Events {
			if n := len(all); n > 0 && all[n-1].ID <= e.ID {
				c.Fatalf("events are not newest first by their ids: %q, then %q", all[n-1].ID, e.ID)
			}
			all = append(all, e)
		}
		if page.Next == "" {
			slices.Reverse(all)
			return all
		}
		q.After = page.Next
	}
	c.Fatalf("Events never ends")
	return nil
}

// list returns all records under a tag, or all, read in pages.
func (c *trial) list(tag *rescind.Tag, limit int) []rescind.Snapshot {
	c.Helper()
	var all []rescind.Snapshot
	q := rescind.ListQuery{Tag: tag, Limit: limit}
	for {
		page, err := c.s.List(c.ctx, q)
		c.must("List", err)
		if len(page.Sessions) > limit {
			c.Fatalf("List returned %d of at most %d", len(page.Sessions), limit)
		}
		all = append(all, page.Sessions...)
		if !page.More {
			return all
		}
		if len(page.Sessions) == 0 {
			c.Fatalf("List says that there is more after an empty page")
		}
		q.After = page.Sessions[len(page.Sessions)-1].Session.ID
	}
}

// purge takes steps until the round is complete and returns their sum.
func (c *trial) purge(q rescind.PurgeStep) rescind.Purged {
	c.Helper()
	var sum rescind.Purged
	for range 100_000 {
		p, err := c.s.Purge(c.ctx, q)
		c.must("Purge", err)
		sum.Read += p.Read
		sum.Sessions += p.Sessions
		sum.Events += p.Events
		sum.Endings += p.Endings
		sum.Cutoffs += p.Cutoffs
		if p.Cursor == nil {
			return sum
		}
		q.Cursor = p.Cursor
	}
	c.Fatalf("a round of Purge never ends")
	return sum
}

// count returns a subject's creation counter.
func (c *trial) count(tag rescind.Tag) uint64 {
	c.Helper()
	page, err := c.s.List(c.ctx, rescind.ListQuery{Tag: &tag, Limit: 1})
	c.must("List", err)
	return page.Count
}

func (c *trial) config() rescind.StoreConfig {
	c.Helper()
	cfg, err := c.s.Config(c.ctx)
	c.must("Config", err)
	return cfg
}

func (c *trial) configure(change rescind.Change) rescind.Position {
	c.Helper()
	change.Expect = c.config().Version
	p, err := c.s.Configure(c.ctx, change)
	c.must("Configure", err)
	return p
}

// state is all that can be read of a store, ids of events and nonces apart. It
// tells whether a step that must write nothing wrote something.
func (c *trial) state() string {
	c.Helper()
	return lines(c.list(nil, 100), showSnapshot) + showEndings(c.feeds()) +
		lines(c.events(rescind.EventQuery{}), showEvent) + showConfig(c.config())
}

// unchanged runs f and fails if anything that can be read differs afterwards.
func (c *trial) unchanged(what string, f func()) {
	c.Helper()
	before := c.state()
	f()
	c.equal(what+": nothing may be written", c.state(), before)
}
