package storetest

import (
	"github.com/rescind/rescind"
)

func cutoffClauses() []clause {
	return []clause{
		{"CutoffEndsAllBornBefore", cutoffEndsAllBornBefore},
		{"CutoffSparesOthers", cutoffSparesOthers},
		{"SameMillisecondLoginAfterCutoffLives", sameMillisecondLoginAfterCutoffLives},
		{"CutoffIsOneWriteHoweverMany", cutoffIsOneWriteHoweverMany},
		{"CutoffsAreThoseOfTheirLastMove", cutoffsAreThoseOfTheirLastMove},
		{"KeepSurvivesWithNewBirth", keepSurvivesWithNewBirth},
		{"KeepIsCompared", keepIsCompared},
	}
}

func cutoffEndsAllBornBefore(c *trial) {
	ben := c.beside("ben", "ann")
	for i := range 3 {
		var born []rescind.Session
		for range 3 {
			born = append(born, c.created("ann", "web"))
			c.end(c.created(ben, "app"))
			born = append(born, c.created("ann", "web")) // born at the head, right before the cutoff
		}
		heads, logged := c.heads(), len(c.events(rescind.EventQuery{}))
		m := c.cutoffs(born[0])[i]
		p := c.move(m)
		for range 2 {
			for _, s := range born {
				c.mustBeOver("born before the cutoff", s.ID)
			}
			c.moved(m, heads, p)
			c.restart()
		}
		if events := c.events(rescind.EventQuery{}); len(events) != logged+1 || showEvent(events[logged]) != showEvent(m.Event) {
			c.Fatalf("MoveCutoff wrote these events, want its one:\n%s", lines(events[logged:], showEvent))
		}
	}
}

func cutoffSparesOthers(c *trial) {
	ann, ben := c.created("ann", "web"), c.created("ben", "app")
	for i, spared := range [][]rescind.Session{{ben}, {ben}} {
		c.move(c.cutoffs(ann)[i])
		c.mustBeOver("the one that was meant", ann.ID)
		for _, s := range spared {
			c.mustStand("another subject's session at another client", s.ID)
			if cut := c.found(s.ID).Cutoffs; cut != (rescind.Cutoffs{}) {
				c.Fatalf("another's cutoff concerns the session: %+v", cut)
			}
		}
		ann = c.created("ann", "web")
	}
	// A client's name that begins another's is not that other.
	short, long := c.created("cat", "ab"), c.created("cat", "abc")
	c.move(c.cutoffs(short)[1])
	c.mustBeOver("the client's session", short.ID)
	c.mustStand("the session of a client with a longer name", long.ID)
}

func sameMillisecondLoginAfterCutoffLives(c *trial) {
	for i := range 3 {
		for range 3 { // time stands still meanwhile, unless the store has a clock of its own
			before := c.created("ann", "web")
			p := c.move(c.cutoffs(before)[i])
			if i > 0 {
				p = c.here(p, "ann")
			}
			after := c.created("ann", "web")
			if after.Birth < p {
				c.Fatalf("a login after the cutoff at %d is born at %d", p, after.Birth)
			}
			c.mustBeOver("born before the cutoff", before.ID)
			c.mustStand("born after the cutoff", after.ID)
			c.must("Replace of a session born after the cutoff", c.replace(after))
			c.must("Touch", c.s.Touch(c.ctx, after.ID, c.now()))
			c.mustStand("born after the cutoff", after.ID)
		}
	}
}

func cutoffIsOneWriteHoweverMany(c *trial) {
	const many = 300
	sessions := make([]rescind.Session, many)
	for i := range sessions {
		sessions[i] = c.created("ann", "web")
	}
	head := c.head("ann")
	if p := c.move(c.cutoffs(sessions[0])[0]); p != head+1 {
		c.Fatalf("the cutoff of %d sessions took %d positions", many, p-head)
	}
	tag := tagOf("ann")
	list := c.list(&tag, 100)
	if len(list) != many {
		c.Fatalf("List has %d sessions of %d", len(list), many)
	}
	for _, snap := range list {
		if stands(snap) {
			c.Fatalf("List shows a session as standing behind the cutoff: %s", showSnapshot(snap))
		}
	}
}

func cutoffsAreThoseOfTheirLastMove(c *trial) {
	s, ben := c.created("ann", "web"), c.beside("ben", "ann")
	var want rescind.Cutoffs
	for range 2 {
		for i, field := range []*rescind.Position{&want.Subject, &want.Client, &want.All} {
			*field = c.move(c.cutoffs(s)[i])
			if i > 0 {
				*field = c.here(*field, "ann")
			}
			c.end(c.created(ben, "app"))
			if got := c.found(s.ID).Cutoffs; got != want {
				c.Fatalf("cutoffs are %+v, want %+v", got, want)
			}
		}
	}
	c.restart()
	if got := c.found(s.ID).Cutoffs; got != want {
		c.Fatalf("after a restart cutoffs are %+v, want %+v", got, want)
	}
	tag := s.ID.Tag()
	if list := c.list(&tag, 10); len(list) != 1 || list[0].Cutoffs != want {
		c.Fatalf("List shows other cutoffs than %+v:\n%s", want, lines(list, showSnapshot))
	}
}

func keepSurvivesWithNewBirth(c *trial) {
	kept, other := c.created("ann", "web"), c.created("ann", "web")
	c.must("Replace", c.replace(kept))
	kept.Version++
	for range 3 {
		head := c.head("ann")
		m := c.cutoffs(kept)[0]
		m.Keep = &rescind.Keep{Session: kept.ID, Version: kept.Version}
		p := c.move(m)
		kept.Birth, kept.Version = p, kept.Version+1
		c.equal("the session that was kept", showSession(c.found(kept.ID).Session), showSession(kept))
		c.mustStand("the session that was kept", kept.ID)
		c.mustBeOver("the other one", other.ID)
		c.equal("the ending says whom it spares", showEndings(c.feed(head)), showEndings([]rescind.Ending{
			{Position: head + 1, Kind: rescind.EndSubject, Tag: m.Tag, Session: kept.ID, At: m.At}}))
		c.must("Replace of the session that was kept", c.replace(kept))
		kept.Version++
		other = c.created("ann", "web")
	}
	c.restart()
	c.mustStand("the session that was kept, after a restart", kept.ID)
	c.move(c.cutoffs(kept)[0])
	c.mustBeOver("the session that was kept, behind the next cutoff", kept.ID)
}

// keepIsCompared: nothing can be kept that has ended or changed meanwhile, and
// then the cutoff does not move either.
func keepIsCompared(c *trial) {
	bystander := c.created("ann", "app")
	refuse := func(what string, s rescind.Session, version uint64) {
		c.Helper()
		c.unchanged(what, func() {
			m := c.cutoffs(s)[0]
			m.Keep = &rescind.Keep{Session: s.ID, Version: version}
			_, err := c.s.MoveCutoff(c.ctx, m)
			c.mustConflict(what, err)
		})
	}
	s := c.created("ann", "web")
	refuse("keeping a version that is not yet", s, 2)
	c.must("Replace", c.replace(s))
	refuse("keeping a version that was", s, 1)
	refuse("keeping no session", c.session("ann", "web"), 1)
	c.mustStand("a session of a cutoff that was refused", s.ID)
	c.end(s)
	refuse("keeping an ended session", s, 3)
	refuse("keeping the version before the end", s, 2)
	c.mustStand("a session of a cutoff that was refused", bystander.ID)
	for i := range 3 {
		s := c.created("ann", "web")
		c.move(c.cutoffs(s)[i])
		refuse("keeping a session that a cutoff has passed", s, 1)
		c.mustBeOver("after the refusal", s.ID)
	}
}
