package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/postgres"
)

// each is one call of every method, on a session that stands.
func each(s *Store, r rescind.Session) map[string]func(context.Context) error {
	no := func(_ any, err error) error { return err }
	return map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error {
			return no(s.Create(ctx, rescind.Creation{Session: sample(1, time.Now())}))
		},
		"Lookup":  func(ctx context.Context) error { return no(s.Lookup(ctx, r.ID)) },
		"Replace": func(ctx context.Context) error { return s.Replace(ctx, rescind.Replacement{Session: r}) },
		"End":     func(ctx context.Context) error { return no(s.End(ctx, rescind.End{Session: r.ID, At: time.Now()})) },
		"MoveCutoff": func(ctx context.Context) error {
			return no(s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndClient, Name: "other", At: time.Now()}))
		},
		"Touch":         func(ctx context.Context) error { return s.Touch(ctx, r.ID, time.Now()) },
		"List":          func(ctx context.Context) error { return no(s.List(ctx, rescind.ListQuery{Limit: 10})) },
		"Feed":          func(ctx context.Context) error { return no(s.Feed(ctx, 0, 10)) },
		"Events":        func(ctx context.Context) error { return no(s.Events(ctx, rescind.EventQuery{})) },
		"Config":        func(ctx context.Context) error { return no(s.Config(ctx)) },
		"ConfigVersion": func(ctx context.Context) error { return no(s.ConfigVersion(ctx)) },
		"Configure": func(ctx context.Context) error {
			return no(s.Configure(ctx, rescind.Change{Expect: 1 << 40}))
		},
		"Purge": func(ctx context.Context) error {
			return no(s.Purge(ctx, rescind.PurgeStep{Limit: 10, Drop: func(*rescind.Snapshot) bool { return false }}))
		},
	}
}

// all makes one call of every method at once and returns what each said. No call
// outlasts the time of the store, but the machine may be busy.
func all(t *testing.T, s *Store, r rescind.Session) map[string]error {
	t.Helper()
	return allUnder(context.Background(), t, s, r)
}

func allUnder(ctx context.Context, t *testing.T, s *Store, r rescind.Session) map[string]error {
	t.Helper()
	type said struct {
		name string
		err  error
	}
	calls := each(s, r)
	results := make(chan said, len(calls))
	for name, call := range calls {
		go func() { results <- said{name, call(ctx)} }()
	}
	errs := map[string]error{}
	late := time.After(4 * s.timeout)
	for range calls {
		select {
		case r := <-results:
			errs[r.name] = r.err
		case <-late:
			for name := range calls {
				if _, ok := errs[name]; !ok {
					t.Errorf("%s has not returned after %s", name, 4*s.timeout)
				}
			}
			t.FailNow()
		}
	}
	return errs
}

func mustBeUnavailable(t *testing.T, errs map[string]error) {
	t.Helper()
	for name, err := range errs {
		if !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrConflict) || errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%s during an outage: %v", name, err)
		}
	}
}

// mustWork: the first call of every method after the return works, whichever comes
// first. It is for stores that are patient.
func mustWork(t *testing.T, s *Store, r rescind.Session) {
	t.Helper()
	errs := all(t, s, r)
	for name, err := range errs {
		if err != nil && !(errors.Is(err, rescind.ErrConflict) && (name == "Replace" || name == "Configure")) {
			t.Errorf("the first %s after an outage: %v", name, err)
		}
	}
}

// mustRecover is mustWork for stores whose time may not be enough on a busy machine:
// every method works sooner or later, and says nothing wrong before.
func mustRecover(t *testing.T, s *Store, r rescind.Session) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		late := false
		for name, err := range all(t, s, r) {
			late = late || errors.Is(err, rescind.ErrUnavailable)
			if err != nil && !errors.Is(err, rescind.ErrUnavailable) && !(errors.Is(err, rescind.ErrConflict) && (name == "Replace" || name == "Configure")) {
				t.Errorf("%s after an outage: %v", name, err)
			}
		}
		if !late {
			return
		}
		if time.Now().After(limit) {
			t.Fatal("the store does not recover from an outage")
		}
	}
}

// mustMeet lets every method of a patient store meet an outage, and gives up first.
func mustMeet(t *testing.T, s *Store, r rescind.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	mustBeUnavailable(t, allUnder(ctx, t, s, r))
}

var subjects atomic.Int64

// created is a session of a subject of its own.
func created(t *testing.T, s *Store) rescind.Session {
	t.Helper()
	r := sample(int(subjects.Add(1)), s.Now())
	birth, err := s.Create(context.Background(), rescind.Creation{Session: r})
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	r.Birth, r.Version = birth, 1
	return r
}

// TestOutageIsUnavailableAndOver: while the server is killed, stopped or frozen,
// every call says "unavailable" within its time; when it is back, the first call
// of every method works.
func TestOutageIsUnavailableAndOver(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	s, calm := open(t, url, Options{}), patient(t, url)
	for _, outage := range []struct {
		name       string
		begin, end func()
	}{
		{"killed", server.Kill, server.Restart},
		{"stopped at once", func() { server.Stop(true) }, server.Restart},
		{"stopped in order", func() { server.Stop(false) }, server.Restart},
		{"frozen", server.Freeze, server.Thaw},
	} {
		t.Run(outage.name, func(t *testing.T) {
			r := created(t, calm)
			mustWork(t, calm, r) // so that every connection is there
			mustRecover(t, s, r)
			gone := created(t, calm)
			if _, err := calm.End(context.Background(), rescind.End{Session: gone.ID, At: calm.Now()}); err != nil {
				t.Fatal(err)
			}
			r = created(t, calm)
			outage.begin()
			mustMeet(t, calm, r)
			mustBeUnavailable(t, all(t, s, r))
			outage.end()
			mustWork(t, calm, r)
			mustRecover(t, s, r)
			mustBeEnded(t, calm, gone.ID)
		})
		t.Run(outage.name+" and back unseen", func(t *testing.T) {
			r := created(t, calm)
			mustWork(t, calm, r)
			outage.begin()
			outage.end()
			mustWork(t, calm, created(t, calm))
		})
	}
}

// TestThawUnderLoad: a server that was frozen for long while many kept asking is
// not buried under their connections: it works again for the first call.
func TestThawUnderLoad(t *testing.T) {
	frozen := 3 * time.Second
	if os.Getenv("RESCIND_SLOW") != "" {
		frozen = 40 * time.Second
	}
	server := postgres.Start(t, postgres.With("max_connections", "40"))
	url := schema(t, server)
	nodes := []*Store{open(t, url, Options{}), open(t, url, Options{}), open(t, url, Options{})}
	calm := patient(t, url)
	r := created(t, calm)
	mustWork(t, calm, r)
	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	for i := range 48 {
		node := nodes[i%len(nodes)]
		load.Go(func() {
			for ctx.Err() == nil {
				for name, call := range each(node, r) {
					if err := call(ctx); err != nil && !errors.Is(err, rescind.ErrUnavailable) && !errors.Is(err, rescind.ErrConflict) {
						t.Errorf("%s under load: %v", name, err)
					}
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	server.Freeze()
	time.Sleep(frozen)
	server.Thaw()
	mustWork(t, calm, r)
	for _, node := range nodes {
		mustRecover(t, node, r)
	}
	stop()
	load.Wait()
	mustBeDense(t, calm)
}

func mustBeEnded(t *testing.T, s *Store, id rescind.SessionID) {
	t.Helper()
	snap, err := s.Lookup(context.Background(), id)
	if err != nil || !snap.Found || !snap.Session.Ended() && !snap.Cutoffs.Passed(snap.Session.Birth) {
		t.Errorf("an ended session is read as %+v: %v", snap, err)
	}
}

// TestAcknowledgedEndsSurviveCrashes kills and stops the server again and again
// under load: whatever End said nil of stays ended, and the feed stays dense.
func TestAcknowledgedEndsSurviveCrashes(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	url := schema(t, server)
	s, other, calm := open(t, url, Options{}), open(t, url, Options{}), patient(t, url)
	for round := range 3 {
		ids := fill(t, calm, 3000)
		var mu sync.Mutex
		var ended []rescind.SessionID
		some, none := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		for part := range 32 {
			wg.Go(func() {
				node := []*Store{s, other}[part%2]
				for i := part; i < len(ids); i += 32 {
					_, err := node.End(context.Background(), rescind.End{Session: ids[i], At: node.Now(), Reason: rescind.ReasonLogout})
					if err != nil {
						return // the crash
					}
					mu.Lock()
					if ended = append(ended, ids[i]); len(ended) == 100*(round+1) {
						close(some)
					}
					mu.Unlock()
				}
			})
		}
		go func() {
			wg.Wait()
			close(none)
		}()
		select {
		case <-some:
		case <-none:
		}
		if round%2 == 0 {
			server.Kill()
		} else {
			server.Stop(true)
		}
		<-none
		server.Restart()
		if len(ended) == 0 {
			t.Error("nothing was ended before the crash")
		}
		for _, id := range ended {
			mustBeEnded(t, calm, id)
		}
		mustBeDense(t, calm)
	}
}

// mustBeDense reads the whole feed and returns its endings.
func mustBeDense(t *testing.T, s *Store) []rescind.Ending {
	t.Helper()
	var all []rescind.Ending
	for after := rescind.Position(0); ; {
		page, err := s.Feed(context.Background(), after, 1000)
		if err != nil || page.Gone {
			t.Fatalf("Feed after %d: gone %t, %v", after, page.Gone, err)
		}
		for _, e := range page.Endings {
			if after++; e.Position != after {
				t.Fatalf("behind position %d comes %d", after-1, e.Position)
			}
		}
		all = append(all, page.Endings...)
		if after == page.Head {
			return all
		}
	}
}

// TestNodesShareOneOrder lets nodes end, cut off and create at once. Positions are
// dense, and no reader, whatever it reads through which node, sees a later ending
// and not an earlier one.
func TestNodesShareOneOrder(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	nodes := []*Store{patient(t, url), patient(t, url), patient(t, url)}
	ids := fill(t, nodes[0], 1500)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for _, node := range nodes {
		readers.Go(func() {
			for head := rescind.Position(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				page, err := node.Feed(context.Background(), head, 500)
				if err != nil || page.Gone {
					t.Errorf("Feed after %d: gone %t, %v", head, page.Gone, err)
					return
				}
				for _, e := range page.Endings {
					if head++; e.Position != head {
						t.Errorf("behind position %d a reader sees %d: it has missed an ending", head-1, e.Position)
						return
					}
				}
			}
		})
	}
	for part := range 24 {
		writers.Go(func() {
			node := nodes[part%len(nodes)]
			for i := part; i < len(ids); i += 24 {
				got, err := node.End(context.Background(), rescind.End{Session: ids[i], At: node.Now()})
				if err != nil || !got.Changed {
					t.Errorf("End: %+v, %v", got, err)
					return
				}
				page, err := nodes[(part+1)%len(nodes)].Feed(context.Background(), got.Position-1, 1)
				if err != nil || len(page.Endings) != 1 || page.Endings[0].Session != ids[i] {
					t.Errorf("another node reads position %d as %+v, %v", got.Position, page, err)
					return
				}
				if i%50 == 0 {
					if _, err := node.MoveCutoff(context.Background(), rescind.CutoffMove{Kind: rescind.EndClient, Name: fmt.Sprint(part), At: node.Now()}); err != nil {
						t.Errorf("MoveCutoff: %v", err)
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if n := len(mustBeDense(t, nodes[0])); n != 1500+30 {
		t.Errorf("the feed has %d endings, want %d", n, 1500+30)
	}
}

// TestStepsOfNodesWaitForEachOther: while a cutoff is about to commit on one node,
// no refresh, login or touch on another overtakes it.
func TestStepsOfNodesWaitForEachOther(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	s := patient(t, url)
	r := created(t, s)
	ctx := context.Background()
	c, err := s.server.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	tx, err := c.pg.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, lockSQL, int64(stepLock)); err != nil {
		t.Fatal(err)
	}
	var cut int64
	ending := rescind.AppendEnding(nil, &rescind.Ending{Kind: rescind.EndSubject, Tag: r.ID.Tag(), At: s.Now()})
	if err := tx.QueryRow(ctx, moveSQL, nil, 0, subjectKey(r.ID.Tag()), s.Now().UnixMilli(), ending, rescind.AppendEvent(nil, &rescind.Event{})).Scan(&cut); err != nil {
		t.Fatal(err)
	}
	late := sample(0, s.Now())
	late.ID = rescind.NewSessionID(r.ID.Tag())
	var birth rescind.Position
	var replaced, born error
	var wg sync.WaitGroup
	wg.Go(func() { replaced = s.Replace(ctx, rescind.Replacement{Session: r}) })
	wg.Go(func() { birth, born = s.Create(ctx, rescind.Creation{Session: late}) })
	awaitQuery(t, url, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if !errors.Is(replaced, rescind.ErrConflict) {
		t.Errorf("Replace while a cutoff is about to commit, and does: %v", replaced)
	}
	if born != nil || birth < rescind.Position(cut) {
		t.Errorf("Create while a cutoff is about to commit, and does, at %d: born at %d, %v", cut, birth, born)
	}
}

// TestFrozenNodeHoldsNobodyUp: a client that stops in the middle of a transaction
// with the lock in its hands loses it within the time of a call.
func TestFrozenNodeHoldsNobodyUp(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	url := schema(t, server)
	s := open(t, url, Options{Timeout: 6 * time.Second})
	r := created(t, s)
	c, err := s.server.dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	begun := time.Now()
	for _, sql := range []string{beginSQL, strings.ReplaceAll(lockSQL, "$1", fmt.Sprint(int64(stepLock)))} {
		if _, err := c.pg.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.End(context.Background(), rescind.End{Session: r.ID, At: s.Now()}); err != nil {
		t.Errorf("End behind a node that has stopped: %v", err)
	}
	if d := time.Since(begun); d < s.timeout/4 {
		t.Errorf("nobody held it up: it took %s", d)
	}
}

// TestBusyConnectionsEndCalls: calls end in time where no connection is to be had.
func TestBusyConnectionsEndCalls(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	s := open(t, schema(t, server), Options{Timeout: 4 * time.Second})
	r := created(t, s)
	for range pageConns {
		slot := <-s.pages.slots
		defer func() { s.pages.slots <- slot }()
	}
	begun := time.Now()
	if _, err := s.Config(context.Background()); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("Config without a connection: %v", err)
	}
	if d := time.Since(begun); d > 4*s.timeout {
		t.Errorf("it took %s", d)
	}
	if _, err := s.Lookup(context.Background(), r.ID); err != nil {
		t.Errorf("Lookup, which has connections of its own: %v", err)
	}
}

// TestEndedContextsCutOnlyTheirOwnCall: calls whose contexts end at any moment end,
// and leave connections that serve others.
func TestEndedContextsCutOnlyTheirOwnCall(t *testing.T) {
	server := postgres.Start(t)
	s := patient(t, schema(t, server))
	r := created(t, s)
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := range 60 {
				limit := patience
				if part%2 == 0 {
					limit = time.Duration(i*20) * time.Microsecond
				}
				for name, call := range each(s, r) {
					ctx, cancel := context.WithTimeout(context.Background(), limit)
					err := call(ctx)
					cancel()
					switch {
					case err == nil, errors.Is(err, rescind.ErrConflict):
					case part%2 == 0 && errors.Is(err, rescind.ErrUnavailable):
					default:
						t.Errorf("%s, with %s: %v", name, limit, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
