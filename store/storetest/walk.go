package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/rescind/rescind"
)

// walker takes the same random steps with a store and with an oracle. After each
// of them everything that can be read must be the same in both.
//
// Where the contract leaves a choice to the store, the oracle follows it: which
// part of what may be forgotten one step of Purge forgets.
type walker struct {
	*trial
	o        *oracle
	subjects []string                   // of two shards, if there are
	ids      []rescind.SessionID        // ever created, or tried
	over     map[rescind.SessionID]bool // seen ended, which is for ever
	batches  []int                      // events written by each step, in order: their order inside a step is free
	eventIDs map[string]string
	nonces   map[rescind.Position][8]byte
	marks    []time.Time // moments between steps
	cursor   []byte      // of a round of Purge that was begun
	token    byte
}

var walkClients = []string{"web", "app"}

// walk draws steps from rt and reports to c, which is rt itself except in a test
// of the walk.
func walk(rt *rapid.T, c *trial) {
	w := &walker{
		trial: c, over: map[rescind.SessionID]bool{}, eventIDs: map[string]string{}, nonces: map[rescind.Position][8]byte{},
	}
	w.o = newShardedOracle(func() time.Time { return w.s.Now() }, w.shards)
	w.o.place = w.shardOf
	w.subjects = w.scattered(2)
	w.o.epoch, w.o.version = c.config().Epoch, c.config().Version
	w.mark()
	rt.Repeat(map[string]func(*rapid.T){
		"Create":     w.create,
		"Replace":    w.replace,
		"ReplaceNew": w.replaceNew,
		"End":        w.end,
		"Touch":      w.touch,
		"MoveCutoff": w.moveCutoff,
		"Configure":  w.configure,
		"Purge":      w.purge,
		"Page":       w.page,
		"Restart":    func(*rapid.T) { w.trial.restart(); w.cursor = nil },
		"Tick":       func(*rapid.T) { w.mark() },
		"":           func(*rapid.T) { w.compare() },
	})
	c.must("Close", w.s.Close())
}

// mark notes a moment that lies behind all earlier steps and before all later ones.
func (w *walker) mark() {
	w.tick()
	w.marks = append(w.marks, w.now())
	w.tick()
}

// both compares the errors of one step, and its position.
func (w *walker) both(what string, got rescind.Position, err error, want rescind.Position, wantErr error) {
	w.Helper()
	switch {
	case err != nil && !errors.Is(err, rescind.ErrConflict):
		w.Fatalf("%s: %v", what, err)
	case (err != nil) != (wantErr != nil):
		w.Fatalf("%s: the store returned %v, the oracle %v", what, err, wantErr)
	case got != want:
		w.Fatalf("%s: the store returned position %d, the oracle %d", what, got, want)
	}
}

// step runs on both sides and notes how many events the step has written.
func (w *walker) step(what string, f func(rescind.Store) (rescind.Position, error)) {
	w.Helper()
	logged := w.o.eventSeq
	want, wantErr := f(w.o)
	got, err := f(w.s)
	w.both(what, got, err, want, wantErr)
	w.wrote(w.o.eventSeq - logged)
}

func (w *walker) wrote(n int) {
	if n > 0 {
		w.batches = append(w.batches, n)
	}
}

// pick chooses a session that was created, if it can, or makes one up.
func (w *walker) pick(rt *rapid.T) rescind.SessionID {
	if len(w.ids) == 0 {
		return rescind.NewSessionID(tagOf("ann"))
	}
	return w.ids[rapid.IntRange(0, len(w.ids)-1).Draw(rt, "session")]
}

func (w *walker) event(kind rescind.EventKind, s rescind.Session) rescind.Event {
	e := newEvent(kind, s, w.now())
	e.Detail = fmt.Sprint(w.o.eventSeq)
	return e
}

func (w *walker) ending(rt *rapid.T, id rescind.SessionID) rescind.End {
	reason := rapid.SampledFrom([]rescind.Reason{rescind.ReasonLogout, rescind.ReasonReuse}).Draw(rt, "reason")
	s := w.o.sessions[id]
	s.ID = id
	return rescind.End{Session: id, At: w.now(), Reason: reason, Event: w.event(rescind.EventSessionEnded, s)}
}

func (w *walker) create(rt *rapid.T) {
	subject, client := rapid.SampledFrom(w.subjects).Draw(rt, "subject"), rapid.SampledFrom(walkClients).Draw(rt, "client")
	s := w.session(subject, client)
	if rapid.IntRange(0, 3).Draw(rt, "idle") == 0 {
		s.IdleTimeout, s.LastActive = time.Hour, s.LastActive.Add(-2*time.Hour)
	}
	if rapid.IntRange(0, 5).Draw(rt, "taken id") == 0 {
		s.ID = w.pick(rt)
	}
	n := rescind.Creation{Session: s, Events: []rescind.Event{w.event(rescind.EventSessionCreated, s)}}
	if kind := rapid.SampledFrom([]string{"none", "right", "wrong"}).Draw(rt, "count"); kind != "none" {
		count := w.o.counters[s.ID.Tag()]
		if kind == "wrong" {
			count += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(rt, "wrong by")
		}
		n.Count = &count
	}
	for range rapid.IntRange(0, 2).Draw(rt, "ends") {
		if e := w.ending(rt, w.pick(rt)); w.shards == 1 || e.Session.Tag() == s.ID.Tag() {
			n.End = append(n.End, e) // the contract has only the subject's own; one shard takes any
		}
	}
	w.step("Create", func(s rescind.Store) (rescind.Position, error) { return s.Create(w.ctx, n) })
	if !slices.Contains(w.ids, s.ID) {
		w.ids = append(w.ids, s.ID)
	}
}

// replace swaps a session as it was read now, or another version of it.
func (w *walker) replace(rt *rapid.T) {
	id := w.pick(rt)
	s, found := w.o.sessions[id]
	if !found {
		s = w.session("ann", "web")
		s.ID = id
	}
	s = cloneSession(s)
	s.EndedAt, s.EndReason = time.Time{}, "" // as a refresh in flight that read it before
	s.Version += rapid.SampledFrom([]uint64{0, 0, 0, 1, ^uint64(0)}).Draw(rt, "version off by")
	w.swap(rt, s)
}

// replaceNew swaps the session that was created last: the usual case.
func (w *walker) replaceNew(rt *rapid.T) {
	if len(w.ids) == 0 {
		return // nothing to swap yet
	}
	s, found := w.o.sessions[w.ids[len(w.ids)-1]]
	if !found {
		return // nothing to swap yet
	}
	w.swap(rt, cloneSession(s))
}

func (w *walker) swap(rt *rapid.T, s rescind.Session) {
	s.Generation++
	s.Birth = rescind.Position(rapid.IntRange(0, 50).Draw(rt, "a birth that does not count"))
	s.LastActive = w.now().Add(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "activity")) * time.Hour)
	r := rescind.Replacement{Session: s, Events: []rescind.Event{w.event(rescind.EventSessionRefreshed, s)}}
	for range rapid.IntRange(0, 2).Draw(rt, "dropped") {
		w.token++
		r.Dropped = append(r.Dropped, rescind.TokenID{w.token})
	}
	w.step("Replace", func(s rescind.Store) (rescind.Position, error) { return 0, s.Replace(w.ctx, r) })
}

func (w *walker) end(rt *rapid.T) {
	e := w.ending(rt, w.pick(rt))
	logged := w.o.eventSeq
	want, wantErr := w.o.End(w.ctx, e)
	got, err := w.s.End(w.ctx, e)
	w.both("End", got.Position, err, want.Position, wantErr)
	if got.Changed != want.Changed {
		w.Fatalf("End: the store says changed %t, the oracle %t", got.Changed, want.Changed)
	}
	w.wrote(w.o.eventSeq - logged)
}

func (w *walker) touch(rt *rapid.T) {
	id := w.pick(rt)
	at := w.now().Add(time.Duration(rapid.IntRange(-120, 30).Draw(rt, "minutes")) * time.Minute)
	w.step("Touch", func(s rescind.Store) (rescind.Position, error) { return 0, s.Touch(w.ctx, id, at) })
}

func (w *walker) moveCutoff(rt *rapid.T) {
	of := w.session(rapid.SampledFrom(w.subjects).Draw(rt, "subject"), rapid.SampledFrom(walkClients).Draw(rt, "client"))
	m := w.cutoffs(of)[rapid.IntRange(0, 2).Draw(rt, "kind")]
	m.Event = w.event(m.Event.Kind, of)
	if m.Kind == rescind.EndSubject && rapid.Bool().Draw(rt, "keep") {
		id := w.pick(rt)
		m.Tag = id.Tag()
		version := w.o.sessions[id].Version + rapid.SampledFrom([]uint64{0, 0, 0, 1, ^uint64(0)}).Draw(rt, "version off by")
		m.Keep = &rescind.Keep{Session: id, Version: version}
	}
	w.step("MoveCutoff", func(s rescind.Store) (rescind.Position, error) { return s.MoveCutoff(w.ctx, m) })
}

func (w *walker) configure(rt *rapid.T) {
	c := rescind.Change{Expect: w.o.version + rapid.SampledFrom([]uint64{0, 0, 0, 1, ^uint64(0)}).Draw(rt, "version off by")}
	if rapid.Bool().Draw(rt, "document") {
		d := doc("client", rapid.SampledFrom(walkClients).Draw(rt, "id"), fmt.Sprint(w.o.eventSeq))
		if rapid.Bool().Draw(rt, "delete") {
			d.Value = nil
		}
		c.Documents = append(c.Documents, d)
	}
	for range rapid.IntRange(0, 2).Draw(rt, "ends") {
		kind := rapid.SampledFrom([]rescind.EndingKind{rescind.EndClient, rescind.EndKey}).Draw(rt, "kind")
		c.Ends = append(c.Ends, rescind.Ending{Kind: kind, Name: rapid.SampledFrom(walkClients).Draw(rt, "name"), At: w.now()})
	}
	for range rapid.IntRange(0, 2).Draw(rt, "events") {
		c.Events = append(c.Events, w.event(rescind.EventKeyRotated, rescind.Session{}))
	}
	w.step("Configure", func(s rescind.Store) (rescind.Position, error) { return s.Configure(w.ctx, c) })
}

// purge takes one step of a round, or a whole round. A cutoff may be forgotten
// only when no session is left that was born before it, so that is asked only
// behind a round that has dropped all of those.
func (w *walker) purge(rt *rapid.T) {
	before := rapid.SampledFrom(w.marks).Draw(rt, "before")
	over := func(s *rescind.Snapshot) bool { return !stands(*s) }
	q := rescind.PurgeStep{Limit: rapid.IntRange(1, 6).Draw(rt, "limit"), Cursor: w.cursor}
	if rapid.Bool().Draw(rt, "sessions") {
		q.Drop = over
	}
	if rapid.Bool().Draw(rt, "events") {
		q.DropEvent = func(e *rescind.Event) bool { return e.At.Before(before) }
	}
	if rapid.Bool().Draw(rt, "feed") {
		q.FeedBefore = before
	}
	if rapid.Bool().Draw(rt, "one step") {
		p, err := w.s.Purge(w.ctx, q)
		w.must("Purge", err)
		w.cursor = p.Cursor
		w.follow(q, p)
		return
	}
	q.Cursor, w.cursor = nil, nil
	if rapid.Bool().Draw(rt, "cutoffs") {
		q.Drop = over
		w.follow(q, w.trial.purge(q))
		w.complete(q)
		q.CutoffsBefore = before
	}
	w.follow(q, w.trial.purge(q))
	w.complete(q)
}

// follow forgets in the oracle what the store has forgotten, if it might.
func (w *walker) follow(q rescind.PurgeStep, p rescind.Purged) {
	w.Helper()
	var got rescind.Purged
	for id := range w.o.sessions {
		if w.lookup(id).Found {
			continue
		}
		snap := w.o.snapshot(id)
		if q.Drop == nil || !q.Drop(&snap) {
			w.Fatalf("Purge dropped a session that it was not told to: %s", showSnapshot(snap))
		}
		delete(w.o.sessions, id)
		got.Sessions++
	}
	left := map[string]bool{}
	for _, e := range w.events(rescind.EventQuery{}) {
		left[e.ID] = true
	}
	at, batches := 0, w.batches[:0]
	for _, n := range w.batches {
		kept := n
		for range n {
			e := w.o.events[at]
			at++
			if !left[w.eventIDs[e.ID]] {
				if q.DropEvent == nil || !q.DropEvent(&e) {
					w.Fatalf("Purge dropped an event that it was not told to: %s", showEvent(e))
				}
				w.o.events = slices.Delete(w.o.events, at-1, at)
				at--
				kept--
				got.Events++
			}
		}
		if kept > 0 {
			batches = append(batches, kept)
		}
	}
	w.batches = batches
	for _, l := range w.o.lanes {
		for len(l.feed) > 0 {
			page, err := w.s.Feed(w.ctx, l.tail(), 1)
			w.must("Feed", err)
			if !page.Gone {
				break
			}
			if !l.feed[0].At.Before(q.FeedBefore) {
				w.Fatalf("Purge dropped an ending that it was not told to: %s", showEnding(l.feed[0]))
			}
			l.feed = l.feed[1:]
			got.Endings++
		}
	}
	got.Cutoffs = w.o.forgetCutoffs(q.CutoffsBefore)
	p.Cursor, p.Read = nil, 0
	if fmt.Sprint(p) != fmt.Sprint(got) {
		w.Fatalf("Purge says %+v, and what is gone is %+v", p, got)
	}
}

// complete fails if a whole round has left something that it was told to drop.
func (w *walker) complete(q rescind.PurgeStep) {
	w.Helper()
	for id := range w.o.sessions {
		if snap := w.o.snapshot(id); q.Drop != nil && q.Drop(&snap) {
			w.Fatalf("a round of Purge left a session: %s", showSnapshot(snap))
		}
	}
	for _, e := range w.o.events {
		if q.DropEvent != nil && q.DropEvent(&e) {
			w.Fatalf("a round of Purge left an event: %s", showEvent(e))
		}
	}
	for _, l := range w.o.lanes {
		if len(l.feed) > 0 && l.feed[0].At.Before(q.FeedBefore) {
			w.Fatalf("a round of Purge left an ending: %s", showEnding(l.feed[0]))
		}
	}
}

// page reads a part of each list, from anywhere.
func (w *walker) page(rt *rapid.T) {
	q := rescind.ListQuery{Limit: rapid.IntRange(1, 5).Draw(rt, "limit"), After: w.pick(rt)}
	if rapid.Bool().Draw(rt, "by tag") {
		tag := tagOf(rapid.SampledFrom(w.subjects).Draw(rt, "subject"))
		q.Tag = &tag
	}
	got, err := w.s.List(w.ctx, q)
	w.must("List", err)
	want, err := w.o.List(w.ctx, q)
	w.must("List", err)
	if !got.More && len(got.Sessions) < len(want.Sessions) || got.Count != want.Count || !got.More && want.More {
		w.Fatalf("List has %d sessions, more %t, count %d; the oracle has %d, %t, %d",
			len(got.Sessions), got.More, got.Count, len(want.Sessions), want.More, want.Count)
	}
	w.equal("List", lines(got.Sessions, showSnapshot), lines(want.Sessions[:min(len(got.Sessions), len(want.Sessions))], showSnapshot))

	shard := 0
	if w.shards > 1 {
		shard = rapid.IntRange(0, w.shards-1).Draw(rt, "shard")
	}
	start := rescind.ShardStart(shard)
	after := start + rescind.Position(rapid.IntRange(0, int(w.o.lanes[shard].head-start)).Draw(rt, "after"))
	gotFeed, err := w.s.Feed(w.ctx, after, q.Limit)
	w.must("Feed", err)
	wantFeed, err := w.o.Feed(w.ctx, after, q.Limit)
	w.must("Feed", err)
	if gotFeed.Gone != wantFeed.Gone || gotFeed.Head != wantFeed.Head {
		w.Fatalf("Feed after %d has gone %t and head %d, the oracle %t and %d", after, gotFeed.Gone, gotFeed.Head, wantFeed.Gone, wantFeed.Head)
	}

	eq := rescind.EventQuery{Limit: q.Limit}
	switch rapid.IntRange(0, 3).Draw(rt, "by") {
	case 0:
		eq.Subject = rapid.SampledFrom(w.subjects).Draw(rt, "subject")
	case 1:
		eq.Session = w.pick(rt).String()
	case 2:
		eq.Client = rapid.SampledFrom(walkClients).Draw(rt, "client")
	case 3:
		eq.Since = rapid.SampledFrom(w.marks).Draw(rt, "since")
	}
	var found []string
	for _, e := range w.o.events {
		if eq.Match(&e) {
			found = append(found, showEvent(e))
		}
	}
	var read []string
	for _, e := range w.events(eq) {
		read = append(read, showEvent(e))
	}
	slices.Sort(found)
	slices.Sort(read)
	w.equal("Events", strings.Join(read, "\n"), strings.Join(found, "\n"))
}

// compare reads everything from both sides.
func (w *walker) compare() {
	w.Helper()
	for _, id := range w.ids {
		got, want := w.lookup(id), w.o.snapshot(id)
		w.equal("Lookup", showSnapshot(got), showSnapshot(want))
		if ended := got.Found && !stands(got); w.over[id] && !ended && got.Found {
			w.Fatalf("an ended session is back: %s", showSnapshot(got))
		} else if ended {
			w.over[id] = true
		}
		if !got.Found {
			delete(w.over, id) // forgotten; the id may be created anew
		}
	}
	var want []rescind.Snapshot
	for _, id := range w.o.ids(nil) {
		want = append(want, w.o.snapshot(id))
	}
	w.equal("List", lines(w.list(nil, 100), showSnapshot), lines(want, showSnapshot))

	for i, l := range w.o.lanes {
		endings := w.feed(l.tail())
		w.equal("Feed", showEndings(endings), showEndings(l.feed))
		for i, e := range endings {
			if n, known := w.nonces[e.Position]; known && n != e.Nonce {
				w.Fatalf("the nonce of position %d has changed", e.Position)
			}
			w.nonces[e.Position] = e.Nonce
			l.feed[i].At = e.At // of a token that was dropped: the store's to say
		}
		if head := w.headOf(i); head != l.head {
			w.Fatalf("the head of shard %d is %d, want %d", i, head, l.head)
		}
	}

	cfg := w.config()
	oracle, err := w.o.Config(w.ctx)
	w.must("Config", err)
	w.equal("Config", showConfig(cfg), showConfig(oracle))
	if cfg.Epoch != oracle.Epoch {
		w.Fatalf("the epoch has changed")
	}
	w.compareEvents()
}

// compareEvents compares step by step; inside one the order is the store's.
func (w *walker) compareEvents() {
	w.Helper()
	got := w.events(rescind.EventQuery{})
	if len(got) != len(w.o.events) {
		w.Fatalf("the log has %d events, want %d:\n%s", len(got), len(w.o.events), lines(got, showEvent))
	}
	order := func(a, b rescind.Event) int { return strings.Compare(showEvent(a), showEvent(b)) }
	at := 0
	for _, n := range w.batches {
		mine, theirs := slices.Clone(w.o.events[at:at+n]), slices.Clone(got[at:at+n])
		slices.SortStableFunc(mine, order)
		slices.SortStableFunc(theirs, order)
		for i := range mine {
			w.equal("Events", showEvent(theirs[i]), showEvent(mine[i]))
			id, known := w.eventIDs[mine[i].ID]
			if known && id != theirs[i].ID {
				w.Fatalf("the id of an event was %s and is %s", id, theirs[i].ID)
			}
			w.eventIDs[mine[i].ID] = theirs[i].ID
		}
		at += n
	}
}
