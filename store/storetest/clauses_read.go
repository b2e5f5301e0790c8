package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind"
)

func feedClauses() []clause {
	return []clause{
		{"PositionsAreDense", positionsAreDense},
		{"FeedPagesAreBounded", feedPagesAreBounded},
		{"NoncesAreRandomAndStay", noncesAreRandomAndStay},
	}
}

// positionsAreDense: every ending takes exactly the next position, whatever
// kind of step it comes with.
func positionsAreDense(c *trial) {
	s, old := c.created("ann", "web"), c.created("ann", "web")
	start := c.head("ann")
	want := start
	at := func(what string, got, n rescind.Position) {
		c.Helper()
		want += n
		if got != want || c.head("ann") != want {
			c.Fatalf("%s: position %d, head %d, want %d", what, got, c.head("ann"), want)
		}
	}
	at("End", c.end(c.created(c.beside("ben", "ann"), "web")).Position, 1)
	c.must("Replace", c.replace(s, rescind.TokenID{1}, rescind.TokenID{2}))
	at("Replace that dropped two tokens", c.head("ann"), 2)
	p, err := c.s.Create(c.ctx, rescind.Creation{Session: c.session("ann", "web"), End: []rescind.End{c.ending(old), c.ending(s)}})
	c.must("Create", err)
	at("Create that ended two", p, 2)
	at("Create that ended none", c.created("ann", "web").Birth, 0)
	for i, m := range c.cutoffs(s) {
		p := c.move(m)
		if i > 0 {
			p = c.here(p, "ann")
		}
		at("MoveCutoff", p, 1)
	}
	c.restart()
	at("Configure of two endings", c.here(c.configure(rescind.Change{Ends: []rescind.Ending{
		{Kind: rescind.EndClient, Name: "web", At: c.now()}, {Kind: rescind.EndKey, Name: "k1", At: c.now()}}}), "ann"), 2)
	at("Configure of none", c.here(c.configure(rescind.Change{Documents: []rescind.Document{{Kind: "k", ID: "i", Value: []byte("v")}}}), "ann"), 0)
	if n := rescind.Position(len(c.feed(start))); n != want-start {
		c.Fatalf("the feed has %d endings from position %d to %d", n, start, want)
	}
}

func feedPagesAreBounded(c *trial) {
	const n = 25
	start := c.place(tagOf("ann"))
	var want []rescind.Ending
	for range n {
		e := c.ending(c.created("ann", "web"))
		got, err := c.s.End(c.ctx, e)
		c.must("End", err)
		want = append(want, rescind.Ending{Position: got.Position, Kind: rescind.EndSession, Session: e.Session, At: e.At})
	}
	for _, max := range []int{1, 7, n, n + 1, 1000} {
		for after := rescind.Position(0); after <= n; after++ {
			page, err := c.s.Feed(c.ctx, start+after, max)
			c.must("Feed", err)
			if page.Gone || page.Head != start+n || len(page.Endings) > max || len(page.Endings) == 0 && after < n {
				c.Fatalf("Feed(%d, %d) has %d endings, gone %t, head %d", after, max, len(page.Endings), page.Gone, page.Head)
			}
			c.equal("the page", showEndings(page.Endings), showEndings(want[after:][:len(page.Endings)]))
		}
	}
}

func noncesAreRandomAndStay(c *trial) {
	for range 20 {
		c.end(c.created("ann", "web"))
	}
	c.configure(rescind.Change{Ends: []rescind.Ending{{Kind: rescind.EndKey, Name: "k", At: c.now(), Nonce: [8]byte{1}, Position: 99}}})
	nonces := c.feeds
	first := nonces()
	seen := map[[8]byte]bool{{}: true, {1}: true}
	for _, e := range first {
		if seen[e.Nonce] {
			c.Fatalf("the nonce %x of position %d is not random", e.Nonce, e.Position)
		}
		seen[e.Nonce] = true
	}
	c.restart()
	for i, e := range nonces() {
		if e.Nonce != first[i].Nonce {
			c.Fatalf("the nonce of position %d has changed", e.Position)
		}
	}
}

func listClauses() []clause {
	return []clause{
		{"ListIsInOrderOfIDs", listIsInOrderOfIDs},
		{"ListIsAsLookup", listIsAsLookup},
	}
}

func listIsInOrderOfIDs(c *trial) {
	const each = 40
	all := map[string][]rescind.SessionID{}
	for i := range each {
		for _, subject := range []string{"ann", "ben", "cat"} {
			s := c.created(subject, "web")
			all[subject] = append(all[subject], s.ID)
			all[""] = append(all[""], s.ID)
			if i%4 == 0 {
				c.end(s)
			}
		}
	}
	for subject, ids := range all {
		slices.SortFunc(ids, compareIDs)
		q := rescind.ListQuery{}
		if subject != "" {
			tag := tagOf(subject)
			q.Tag = &tag
		}
		for _, limit := range []int{1, 7, each, 1000} {
			got := c.list(q.Tag, limit)
			c.equal(fmt.Sprintf("List of %q, %d a page", subject, limit),
				lines(got, func(s rescind.Snapshot) string { return s.Session.ID.String() }), lines(ids, rescind.SessionID.String))
		}
		// After need not be an id that is there.
		for i, id := range ids {
			q.After, q.Limit = id, 1
			q.After[len(id)-1]--
			if q.After[len(id)-1] == 255 {
				continue
			}
			page, err := c.s.List(c.ctx, q)
			c.must("List", err)
			if len(page.Sessions) != 1 || page.Sessions[0].Session.ID != id || page.More && i == len(ids)-1 {
				c.Fatalf("List of %q after %s does not begin with %s, number %d of %d:\n%s", subject, q.After, id, i+1, len(ids), lines(page.Sessions, showSnapshot))
			}
		}
	}
	nobody := tagOf("nobody")
	if list := c.list(&nobody, 10); len(list) != 0 {
		c.Fatalf("List of a subject with no session has %d", len(list))
	}
	tag := tagOf("ann")
	for _, fill := range []byte{0x00, 0xff} {
		var after rescind.SessionID
		copy(after[:], bytes.Repeat([]byte{fill}, len(after)))
		page, err := c.s.List(c.ctx, rescind.ListQuery{Tag: &tag, After: after, Limit: 1000})
		c.must("List", err)
		if want := map[byte]int{0x00: each, 0xff: 0}[fill]; len(page.Sessions) != want || page.More {
			c.Fatalf("List of a tag after %s has %d sessions, want %d", after, len(page.Sessions), want)
		}
	}
}

func listIsAsLookup(c *trial) {
	var all []rescind.Session
	for i := range 12 {
		all = append(all, c.created([]string{"ann", "ben", "cat"}[i%3], []string{"web", "app"}[i%2]))
	}
	c.end(all[0])
	c.must("Replace", c.replace(all[1]))
	c.move(c.cutoffs(all[2])[0])
	c.move(c.cutoffs(all[0])[1])
	c.configure(rescind.Change{Documents: []rescind.Document{{Kind: "k", ID: "i", Value: []byte("v")}}})
	slices.SortFunc(all, func(a, b rescind.Session) int { return compareIDs(a.ID, b.ID) })
	c.equal("List", lines(c.list(nil, 5), showSnapshot), lines(all, func(s rescind.Session) string { return showSnapshot(c.found(s.ID)) }))
}

func eventClauses() []clause {
	return []clause{
		{"EventsComeWithTheirStepAndOnlyThen", eventsComeWithTheirStepAndOnlyThen},
		{"EventsAreNewestFirstInPages", eventsAreNewestFirstInPages},
		{"EventsAreFiltered", eventsAreFiltered},
		{"EventsAreReadAsWritten", eventsAreReadAsWritten},
	}
}

func eventsComeWithTheirStepAndOnlyThen(c *trial) {
	logged := 0
	expect := func(what string, n int) {
		c.Helper()
		if got := len(c.events(rescind.EventQuery{})) - logged; got != n {
			c.Fatalf("%s wrote %d events, want %d", what, got, n)
		}
		logged += n
	}
	s := c.session("ann", "web")
	event := newEvent(rescind.EventSessionCreated, s, c.now())
	create := func(count *uint64) error {
		_, err := c.s.Create(c.ctx, rescind.Creation{Session: s, Count: count, Events: []rescind.Event{event, event}})
		return err
	}
	wrong := uint64(1 << 40)
	c.mustConflict("Create of another count", create(&wrong))
	expect("a Create that was refused", 0)
	c.must("Create", create(nil))
	expect("Create", 2)
	c.mustConflict("Create of an id that is there", create(nil))
	expect("a Create that was refused", 0)
	s.Version = 1
	c.must("Replace", c.replace(s))
	expect("Replace", 1)
	c.mustConflict("Replace of another version", c.replace(s))
	expect("a Replace that was refused", 0)
	c.end(s)
	expect("End", 1)
	c.end(s)
	expect("an End that found nothing to end", 0)
	c.end(c.session("ann", "web"))
	expect("an End of nothing", 0)
	for _, m := range c.cutoffs(s) {
		c.move(m)
		expect("MoveCutoff", 1)
	}
	m := c.cutoffs(s)[0]
	m.Keep = &rescind.Keep{Session: s.ID, Version: 3}
	_, err := c.s.MoveCutoff(c.ctx, m)
	c.mustConflict("MoveCutoff that keeps an ended session", err)
	expect("a MoveCutoff that was refused", 0)
	c.configure(rescind.Change{Events: []rescind.Event{event}})
	expect("Configure", 1)
	_, err = c.s.Configure(c.ctx, rescind.Change{Expect: 1 << 40, Events: []rescind.Event{event}})
	c.mustConflict("Configure of another version", err)
	expect("a Configure that was refused", 0)
	c.restart()
	expect("a restart", 0)
}

// logEvents writes n events of two subjects, three clients and two kinds, one
// second apart, and returns them with their ids.
func logEvents(c *trial, n int) []rescind.Event {
	var all []rescind.Event
	start := c.now().Add(-time.Hour)
	for i := range n {
		e := rescind.Event{
			At: start.Add(time.Duration(i) * time.Second), Actor: "tester", Detail: fmt.Sprint("number ", i),
			Kind:    []rescind.EventKind{rescind.EventSessionCreated, rescind.EventSessionEnded}[i/3%2],
			Subject: []string{"ann", "ben"}[i%2], Client: []string{"web", "app", ""}[i%3],
			Session: []string{"s1", "s2", "s3", "s4"}[i%4],
			ID:      "chosen by the caller",
		}
		all = append(all, e)
	}
	for step := range slices.Chunk(all, 7) {
		c.configure(rescind.Change{Events: step})
	}
	return all
}

func eventsAreNewestFirstInPages(c *trial) {
	const n = 250
	logEvents(c, n)
	var first []rescind.Event
	for _, limit := range []int{0, 1, 3, 100, n, 1000} {
		got := c.events(rescind.EventQuery{Limit: limit})
		if len(got) != n {
			c.Fatalf("the log has %d events in pages of %d, want %d", len(got), limit, n)
		}
		if first == nil {
			first = got
		}
		for i, e := range got {
			if e.ID != first[i].ID || showEvent(e) != showEvent(first[i]) {
				c.Fatalf("in pages of %d, event %d is %s, and it was %s", limit, i, showEvent(e), showEvent(first[i]))
			}
		}
	}
	page, err := c.s.Events(c.ctx, rescind.EventQuery{})
	c.must("Events", err)
	if len(page.Events) > 100 || page.Next == "" {
		c.Fatalf("no limit means 100, and of %d events the page has %d and the cursor %q", n, len(page.Events), page.Next)
	}
	// A page that was begun goes on where it was, whatever is written meanwhile.
	logEvents(c, 20)
	rest := c.events(rescind.EventQuery{After: page.Next, Limit: 50})
	if got := len(rest) + len(page.Events); got != n {
		c.Fatalf("the first page and the rest have %d events of %d", got, n)
	}
	c.restart()
	c.configure(rescind.Change{Events: []rescind.Event{{Kind: rescind.EventKeyCreated, At: c.now().Add(-48 * time.Hour)}}})
	all := c.events(rescind.EventQuery{})
	if last := all[len(all)-1]; last.Kind != rescind.EventKeyCreated {
		c.Fatalf("the event written last, after a restart, is not the newest: %s", showEvent(last))
	}
}

func eventsAreFiltered(c *trial) {
	all := logEvents(c, 60)
	for name, q := range map[string]rescind.EventQuery{
		"subject":          {Subject: "ann"},
		"session":          {Session: "s2"},
		"client":           {Client: "web"},
		"kind":             {Kind: rescind.EventSessionEnded},
		"since":            {Since: all[17].At},
		"until":            {Until: all[17].At},
		"since and until":  {Since: all[10].At, Until: all[20].At},
		"empty time":       {Since: all[20].At, Until: all[20].At},
		"all of them":      {Subject: "ben", Client: "app", Kind: rescind.EventSessionCreated, Since: all[5].At, Until: all[55].At},
		"nobody":           {Subject: "an"},
		"a longer subject": {Subject: "anna"},
	} {
		var want []rescind.Event
		for _, e := range all {
			if q.Match(&e) {
				want = append(want, e)
			}
		}
		for _, limit := range []int{1, 4, 1000} {
			q.Limit = limit
			got := c.events(q)
			slices.SortFunc(got, func(a, b rescind.Event) int { return a.At.Compare(b.At) })
			c.equal(fmt.Sprintf("events by %s, %d a page", name, limit), lines(got, showEvent), lines(want, showEvent))
		}
	}
}

func eventsAreReadAsWritten(c *trial) {
	e := rescind.Event{
		At: c.now().Add(-time.Hour), Kind: rescind.EventKeyRotated, Actor: "a" + strings.Repeat("b", 63),
		Subject: strings.Repeat("~", rescind.MaxSubject), Session: c.session("ann", "web").ID.String(), Client: "web",
		Key: rescind.NewKeyID().String(), Reason: "because", Detail: strings.Repeat("Größe \"'\\%<&>\r\n\t🔑 ", 20),
	}
	c.configure(rescind.Change{Events: []rescind.Event{e, {Kind: rescind.EventAllEnded, At: e.At}}})
	for range 2 {
		got := c.events(rescind.EventQuery{Kind: rescind.EventKeyRotated})
		if len(got) != 1 || got[0].ID == "" {
			c.Fatalf("want one event, with an id: %+v", got)
		}
		c.equal("the event", showEvent(got[0]), showEvent(e))
		c.equal("the bare event", lines(c.events(rescind.EventQuery{Kind: rescind.EventAllEnded}), showEvent),
			showEvent(rescind.Event{Kind: rescind.EventAllEnded, At: e.At})+"\n")
		c.restart()
	}
}
