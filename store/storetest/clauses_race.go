package storetest

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

func raceClauses() []clause {
	return []clause{
		{"OneOfManyReplacesWins", oneOfManyReplacesWins},
		{"OneOfManyEndsChanges", oneOfManyEndsChanges},
		{"OneOfManyConfiguresWins", oneOfManyConfiguresWins},
		{"CountGuardsConcurrentCreates", countGuardsConcurrentCreates},
		{"EndIsTheLastWord", endIsTheLastWord},
		{"NothingSeenIsUnseen", nothingSeenIsUnseen},
		{"EndsInCreateAreAtomic", endsInCreateAreAtomic},
		{"LookupIsOneAtomicRead", lookupIsOneAtomicRead},
		{"CutoffAndCreateAgree", cutoffAndCreateAgree},
		{"PositionsAreDenseUnderLoad", positionsAreDenseUnderLoad},
	}
}

// rounds is how often a race is run.
func rounds(n int) int {
	if testing.Short() {
		return max(n/10, 1)
	}
	return n
}

// race runs f in n goroutines that begin together and waits for all.
func race(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// tally counts outcomes and fails on an error that is no conflict.
func (c *trial) tally(won *atomic.Int64, err error) {
	switch {
	case err == nil:
		won.Add(1)
	case !errors.Is(err, rescind.ErrConflict):
		c.Errorf("in a race: %v", err)
	}
}

func oneOfManyReplacesWins(c *trial) {
	for range rounds(20) {
		s := c.created("ann", "web")
		for range 3 {
			var won atomic.Int64
			race(64, func(i int) {
				mine := s
				mine.Generation = uint32(i)
				c.tally(&won, c.replace(mine))
			})
			if won.Load() != 1 {
				c.Fatalf("of 64 Replaces of version %d, %d succeeded", s.Version, won.Load())
			}
			s.Version++
			if got := c.found(s.ID).Session.Version; got != s.Version {
				c.Fatalf("the version is %d, want %d", got, s.Version)
			}
		}
	}
}

func oneOfManyEndsChanges(c *trial) {
	for range rounds(20) {
		s := c.created("ann", "web")
		head := c.head("ann")
		var changed atomic.Int64
		race(64, func(int) {
			got, err := c.s.End(c.ctx, c.ending(s))
			if err != nil || got.Position < head+1 {
				c.Errorf("End in a race: %+v, %v", got, err)
			}
			if got.Changed {
				changed.Add(1)
			}
			if snap, err := c.s.Lookup(c.ctx, s.ID); err != nil || stands(snap) {
				c.Errorf("after its End returned, Lookup: %s, %v", showSnapshot(snap), err)
			}
		})
		if changed.Load() != 1 || c.head("ann") != head+1 {
			c.Fatalf("of 64 Ends, %d say that they changed something, and %d positions are taken", changed.Load(), c.head("ann")-head)
		}
		if n := len(c.events(rescind.EventQuery{Session: s.ID.String()})); n != 1 {
			c.Fatalf("64 Ends wrote %d events", n)
		}
	}
}

func oneOfManyConfiguresWins(c *trial) {
	for range rounds(20) {
		was := c.config().Version
		var won atomic.Int64
		race(16, func(int) {
			_, err := c.s.Configure(c.ctx, rescind.Change{Expect: was, Documents: []rescind.Document{doc("k", "i", "v")}})
			c.tally(&won, err)
		})
		if now := c.config().Version; won.Load() != 1 || now != was+1 {
			c.Fatalf("of 16 Configures of version %d, %d succeeded, and the version is %d", was, won.Load(), now)
		}
	}
}

func countGuardsConcurrentCreates(c *trial) {
	tag := tagOf("ann")
	for range rounds(20) {
		n := c.count(tag)
		var won atomic.Int64
		race(16, func(int) {
			_, err := c.s.Create(c.ctx, rescind.Creation{Session: c.session("ann", "web"), Count: &n})
			c.tally(&won, err)
		})
		if won.Load() != 1 {
			c.Fatalf("of 16 Creates that gave the count %d, %d succeeded", n, won.Load())
		}
	}
}

// endIsTheLastWord: swaps and touches run while a session ends, and go on
// afterwards. From the moment End has returned, none succeeds and no read sees
// the session standing. Every kind of ending is raced.
func endIsTheLastWord(c *trial) {
	for round := range rounds(1000) {
		s := c.created("ann", "web")
		var over atomic.Bool
		race(4, func(i int) {
			if i == 0 {
				var err error
				if kind := round % 4; kind == 0 {
					_, err = c.s.End(c.ctx, c.ending(s))
				} else {
					_, err = c.s.MoveCutoff(c.ctx, c.cutoffs(s)[kind-1])
				}
				if err != nil {
					c.Errorf("the ending: %v", err)
				}
				over.Store(true)
				return
			}
			for after := 0; after < 3; {
				runtime.Gosched()
				dead := over.Load() // read before the calls that it judges
				if dead {
					after++
				}
				snap, err := c.s.Lookup(c.ctx, s.ID)
				if err != nil || !snap.Found {
					c.Errorf("Lookup: %s, %v", showSnapshot(snap), err)
					return
				}
				if dead && stands(snap) {
					c.Errorf("after the ending returned, Lookup began and saw: %s", showSnapshot(snap))
					return
				}
				if err := c.s.Touch(c.ctx, s.ID, snap.Session.LastActive.Add(time.Millisecond)); err != nil {
					c.Errorf("Touch: %v", err)
				}
				err = c.replace(snap.Session)
				if dead && err == nil {
					c.Errorf("after the ending returned, Replace began and succeeded, of: %s", showSnapshot(snap))
					return
				}
				if err != nil && !errors.Is(err, rescind.ErrConflict) {
					c.Errorf("Replace: %v", err)
				}
			}
		})
		c.mustBeOver("after the race", s.ID)
		c.mustConflict("Replace after the race", c.replace(c.found(s.ID).Session))
	}
}

// nothingSeenIsUnseen: once any reader has seen an ending, in the record or in
// the feed, every reader that begins later sees it in both.
func nothingSeenIsUnseen(c *trial) {
	for range rounds(200) {
		s := c.created("ann", "web")
		head := c.head("ann")
		var seen atomic.Bool
		race(5, func(i int) {
			if i == 0 {
				if _, err := c.s.End(c.ctx, c.ending(s)); err != nil {
					c.Errorf("End: %v", err)
				}
				seen.Store(true)
				return
			}
			for done := false; !done; {
				runtime.Gosched()
				done = seen.Load()
				var ended bool
				if i%2 == 0 {
					snap, err := c.s.Lookup(c.ctx, s.ID)
					if err != nil {
						c.Errorf("Lookup: %v", err)
						return
					}
					ended = !stands(snap)
				} else {
					page, err := c.s.Feed(c.ctx, head, 10)
					if err != nil {
						c.Errorf("Feed: %v", err)
						return
					}
					ended = len(page.Endings) == 1
				}
				if done && !ended {
					c.Errorf("an ending that was seen is not seen by a later read")
					return
				}
				if ended {
					seen.Store(true)
				}
			}
		})
	}
}

// endsInCreateAreAtomic: whoever sees the new session sees the old one ended,
// and the other way round.
func endsInCreateAreAtomic(c *trial) {
	old := c.created("ann", "web")
	for range rounds(200) {
		next := c.session("ann", "web")
		creation := rescind.Creation{Session: next, End: []rescind.End{c.ending(old)}}
		var done atomic.Bool
		race(3, func(i int) {
			if i == 0 {
				if _, err := c.s.Create(c.ctx, creation); err != nil {
					c.Errorf("Create: %v", err)
				}
				done.Store(true)
				return
			}
			first, second := old.ID, next.ID
			if i == 2 {
				first, second = second, first
			}
			taken := func(id rescind.SessionID) bool { // the step, to judge by this session
				snap, err := c.s.Lookup(c.ctx, id)
				if err != nil {
					c.Errorf("Lookup: %v", err)
				}
				if id == next.ID {
					return snap.Found
				}
				return snap.Session.Ended()
			}
			for last := false; !last; {
				last = done.Load()
				if taken(first) && !taken(second) {
					c.Errorf("half a Create is seen, by a reader of the %s session first", []string{"", "old", "new"}[i])
					return
				}
			}
		})
		old = next
	}
}

// lookupIsOneAtomicRead: a session that is kept at every cutoff of its subject
// never looks ended, for its birth and the cutoff move in one step.
func lookupIsOneAtomicRead(c *trial) {
	s := c.created("ann", "web")
	tag := s.ID.Tag()
	var done atomic.Bool
	race(4, func(i int) {
		if i == 0 {
			defer done.Store(true)
			for version := s.Version; version < s.Version+uint64(rounds(500)); version++ {
				m := c.cutoffs(s)[0]
				m.Keep = &rescind.Keep{Session: s.ID, Version: version}
				if _, err := c.s.MoveCutoff(c.ctx, m); err != nil {
					c.Errorf("MoveCutoff that keeps version %d: %v", version, err)
					return
				}
			}
			return
		}
		for !done.Load() {
			var snap rescind.Snapshot
			var err error
			if i == 1 {
				var page rescind.ListPage
				if page, err = c.s.List(c.ctx, rescind.ListQuery{Tag: &tag, Limit: 10}); err == nil && len(page.Sessions) == 1 {
					snap = page.Sessions[0]
				}
			} else {
				snap, err = c.s.Lookup(c.ctx, s.ID)
			}
			if err != nil || !stands(snap) {
				c.Errorf("a session that every cutoff kept is seen as: %s, %v", showSnapshot(snap), err)
				return
			}
		}
	})
}

// cutoffAndCreateAgree: a login that returned before a cutoff began is behind
// it, one that began after the cutoff returned is not, and one in between is on
// the side that its birth says.
func cutoffAndCreateAgree(c *trial) {
	for round := range rounds(100) {
		var mu sync.Mutex
		var born, early []rescind.Session
		var cut rescind.Position
		var began, returned atomic.Bool
		probe := c.created("ann", "web") // it tells where the cutoff lies in its shard
		m := c.cutoffs(probe)[round%3]
		race(4, func(i int) {
			if i == 0 {
				for range round {
					runtime.Gosched() // some logins come first
				}
				began.Store(true)
				p, err := c.s.MoveCutoff(c.ctx, m)
				if err != nil {
					c.Errorf("MoveCutoff: %v", err)
				}
				snap, err := c.s.Lookup(c.ctx, probe.ID)
				if err != nil {
					c.Errorf("Lookup: %v", err)
				}
				cut = []rescind.Position{snap.Cutoffs.Subject, snap.Cutoffs.Client, snap.Cutoffs.All}[round%3]
				if p.Shard() == cut.Shard() && p != cut {
					c.Errorf("MoveCutoff returned %d, and then the cutoff is %d", p, cut)
				}
				returned.Store(true)
				return
			}
			for after := 0; after < 2; {
				s, late := c.session("ann", "web"), returned.Load()
				birth, err := c.s.Create(c.ctx, rescind.Creation{Session: s})
				if err != nil {
					c.Errorf("Create: %v", err)
					return
				}
				before := !began.Load()
				s.Birth = birth
				if late {
					after++
					if birth < cut {
						c.Errorf("a login after the cutoff at %d is born at %d", cut, birth)
					}
				}
				mu.Lock()
				if born = append(born, s); before {
					early = append(early, s)
				}
				mu.Unlock()
			}
		})
		for _, s := range early {
			if s.Birth >= cut {
				c.Fatalf("a login before the cutoff at %d is born at %d", cut, s.Birth)
			}
		}
		for _, s := range born {
			if got := stands(c.lookup(s.ID)); got != (s.Birth >= cut) {
				c.Fatalf("born at %d, the cutoff at %d: standing is %t", s.Birth, cut, got)
			}
		}
	}
}

func positionsAreDenseUnderLoad(c *trial) {
	const workers, each = 16, 20
	var mu sync.Mutex
	taken, sweeps := make([][]rescind.Position, c.shards), 0
	starts := map[string]rescind.Position{}
	for _, subject := range []string{"ann", "ben", "cat"} {
		starts[subject] = c.place(tagOf(subject))
	}
	race(workers, func(i int) {
		for range each {
			s := c.session([]string{"ann", "ben", "cat"}[i%3], "web")
			if _, err := c.s.Create(c.ctx, rescind.Creation{Session: s}); err != nil {
				c.Errorf("Create: %v", err)
				return
			}
			var p rescind.Position
			var err error
			if i%4 == 0 {
				p, err = c.s.MoveCutoff(c.ctx, rescind.CutoffMove{Kind: rescind.EndClient, Name: "other", At: s.CreatedAt, Event: newEvent(rescind.EventClientEnded, s, s.CreatedAt)})
			} else {
				var e rescind.Ended
				e, err = c.s.End(c.ctx, c.ending(s))
				if p = e.Position; p.Shard() != starts[s.Subject].Shard() {
					c.Errorf("a session of shard %d ended at %d", starts[s.Subject].Shard(), p)
				}
			}
			page, ferr := c.s.Feed(c.ctx, p-1, 1)
			if err != nil || ferr != nil || len(page.Endings) != 1 || page.Endings[0].Position != p || page.Head < p {
				c.Errorf("position %d was returned, and the feed behind %d is %+v: %v, %v", p, p-1, page, err, ferr)
				return
			}
			mu.Lock()
			taken[p.Shard()] = append(taken[p.Shard()], p)
			if i%4 == 0 {
				sweeps++ // it has a position in every shard, and returns that in the last
			}
			mu.Unlock()
		}
	})
	for shard, positions := range taken {
		start, last := rescind.ShardStart(shard), shard == c.shards-1
		slices.Sort(positions)
		for i, p := range positions {
			if last && p != start+rescind.Position(i+1) || i > 0 && p == positions[i-1] {
				c.Fatalf("number %d of the positions returned of shard %d is %d", i+1, shard, p)
			}
		}
		want := len(positions)
		if !last {
			want += sweeps
		}
		if n := len(c.feed(start)); n != want {
			c.Fatalf("the feed of shard %d has %d endings of %d", shard, n, want)
		}
	}
	if n := len(c.events(rescind.EventQuery{Limit: 50})); n != workers*each {
		c.Fatalf("the log has %d events of %d", n, workers*each)
	}
}
