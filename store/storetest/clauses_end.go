package storetest

import (
	"time"

	"github.com/rescind/rescind"
)

func endClauses() []clause {
	return []clause{
		{"EndEndsAndBumpsTheVersion", endEndsAndBumpsTheVersion},
		{"EndIsUnconditional", endIsUnconditional},
		{"EndIsIdempotentAndReportsHead", endIsIdempotentAndReportsHead},
		{"EndOfNothingChangesNothing", endOfNothingChangesNothing},
	}
}

func endEndsAndBumpsTheVersion(c *trial) {
	s, other := c.created("ann", "web"), c.created("ann", "web")
	head := c.head("ann")
	e := c.ending(s)
	e.Reason, e.At = rescind.ReasonReuse, c.now().Add(-time.Minute)
	got, err := c.s.End(c.ctx, e)
	c.must("End", err)
	if !got.Changed || got.Position != head+1 || c.head("ann") != head+1 {
		c.Fatalf("End at the head %d returned %+v, and the head is %d", head, got, c.head("ann"))
	}
	want := s
	want.Version, want.EndedAt, want.EndReason = 2, e.At, e.Reason
	c.equal("the session", showSession(c.found(s.ID).Session), showSession(want))
	c.equal("the ending", showEndings(c.feed(head)), showEndings([]rescind.Ending{
		{Position: head + 1, Kind: rescind.EndSession, Session: s.ID, At: e.At}}))
	c.mustStand("another session of the subject", other.ID)
	c.restart()
	c.equal("the session after a restart", showSession(c.found(s.ID).Session), showSession(want))
}

// endIsUnconditional: whatever a swap did meanwhile, the end does not compare.
func endIsUnconditional(c *trial) {
	s := c.created("ann", "web")
	for range 5 {
		c.must("Replace", c.replace(s))
		s.Version++
	}
	c.must("Touch", c.s.Touch(c.ctx, s.ID, c.now().Add(time.Second)))
	if got := c.end(s); !got.Changed {
		c.Fatalf("End changed nothing: %+v", got)
	}
	c.mustBeOver("after End", s.ID)
	c.mustConflict("Replace of the version before the end", c.replace(s))
}

func endIsIdempotentAndReportsHead(c *trial) {
	s := c.created("ann", "web")
	first := c.end(s)
	later := c.end(c.created(c.beside("ben", "ann"), "web"))
	c.unchanged("the second End", func() {
		e := c.ending(s)
		e.Reason, e.At = rescind.ReasonRevoked, c.now().Add(time.Hour)
		got, err := c.s.End(c.ctx, e)
		c.must("End", err)
		if got.Changed || got.Position != later.Position {
			c.Fatalf("the first End took position %d, the head is %d, the second End returned %+v", first.Position, later.Position, got)
		}
	})
}

func endOfNothingChangesNothing(c *trial) {
	c.end(c.created("ann", "web"))
	head := c.head("ann")
	c.unchanged("End of nothing", func() {
		if got := c.end(c.session("ann", "web")); got.Changed || got.Position != head {
			c.Fatalf("End of nothing returned %+v, the head is %d", got, head)
		}
	})
}

func touchClauses() []clause {
	return []clause{
		{"TouchTakesTheMaximum", touchTakesTheMaximum},
		{"TouchNeverInserts", touchNeverInserts},
		{"TouchNeverRevives", touchNeverRevives},
		{"TouchRespectsIdleTimeout", touchRespectsIdleTimeout},
	}
}

func touchTakesTheMaximum(c *trial) {
	s := c.created("ann", "web")
	head, logged := c.head("ann"), len(c.events(rescind.EventQuery{}))
	start := s.LastActive
	for _, step := range []struct{ at, want time.Duration }{{60, 60}, {30, 60}, {-60, 60}, {60, 60}, {90, 90}} {
		c.must("Touch", c.s.Touch(c.ctx, s.ID, start.Add(step.at*time.Second)))
		s.LastActive = start.Add(step.want * time.Second)
		c.equal("the session, its version too", showSession(c.found(s.ID).Session), showSession(s))
	}
	c.must("Replace of the version that was touched", c.replace(s))
	if c.head("ann") != head || len(c.events(rescind.EventQuery{})) != logged+1 {
		c.Fatalf("Touch took a position or wrote an event")
	}
}

func touchNeverInserts(c *trial) {
	c.created("ann", "web")
	nobody := c.session("ann", "web")
	c.unchanged("Touch of nothing", func() { c.must("Touch", c.s.Touch(c.ctx, nobody.ID, c.now())) })
	if c.lookup(nobody.ID).Found {
		c.Fatalf("Touch inserted a session")
	}
}

func touchNeverRevives(c *trial) {
	s := c.created("ann", "web")
	c.end(s)
	c.unchanged("Touch of an ended session", func() { c.must("Touch", c.s.Touch(c.ctx, s.ID, c.now().Add(time.Minute))) })
	for i := range 3 {
		s := c.created("ann", "web")
		c.move(c.cutoffs(s)[i])
		c.must("Touch", c.s.Touch(c.ctx, s.ID, c.now().Add(time.Minute)))
		c.mustBeOver("touched behind a cutoff", s.ID)
	}
}

// idling returns sessions past, at and short of their idle time-out.
func (c *trial) idling() (idle, just, busy rescind.Session) {
	now := c.now().Truncate(time.Millisecond)
	made := func(since time.Duration) rescind.Session {
		s := c.session("ann", "web")
		s.IdleTimeout, s.LastActive = time.Hour, now.Add(-since)
		return c.create(s)
	}
	return made(61 * time.Minute), made(time.Hour), made(59 * time.Minute)
}

func touchRespectsIdleTimeout(c *trial) {
	idle, just, busy := c.idling()
	at := c.now()
	for _, s := range []rescind.Session{idle, just, busy} {
		c.must("Touch", c.s.Touch(c.ctx, s.ID, at))
	}
	busy.LastActive = at
	c.equal("a session idle past its timeout", showSession(c.found(idle.ID).Session), showSession(idle))
	c.equal("a session idle as of now", showSession(c.found(just.ID).Session), showSession(just))
	c.equal("a session not yet idle", showSession(c.found(busy.ID).Session), showSession(busy))
}
