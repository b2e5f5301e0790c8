package storetest

import (
	"bytes"
	"strings"
	"time"

	"github.com/rescind/rescind"
)

func sessionClauses() []clause {
	return []clause{
		{"CreatedSessionIsReadAsWritten", createdSessionIsReadAsWritten},
		{"CreatedAsEndedIsEnded", createdAsEndedIsEnded},
		{"LookupOfNothingIsNoError", lookupOfNothingIsNoError},
		{"BirthIsTheHeadOfTheFeed", birthIsTheHeadOfTheFeed},
		{"CreateRefusesAnIDThatIsThere", createRefusesAnIDThatIsThere},
		{"EndsInCreateAreItsOwnStep", endsInCreateAreItsOwnStep},
		{"CountGuardsCreates", countGuardsCreates},
		{"ReplaceWritesOverItsVersion", replaceWritesOverItsVersion},
		{"ReplaceRefusesAnotherVersion", replaceRefusesAnotherVersion},
		{"ReplaceNeverInserts", replaceNeverInserts},
		{"ReplaceKeepsTheLaterActivity", replaceKeepsTheLaterActivity},
		{"EndedSessionIsNeverRevivedByReplace", endedSessionIsNeverRevivedByReplace},
		{"ReplaceRefusesPassedCutoff", replaceRefusesPassedCutoff},
		{"ReplaceRespectsIdleTimeout", replaceRespectsIdleTimeout},
		{"DroppedTokensTakePositions", droppedTokensTakePositions},
		{"LimitsAreHeld", limitsAreHeld},
		{"ValuesAreNotShared", valuesAreNotShared},
	}
}

func createdSessionIsReadAsWritten(c *trial) {
	s := c.session("ann", "web")
	s.Confirmation, s.Generation = "jkt", 7
	s.Version, s.Birth = 99, 99 // not the caller's to choose
	birth, err := c.s.Create(c.ctx, rescind.Creation{Session: s})
	c.must("Create", err)
	s.Version, s.Birth = 1, birth
	c.equal("the session", showSession(c.found(s.ID).Session), showSession(s))
	bare := rescind.Session{ID: rescind.NewSessionID(tagOf("ben")), Subject: "ben", Client: "web",
		CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, LastActive: s.LastActive, IdleTimeout: time.Hour}
	bare = c.create(bare)
	c.equal("a bare session", showSession(c.found(bare.ID).Session), showSession(bare))
	c.equal("the first session", showSession(c.found(s.ID).Session), showSession(s))
}

func createdAsEndedIsEnded(c *trial) {
	s := c.session("ann", "web")
	s.EndedAt, s.EndReason = c.now().Add(-time.Hour).Truncate(time.Millisecond), rescind.ReasonReuse
	head := c.head("ann")
	s = c.create(s)
	for range 2 {
		c.equal("a session created as ended", showSession(c.found(s.ID).Session), showSession(s))
		ended, err := c.s.End(c.ctx, rescind.End{Session: s.ID, At: c.now(), Reason: rescind.ReasonLogout})
		c.must("End", err)
		if ended.Changed || ended.Position != head || c.head("ann") != head {
			c.Fatalf("what was created as ended was ended: %+v, the head went from %d to %d", ended, head, c.head("ann"))
		}
		c.mustConflict("Replace of what was created as ended", c.replace(s))
		c.restart()
	}
}

func lookupOfNothingIsNoError(c *trial) {
	c.created("ann", "web")
	for _, id := range []rescind.SessionID{{}, rescind.NewSessionID(tagOf("ann")), rescind.NewSessionID(tagOf("zoe"))} {
		if snap := c.lookup(id); snap.Found {
			c.Fatalf("Lookup found %s, which was never created", id)
		}
	}
}

func birthIsTheHeadOfTheFeed(c *trial) {
	ben := c.beside("ben", "ann")
	for range 3 {
		s := c.created("ann", "web")
		if s.Birth != c.head("ann") {
			c.Fatalf("birth is %d, the head of the feed is %d", s.Birth, c.head("ann"))
		}
		c.equal("the birth returned is the one kept", showSession(c.found(s.ID).Session), showSession(s))
		c.end(c.created(ben, "web"))
	}
}

func createRefusesAnIDThatIsThere(c *trial) {
	s, other := c.created("ann", "web"), c.created("ann", "web")
	again := func(what string) {
		c.unchanged(what, func() {
			fresh := c.session("ann", "app")
			fresh.ID = s.ID
			_, err := c.s.Create(c.ctx, rescind.Creation{
				Session: fresh, End: []rescind.End{c.ending(other)},
				Events: []rescind.Event{newEvent(rescind.EventSessionCreated, fresh, c.now())},
			})
			c.mustConflict(what, err)
		})
	}
	again("Create over an active session")
	c.end(s)
	again("Create over an ended session")
	c.mustBeOver("after Create was refused", s.ID)
}

func endsInCreateAreItsOwnStep(c *trial) {
	old, done, stays := c.created("ann", "web"), c.created("ann", "web"), c.created("ann", "web")
	c.end(done)
	head, logged := c.head("ann"), len(c.events(rescind.EventQuery{}))
	s, nobody := c.session("ann", "web"), c.session("ann", "web")
	end := c.ending(old)
	end.Reason = rescind.ReasonReplaced
	birth, err := c.s.Create(c.ctx, rescind.Creation{
		Session: s, End: []rescind.End{end, c.ending(done), c.ending(nobody)},
		Events: []rescind.Event{newEvent(rescind.EventSessionCreated, s, c.now())},
	})
	c.must("Create", err)
	if birth != head+1 || c.head("ann") != head+1 {
		c.Fatalf("one session ended at the head %d: birth is %d and the head %d, want both behind the ending", head, birth, c.head("ann"))
	}
	c.mustStand("the new session", s.ID)
	c.mustStand("a session not named", stays.ID)
	old.EndedAt, old.EndReason, old.Version = end.At, end.Reason, 2
	c.equal("the session that ended", showSession(c.found(old.ID).Session), showSession(old))
	c.equal("the ending", showEndings(c.feed(head)), showEndings([]rescind.Ending{
		{Position: head + 1, Kind: rescind.EndSession, Session: old.ID, At: end.At}}))
	if n := len(c.events(rescind.EventQuery{})) - logged; n != 2 {
		c.Fatalf("Create wrote %d events, want its own and one of the one session that ended", n)
	}
}

func countGuardsCreates(c *trial) {
	count := func() uint64 { return c.count(tagOf("ann")) }
	create := func(n uint64, end ...rescind.End) error {
		_, err := c.s.Create(c.ctx, rescind.Creation{Session: c.session("ann", "web"), Count: &n, End: end})
		return err
	}
	n := count()
	c.must("Create with the count", create(n))
	if count() == n {
		c.Fatalf("a create that gave Count did not advance it from %d", n)
	}
	c.unchanged("Create with a count passed", func() { c.mustConflict("Create with a count passed", create(n)) })
	old := c.created("ann", "web") // gives no count
	c.unchanged("Create with another count", func() {
		c.mustConflict("Create with another count", create(count()+1, c.ending(old)))
	})
	c.must("Create with the count of now", create(count()))
	bens := c.count(tagOf("ben"))
	if bens != n {
		c.Fatalf("the counter of one subject moved another's from %d to %d", n, bens)
	}
	_, err := c.s.Create(c.ctx, rescind.Creation{Session: c.session("ben", "web"), Count: &bens})
	c.must("Create of another subject, whose counter is its own", err)
	was := count()
	c.restart()
	if count() != was {
		c.Fatalf("the counter was %d and is %d after a restart", was, count())
	}
}

func replaceWritesOverItsVersion(c *trial) {
	s := c.created("ann", "web")
	c.end(c.created(c.beside("ben", "ann"), "web")) // the head moves on, the birth does not
	for i := range 3 {
		next := s
		next.Generation++
		next.Scope, next.Claims, next.Audience = "read", []byte(`{}`), []string{"a", "b"}
		next.Access = append([]rescind.AccessEntry{newAccess(next.Generation, c.now())}, next.Access...)
		next.RotatedAt, next.LastActive = c.now().Add(time.Second), s.LastActive.Add(time.Duration(i)*time.Second)
		next.Birth = 0 // not the caller's to choose
		head := c.head("ann")
		c.must("Replace", c.replace(next))
		next.Birth, next.Version = s.Birth, s.Version+1
		c.equal("the session", showSession(c.found(s.ID).Session), showSession(next))
		if c.head("ann") != head {
			c.Fatalf("Replace moved the head from %d to %d and dropped no token", head, c.head("ann"))
		}
		s = next
	}
	next := s
	next.Birth = c.head("ann") + 100
	c.must("Replace", c.replace(next))
	if got := c.found(s.ID).Session.Birth; got != s.Birth {
		c.Fatalf("Replace moved the birth from %d to %d", s.Birth, got)
	}
}

func replaceRefusesAnotherVersion(c *trial) {
	s := c.created("ann", "web")
	c.must("Replace", c.replace(s))
	for _, version := range []uint64{0, 1, 3, 1 << 40} {
		stale := s
		stale.Version, stale.Scope = version, "all"
		c.unchanged("Replace of another version", func() {
			c.mustConflict("Replace of another version", c.replace(stale, rescind.TokenID{1}))
		})
	}
}

func replaceNeverInserts(c *trial) {
	for _, version := range []uint64{0, 1} {
		s := c.session("ann", "web")
		s.Version = version
		c.unchanged("Replace of nothing", func() { c.mustConflict("Replace of nothing", c.replace(s, rescind.TokenID{1})) })
		if c.lookup(s.ID).Found {
			c.Fatalf("Replace inserted a session")
		}
	}
}

func replaceKeepsTheLaterActivity(c *trial) {
	s := c.created("ann", "web")
	c.must("Touch", c.s.Touch(c.ctx, s.ID, s.LastActive.Add(time.Minute)))
	c.must("Replace", c.replace(s)) // read before the touch
	if got, want := c.found(s.ID).Session.LastActive, s.LastActive.Add(time.Minute); !got.Equal(want) {
		c.Fatalf("Replace took the activity back to %s from %s", showTime(got), showTime(want))
	}
}

func replaceRespectsIdleTimeout(c *trial) {
	idle, just, busy := c.idling()
	for _, s := range []rescind.Session{idle, just} {
		s.LastActive = c.now()
		c.unchanged("Replace of an idle session", func() {
			c.mustConflict("Replace of an idle session", c.replace(s, rescind.TokenID{1}))
		})
	}
	c.must("Replace of a session not yet idle", c.replace(busy))
}

func endedSessionIsNeverRevivedByReplace(c *trial) {
	s := c.created("ann", "web")
	c.must("Replace", c.replace(s))
	s.Version++
	c.end(s)
	for version := range s.Version + 3 {
		again := s
		again.Version = version
		c.unchanged("Replace of an ended session", func() {
			c.mustConflict("Replace of an ended session", c.replace(again, rescind.TokenID{1}))
		})
	}
	c.mustBeOver("after Replace was refused", s.ID)
	c.restart()
	c.mustBeOver("after Replace was refused and a restart", s.ID)
}

func replaceRefusesPassedCutoff(c *trial) {
	for i := range 3 {
		s := c.created("ann", "web")
		m := c.cutoffs(s)[i]
		c.move(m)
		for range 2 {
			c.unchanged("Replace behind a cutoff", func() {
				now := c.found(s.ID).Session
				now.Birth = c.head("ann") + 1 // not the caller's to choose
				c.mustConflict("Replace behind a cutoff", c.replace(now, rescind.TokenID{1}))
			})
			c.mustBeOver("behind a cutoff", s.ID)
			c.restart()
		}
	}
}

func droppedTokensTakePositions(c *trial) {
	s := c.created("ann", "web")
	head, logged := c.head("ann"), len(c.events(rescind.EventQuery{}))
	dropped := []rescind.TokenID{{1}, {2}, {3}}
	c.must("Replace", c.replace(s, dropped...))
	var want []rescind.Ending
	for i, id := range dropped {
		want = append(want, rescind.Ending{Position: head + 1 + rescind.Position(i), Kind: rescind.EndToken, Session: s.ID, Token: id})
	}
	got := c.feed(head)
	c.equal("the endings", showEndings(got), showEndings(want))
	if d := got[0].At.Sub(c.now()); d < -time.Minute || d > time.Minute {
		c.Fatalf("a dropped token ended at %s, it is %s", showTime(got[0].At), showTime(c.now()))
	}
	c.mustStand("a session that lost tokens", s.ID)
	if n := len(c.events(rescind.EventQuery{})) - logged; n != 1 {
		c.Fatalf("Replace wrote %d events of the one it was given", n)
	}
}

// limitsAreHeld writes as much as a session may hold, in letters that a store
// could stumble over.
func limitsAreHeld(c *trial) {
	s := c.session(strings.Repeat("~", rescind.MaxSubject), strings.Repeat("c", 64))
	s.Audience = nil
	for i := range rescind.MaxAudiences {
		s.Audience = append(s.Audience, strings.Repeat(string(rune('a'+i)), rescind.MaxAudience))
	}
	s.Scope = strings.Repeat("scope%'\"\\ ", 103)[:rescind.MaxScope]
	s.Claims = []byte(`{"k":"` + strings.Repeat("x", rescind.MaxClaims-8) + `"}`)
	s.Device = rescind.Device{
		Name:      strings.Repeat("日本語のノート🔑", 20),
		UserAgent: strings.Repeat("\x00'\"\\%s\r\n\t;--\xff\xfe", 40)[:rescind.MaxDeviceField],
		IP:        "2001:db8::1%eth0",
	}
	s.ExpiresAt = s.CreatedAt.Add(rescind.MaxLifetime)
	s.IdleTimeout, s.AccessLifetime = rescind.MaxLifetime, rescind.MaxLifetime
	s.Generation = 1<<32 - 1
	s.Access = nil
	for i := range rescind.MaxAccessEntries {
		e := newAccess(s.Generation-uint32(i), c.now())
		e.Scope = s.Scope
		s.Access = append(s.Access, e)
	}
	s = c.create(s)
	c.equal("the largest session", showSession(c.found(s.ID).Session), showSession(s))
	c.must("Replace", c.replace(s))
	s.Version++
	c.restart()
	c.equal("the largest session after a restart", showSession(c.found(s.ID).Session), showSession(s))
	tag := s.ID.Tag()
	if list := c.list(&tag, 10); len(list) != 1 || showSession(list[0].Session) != showSession(s) {
		c.Fatalf("List shows the largest session otherwise:\n%s", lines(list, showSnapshot))
	}
}

func valuesAreNotShared(c *trial) {
	spoil := func(s *rescind.Session) {
		copy(s.Claims, bytes.Repeat([]byte("!"), len(s.Claims)))
		for i := range s.Audience {
			s.Audience[i] = "spoiled"
		}
		for i := range s.Access {
			s.Access[i] = rescind.AccessEntry{Scope: "spoiled"}
		}
	}
	given := c.session("ann", "web")
	id, want := given.ID, given
	events := []rescind.Event{newEvent(rescind.EventSessionCreated, given, c.now())}
	var err error
	want.Birth, err = c.s.Create(c.ctx, rescind.Creation{Session: given, Events: events})
	c.must("Create", err)
	text := strings.Replace(showSession(want), "v=0", "v=1", 1)
	eventText := showEvent(events[0])
	events[0] = rescind.Event{Detail: "spoiled"}
	spoil(&given)
	c.equal("after what Create was given changed", showSession(c.found(id).Session), text)

	snap := c.found(id)
	spoil(&snap.Session)
	c.equal("after what Lookup returned changed", showSession(c.found(id).Session), text)
	spoil(&c.list(nil, 10)[0].Session)
	c.equal("after what List returned changed", showSession(c.found(id).Session), text)
	c.purge(rescind.PurgeStep{Limit: 10, Drop: func(s *rescind.Snapshot) bool {
		spoil(&s.Session)
		s.Session.EndedAt = time.Now()
		return false
	}, DropEvent: func(e *rescind.Event) bool {
		*e = rescind.Event{}
		return false
	}})
	c.equal("after what Purge has shown changed", showSession(c.found(id).Session), text)

	next := c.found(id).Session
	text = strings.Replace(showSession(next), "v=1", "v=2", 1)
	dropped := []rescind.TokenID{{1}}
	c.must("Replace", c.replace(next, dropped...))
	spoil(&next)
	dropped[0] = rescind.TokenID{9}
	c.equal("after what Replace was given changed", showSession(c.found(id).Session), text)

	endings := c.feeds()
	endingText := showEndings(endings)
	endings[0] = rescind.Ending{}
	c.equal("after what Feed returned changed", showEndings(c.feeds()), endingText)
	logged := c.events(rescind.EventQuery{Kind: rescind.EventSessionCreated})
	logged[0].Detail = "spoiled"
	c.equal("the event", lines(c.events(rescind.EventQuery{Kind: rescind.EventSessionCreated}), showEvent), eventText+"\n")

	docs := []rescind.Document{{Kind: "client", ID: "web", Value: []byte("value")}}
	c.configure(rescind.Change{Documents: docs})
	docs[0].Value[0] = '!'
	docs[0] = rescind.Document{}
	cfg := c.config()
	cfgText := showConfig(rescind.StoreConfig{Version: cfg.Version, Documents: []rescind.Document{{Kind: "client", ID: "web", Value: []byte("value")}}})
	c.equal("after what Configure was given changed", showConfig(cfg), cfgText)
	cfg.Documents[0].Value[0] = '!'
	c.equal("after what Config returned changed", showConfig(c.config()), cfgText)
}
