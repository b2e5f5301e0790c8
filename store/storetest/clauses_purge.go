package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

func purgeClauses() []clause {
	return []clause{
		{"PurgeForgetsWhatItIsTold", purgeForgetsWhatItIsTold},
		{"PurgeOnlyForgets", purgeOnlyForgets},
		{"PurgeIsBounded", purgeIsBounded},
		{"PurgeNeverDropsAChangedRecord", purgeNeverDropsAChangedRecord},
		{"PurgeOfATagLeavesOthers", purgeOfATagLeavesOthers},
		{"PurgeForgetsEvents", purgeForgetsEvents},
		{"FeedSaysWhatIsGone", feedSaysWhatIsGone},
		{"PurgeForgetsOldCutoffsOnly", purgeForgetsOldCutoffsOnly},
	}
}

func purgeForgetsWhatItIsTold(c *trial) {
	var gone, stay []rescind.Session
	for i := range 30 {
		s := c.created([]string{"ann", "ben"}[i%2], "web")
		if i%3 == 0 {
			c.end(s)
			gone = append(gone, s)
		} else {
			stay = append(stay, s)
		}
	}
	p := c.purge(rescind.PurgeStep{Limit: 4, Drop: func(s *rescind.Snapshot) bool { return s.Session.Ended() }})
	if p.Sessions != len(gone) {
		c.Fatalf("Purge says that it dropped %d sessions of %d", p.Sessions, len(gone))
	}
	for range 2 {
		for _, s := range gone {
			if c.lookup(s.ID).Found {
				c.Fatalf("a session that was purged is found")
			}
		}
		for _, s := range stay {
			c.mustStand("a session that was not to be purged", s.ID)
		}
		if n := len(c.list(nil, 7)); n != len(stay) {
			c.Fatalf("List has %d sessions, want %d", n, len(stay))
		}
		c.restart()
	}
	c.mustConflict("Replace of a session that was purged", c.replace(gone[0]))
	c.must("Touch of a session that was purged", c.s.Touch(c.ctx, gone[0].ID, c.now()))
	if got := c.end(gone[0]); got.Changed || c.lookup(gone[0].ID).Found {
		c.Fatalf("a session that was purged is back: %+v", got)
	}
}

// purgeOnlyForgets: a round that is told nothing does nothing, and one that
// forgets sessions touches neither the head, nor a cutoff, nor the counter.
func purgeOnlyForgets(c *trial) {
	s := c.created("ann", "web")
	c.end(c.created("ann", "web"))
	for _, m := range c.cutoffs(s) {
		c.move(m)
	}
	n := c.count(tagOf("ann"))
	_, err := c.s.Create(c.ctx, rescind.Creation{Session: c.session("ann", "web"), Count: &n})
	c.must("Create", err)
	c.configure(rescind.Change{Documents: []rescind.Document{doc("k", "i", "v")}})
	count := c.count(tagOf("ann"))
	c.unchanged("a round that is told nothing", func() {
		if p := c.purge(rescind.PurgeStep{Limit: 3}); p.Sessions+p.Events+p.Endings+p.Cutoffs != 0 {
			c.Fatalf("it says %+v", p)
		}
		c.purge(rescind.PurgeStep{Limit: 3, Drop: func(*rescind.Snapshot) bool { return false }, DropEvent: func(*rescind.Event) bool { return false }})
	})
	standing := c.created("ann", "web")
	cutoffs, head, config := c.found(standing.ID).Cutoffs, c.head("ann"), showConfig(c.config())
	c.purge(rescind.PurgeStep{
		Limit: 3, Drop: func(s *rescind.Snapshot) bool { return s.Session.ID != standing.ID }, DropEvent: func(*rescind.Event) bool { return true },
	})
	for range 2 {
		if got := c.found(standing.ID).Cutoffs; got != cutoffs || c.head("ann") != head {
			c.Fatalf("after Purge the cutoffs are %+v, the head is %d; they were %+v, %d", got, c.head("ann"), cutoffs, head)
		}
		c.equal("the configuration", showConfig(c.config()), config)
		c.mustStand("the session that was not to be purged", standing.ID)
		if got := c.count(tagOf("ann")); got != count {
			c.Fatalf("after Purge the subject's counter is %d, it was %d", got, count)
		}
		c.restart()
	}
}

func purgeIsBounded(c *trial) {
	for range 20 {
		c.created("ann", "web")
	}
	logEvents(c, 30)
	seen, logged := map[rescind.SessionID]int{}, 0
	for _, limit := range []int{1, 7, 1000} {
		q := rescind.PurgeStep{Limit: limit,
			Drop:      func(s *rescind.Snapshot) bool { seen[s.Session.ID]++; return false },
			DropEvent: func(*rescind.Event) bool { logged++; return false },
		}
		for steps := 0; ; steps++ {
			logged = 0
			clear(seen)
			p, err := c.s.Purge(c.ctx, q)
			c.must("Purge", err)
			if asked := len(seen) + logged; asked > limit || p.Read > limit {
				c.Fatalf("a step of at most %d asked about %d and says that it read %d", limit, asked, p.Read)
			}
			if p.Cursor == nil {
				break
			}
			if steps > 1000 {
				c.Fatalf("a round of Purge never ends")
			}
			q.Cursor = p.Cursor
		}
	}
	clear(seen)
	logged = 0
	c.purge(rescind.PurgeStep{Limit: 3,
		Drop:      func(s *rescind.Snapshot) bool { seen[s.Session.ID]++; return false },
		DropEvent: func(*rescind.Event) bool { logged++; return false },
	})
	if len(seen) != 20 || logged != 30 {
		c.Fatalf("a round showed %d sessions of 20 and %d events of 30", len(seen), logged)
	}
}

// purgeNeverDropsAChangedRecord changes a record between the question and the
// deletion, in each of the ways in which one changes.
func purgeNeverDropsAChangedRecord(c *trial) {
	for what, change := range map[string]func(rescind.Session) error{
		"Touch": func(s rescind.Session) error { return c.s.Touch(c.ctx, s.ID, c.now().Add(time.Minute)) },
		"End": func(s rescind.Session) error {
			_, err := c.s.End(c.ctx, c.ending(s))
			return err
		},
		"Replace": func(s rescind.Session) error { return c.replace(s) },
		"Keep": func(s rescind.Session) error {
			m := c.cutoffs(s)[0]
			m.Keep = &rescind.Keep{Session: s.ID, Version: s.Version}
			_, err := c.s.MoveCutoff(c.ctx, m)
			return err
		},
	} {
		s := c.created("ann "+what, "web")
		result, changed := make(chan error, 1), false
		var once sync.Once
		p := c.purge(rescind.PurgeStep{Limit: 10, Drop: func(seen *rescind.Snapshot) bool {
			if seen.Session.ID != s.ID {
				return false
			}
			once.Do(func() {
				go func() { result <- change(s) }()
				select {
				case err := <-result:
					changed = err == nil
					result <- err
				case <-time.After(time.Second): // a store may keep writers out while it asks
				}
			})
			return true
		}})
		err := <-result
		switch {
		case changed && (p.Sessions != 0 || !c.lookup(s.ID).Found):
			c.Fatalf("Purge dropped a record that %s changed after Drop had seen it", what)
		case !changed && c.lookup(s.ID).Found && (err != nil || p.Sessions != 0): // else it came late, and yet before the deletion
			c.Fatalf("nothing changed the record and Purge left it; %s: %v", what, err)
		case !changed && err != nil && !errors.Is(err, rescind.ErrConflict):
			c.Fatalf("%s of a record that is being purged: %v", what, err)
		}
	}
}

func purgeOfATagLeavesOthers(c *trial) {
	var ann, ben []rescind.Session
	for range 5 {
		ann, ben = append(ann, c.created("ann", "web")), append(ben, c.created("ben", "web"))
	}
	c.move(c.cutoffs(ann[0])[0])
	logEvents(c, 20)
	tag := tagOf("ann")
	p := c.purge(rescind.PurgeStep{Limit: 3, Tag: &tag,
		Drop: func(s *rescind.Snapshot) bool {
			if s.Session.ID.Tag() != tag {
				c.Errorf("Purge of a tag asked about another subject's session")
			}
			return true
		},
		DropEvent: func(e *rescind.Event) bool { return e.Subject == "ann" },
	})
	if p.Sessions != len(ann) || len(c.list(nil, 100)) != len(ben) {
		c.Fatalf("Purge of a tag dropped %d sessions, want %d", p.Sessions, len(ann))
	}
	for _, s := range ben {
		c.mustStand("another subject's session", s.ID)
	}
	if n := len(c.events(rescind.EventQuery{Subject: "ann"})); n != 0 {
		c.Fatalf("%d events name the subject that was purged", n)
	}
	if n := len(c.events(rescind.EventQuery{Subject: "ben"})); n != 10 {
		c.Fatalf("%d events of 10 name the other subject", n)
	}
	if got := c.found(c.created("ann", "web").ID).Cutoffs.Subject; got == 0 {
		c.Fatalf("the cutoff of the subject that was purged is gone")
	}
}

func purgeForgetsEvents(c *trial) {
	all := logEvents(c, 100)
	page, err := c.s.Events(c.ctx, rescind.EventQuery{Limit: 10})
	c.must("Events", err)
	drop := func(e *rescind.Event) bool { return e.At.Before(all[60].At) || e.Detail == "number 80" }
	p := c.purge(rescind.PurgeStep{Limit: 9, DropEvent: drop})
	if p.Events != 61 {
		c.Fatalf("Purge says that it dropped %d events of 61", p.Events)
	}
	for range 2 {
		got := c.events(rescind.EventQuery{Limit: 7})
		if len(got) != 39 {
			c.Fatalf("the log has %d events, want 39", len(got))
		}
		for _, e := range got {
			if drop(&e) {
				c.Fatalf("an event that was purged is read: %s", showEvent(e))
			}
		}
		for _, q := range []rescind.EventQuery{{Subject: "ann"}, {Session: "s1"}, {Client: "web"}, {Kind: rescind.EventSessionCreated}} {
			want := 0
			for _, e := range got {
				if q.Match(&e) {
					want++
				}
			}
			if n := len(c.events(q)); n != want {
				c.Fatalf("by %+v the log has %d events, want %d", q, n, want)
			}
		}
		c.restart()
	}
	if n := len(c.events(rescind.EventQuery{After: page.Next})); page.Next == "" || n != 39-len(page.Events) {
		c.Fatalf("behind a page of %d that was read before the purge there are %d events of 39", len(page.Events), n)
	}
	last := c.events(rescind.EventQuery{})
	c.purge(rescind.PurgeStep{Limit: 1000, DropEvent: func(*rescind.Event) bool { return true }})
	c.restart()
	logEvents(c, 1)
	if next := c.events(rescind.EventQuery{}); len(next) != 1 || next[0].ID <= last[len(last)-1].ID {
		c.Fatalf("behind event %q, which was purged, comes %+v", last[len(last)-1].ID, next)
	}
}

func feedSaysWhatIsGone(c *trial) {
	start := c.place(tagOf("ann"))
	for range 5 {
		c.end(c.created("ann", "web"))
	}
	c.must("Replace", c.replace(c.created("ann", "web"), rescind.TokenID{1}))
	c.tick()
	before := c.now()
	c.tick()
	for range 4 {
		c.end(c.created("ann", "web"))
	}
	all := c.feed(start)
	if p := c.purge(rescind.PurgeStep{Limit: 100, FeedBefore: before}); p.Endings != 6 {
		c.Fatalf("Purge says that it dropped %d endings, want 6", p.Endings)
	}
	for range 2 {
		for after := range rescind.Position(11) {
			page, err := c.s.Feed(c.ctx, start+after, 100)
			c.must("Feed", err)
			if gone := after < 6; page.Gone != gone || page.Head != start+10 {
				c.Fatalf("6 of 10 endings are purged: Feed after %d has gone %t, head %d", after, page.Gone, page.Head)
			}
			if !page.Gone {
				c.equal("the rest of the feed", showEndings(page.Endings), showEndings(all[after:]))
			}
		}
		c.restart()
	}
	c.tick()
	c.purge(rescind.PurgeStep{Limit: 100, FeedBefore: c.now()})
	for range 2 { // the head survives the last ending that is kept
		c.restart()
		if page, err := c.s.Feed(c.ctx, start+9, 100); err != nil || !page.Gone || page.Head != start+10 {
			c.Fatalf("all of 10 endings are purged: Feed after 9 is %+v, error %v", page, err)
		}
		if page, err := c.s.Feed(c.ctx, start+10, 100); err != nil || page.Gone || page.Head != start+10 || len(page.Endings) != 0 {
			c.Fatalf("all of 10 endings are purged: Feed after 10 is %+v, error %v", page, err)
		}
	}
	s := c.created("ann", "web")
	if got := c.end(s); got.Position != start+11 || s.Birth != start+10 {
		c.Fatalf("behind position 10, which was purged, a session is born at %d and an ending takes %d", s.Birth, got.Position)
	}
}

func purgeForgetsOldCutoffsOnly(c *trial) {
	old := c.created("ann", "web")
	c.move(c.cutoffs(old)[0])
	c.move(c.cutoffs(old)[1])
	moved := c.created("cat", "cli") // its cutoffs move early, and then late
	c.move(c.cutoffs(moved)[0])
	c.purge(rescind.PurgeStep{Limit: 100, Drop: func(*rescind.Snapshot) bool { return true }})
	young := c.created("ben", "app")
	c.tick()
	before := c.now()
	c.tick()
	c.move(c.cutoffs(young)[0])
	c.move(c.cutoffs(young)[1])
	c.move(c.cutoffs(moved)[0])
	want := c.found(young.ID).Cutoffs
	p := c.purge(rescind.PurgeStep{Limit: 1, CutoffsBefore: before})
	if p.Cutoffs != 2 {
		c.Fatalf("Purge says that it dropped %d cutoffs, want those 2 that moved before and not since", p.Cutoffs)
	}
	for range 2 {
		if got := c.found(young.ID).Cutoffs; got != want {
			c.Fatalf("a cutoff that moved since is %+v, and was %+v", got, want)
		}
		c.mustBeOver("born before a cutoff that moved since", young.ID)
		if got := c.found(c.created("cat", "web").ID).Cutoffs.Subject; got == 0 {
			c.Fatalf("a cutoff that moved again since is gone")
		}
		if got := c.found(c.created("ann", "web").ID).Cutoffs; got != (rescind.Cutoffs{}) {
			c.Fatalf("cutoffs that were purged are %+v", got)
		}
		c.restart()
	}
}
