package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/redis"
)

// begin does the first part of a Configure, and the second in some shards, as a
// node that dies in the middle.
func begin(t *testing.T, s *Store, c rescind.Change, in int) {
	t.Helper()
	ctx := context.Background()
	keys, args := s.change(&c)
	h, done, err := s.compare(ctx, keys, args)
	if err != nil || !done {
		t.Fatalf("compare: %t, %v", done, err)
	}
	version, ends, err := parsePending(h.pending)
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range s.shards[:in] {
		if _, err := s.spread(ctx, sh, version, ends); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnUnfinishedConfigureIsFinishedByWhoeverMeetsIt: whatever a node had done
// when it died, the others never see a version that is not in every shard.
func TestAnUnfinishedConfigureIsFinishedByWhoeverMeetsIt(t *testing.T) {
	ctx := context.Background()
	server := redis.Start(t)
	const shards = 4
	url := server.URL() + "?shards=" + strconv.Itoa(shards)
	for _, in := range []int{0, 1, shards - 1, shards} {
		for name, meet := range map[string]func(*Store, rescind.SessionID, uint64) error{
			"Config": func(s *Store, _ rescind.SessionID, want uint64) error {
				cfg, err := s.Config(ctx)
				if err == nil && (cfg.Version != want || len(cfg.Documents) != 1) {
					err = fmt.Errorf("%+v", cfg)
				}
				return err
			},
			"ConfigVersion": func(s *Store, _ rescind.SessionID, want uint64) error {
				v, err := s.ConfigVersion(ctx)
				if err == nil && v != want {
					err = fmt.Errorf("version %d", v)
				}
				return err
			},
			"Configure": func(s *Store, _ rescind.SessionID, want uint64) error {
				if _, err := s.Configure(ctx, rescind.Change{Expect: want - 1}); !errors.Is(err, rescind.ErrConflict) {
					return fmt.Errorf("a change for the version before: %v", err)
				}
				_, err := s.Configure(ctx, rescind.Change{Expect: want})
				return err
			},
			"Lookup": func(s *Store, id rescind.SessionID, want uint64) error {
				snap, err := s.Lookup(ctx, id)
				if err == nil && in > 0 && snap.Config != want { // it lies in the first shard
					err = fmt.Errorf("version %d", snap.Config)
				}
				if err == nil && in == 0 { // nobody can know of it yet
					_, err = s.ConfigVersion(ctx)
				}
				return err
			},
			"Open": func(s *Store, _ rescind.SessionID, want uint64) error {
				_, err := open(t, url).ConfigVersion(ctx)
				return err
			},
		} {
			t.Run(fmt.Sprintf("%s after %d shards", name, in), func(t *testing.T) {
				server.Do("FLUSHALL")
				dying, other := open(t, url), open(t, url)
				var all []rescind.Session
				for n := range shards {
					r := benchSession(1, other.Now())
					r.ID[0], r.Client = byte(n<<6), "web"
					birth, err := other.Create(ctx, rescind.Creation{Session: r})
					if err != nil || birth.Shard() != n {
						t.Fatalf("born at %d: %v", birth, err)
					}
					all = append(all, r)
				}
				begin(t, dying, rescind.Change{Documents: []rescind.Document{{Kind: "client", ID: "web", Value: []byte("gone")}},
					Ends: []rescind.Ending{{Kind: rescind.EndClient, Name: "web", At: other.Now()}, {Kind: rescind.EndKey, Name: "k", At: other.Now()}}}, in)
				if err := meet(other, all[0].ID, 1); err != nil {
					t.Fatal(err)
				}
				for n, r := range all {
					snap, err := other.Lookup(ctx, r.ID)
					if err != nil || snap.Config < 1 || stands(&snap) {
						t.Errorf("shard %d has version %d, stands %t: %v", n, snap.Config, stands(&snap), err)
					}
					page, err := other.Feed(ctx, rescind.ShardStart(n), 10)
					if err != nil || len(page.Endings) != 2 {
						t.Errorf("the feed of shard %d has %d endings, want each once: %v", n, len(page.Endings), err)
					}
				}
				// The first node goes on where it was, and finds nothing to do.
				if _, err := dying.ConfigVersion(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestNodesStartTogether: of many that find nothing, one makes the ledger.
func TestNodesStartTogether(t *testing.T) {
	server := redis.Start(t)
	for range 10 {
		server.Do("FLUSHALL")
		var mu sync.Mutex
		epochs := map[[16]byte]bool{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := Open(server.URL(), Options{Timeout: calm})
				if err != nil {
					t.Error(err)
					return
				}
				cfg, err := s.Config(context.Background())
				if err = errors.Join(err, s.Close()); err != nil || cfg.Shards != 16 || cfg.Version != 0 {
					t.Errorf("%+v, %v", cfg, err)
				}
				mu.Lock()
				defer mu.Unlock()
				epochs[cfg.Epoch] = true
			})
		}
		wg.Wait()
		if len(epochs) != 1 {
			t.Fatalf("%d ledgers were made", len(epochs))
		}
	}
}

// TestNodesAgree: what one node was told is what the other sees, from then on.
func TestNodesAgree(t *testing.T) {
	ctx := context.Background()
	server := redis.Start(t)
	a, b := open(t, server.URL()), open(t, server.URL())
	for i := range 100 {
		r := login(t, a, byte(i))
		mustStand(t, b, r.ID, true)
		switch i % 4 {
		case 0:
			if err := logout(b, r.ID); err != nil {
				t.Fatal(err)
			}
		default:
			m := rescind.CutoffMove{Kind: []rescind.EndingKind{0, rescind.EndSubject, rescind.EndClient, rescind.EndAll}[i%4], At: b.Now()}
			if m.Kind == rescind.EndSubject {
				m.Tag = r.ID.Tag()
			}
			if m.Kind == rescind.EndClient {
				m.Name = r.Client
			}
			if _, err := b.MoveCutoff(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		mustStand(t, a, r.ID, false)
		mustStand(t, b, r.ID, false)
	}
}

// TestClientCutoffsAreNeverStale: what a node remembers of clients' cutoffs belongs to
// one moment, also where another ledger takes the place of the first.
func TestClientCutoffsAreNeverStale(t *testing.T) {
	ctx := context.Background()
	server := redis.Start(t)
	a := open(t, server.URL())
	r := login(t, a, 1)
	move := func(s *Store, client string) {
		if _, err := s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndClient, Name: client, At: s.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	move(a, "other")
	mustStand(t, a, r.ID, true)
	server.Do("FLUSHALL")
	b := open(t, server.URL()) // the same numbers of everything that is counted
	r = login(t, b, 1)
	mustStand(t, a, r.ID, true)
	move(b, r.Client)
	mustStand(t, a, r.ID, false)
	mustStand(t, b, r.ID, false)
}

// TestTimeIsTheServers: it goes on from what was written down, at half the pace,
// where the server's clock was set back.
func TestTimeIsTheServers(t *testing.T) {
	server := redis.Start(t)
	at := func(ahead time.Duration) *Store {
		t.Helper()
		s, err := Open(server.URL(), Options{Timeout: patience, serverAhead: ahead})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	near := func(s *Store, want time.Time) { // what is wrong here is wrong by an hour
		t.Helper()
		if d := s.Now().Sub(want); d.Abs() > calm {
			t.Fatalf("the store's time is %s, want %s", s.Now(), want)
		}
	}
	s := at(0)
	near(s, time.Now())
	hour := at(time.Hour) // as if the server's clock were
	near(hour, time.Now().Add(time.Hour))
	near(s, time.Now())
	r := login(t, hour, 1)
	told := hour.Now()
	back := at(0) // the clock was set back while nobody was there
	if back.Now().Before(r.CreatedAt) {
		t.Fatalf("the time is %s, behind what was written down, %s", back.Now(), r.CreatedAt)
	}
	near(back, told)
	last := back.Now()
	for measured := 0; measured < 2; { // of each measurement, so that it is measured again meanwhile
		is := back.clock.set.Load()
		before, first, after := time.Now(), back.Now(), time.Now()
		for time.Since(after) < 200*time.Millisecond {
			time.Sleep(time.Millisecond)
			now := back.Now()
			if now.Before(last) {
				t.Fatalf("the time went back from %s to %s", last, now)
			}
			last = now
		}
		from := time.Now()
		passed, to := back.Now().Sub(first), time.Now()
		if back.clock.set.Load() != is {
			continue // in the middle of this
		}
		if passed < from.Sub(after)/2-time.Millisecond || passed > to.Sub(before)/2+time.Millisecond {
			t.Fatalf("of %s to %s of the machine's, %s of the store's have passed, want half", from.Sub(after), to.Sub(before), passed)
		}
		measured++
		for limit := time.Now().Add(calm); back.clock.set.Load() == is; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("the server's time is not measured again")
			}
		}
	}
	near(back, told)
	near(s, time.Now())
}

// TestStampsKeepTheOrderOfTheLog: events of two nodes and of all shards are read
// once each, in pages, whatever happens meanwhile.
func TestStampsKeepTheOrderOfTheLog(t *testing.T) {
	ctx := context.Background()
	server := redis.Start(t)
	nodes := []*Store{open(t, server.URL()), open(t, server.URL())}
	const each = 150
	var wg sync.WaitGroup
	for n, s := range nodes {
		wg.Go(func() {
			for i := range each {
				r := benchSession(uint64(n*each+i), s.Now())
				if _, err := s.Create(ctx, rescind.Creation{Session: r, Events: []rescind.Event{{Kind: rescind.EventSessionCreated, At: r.CreatedAt, Detail: r.Subject}}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen, last := map[string]bool{}, "~"
	for q := (rescind.EventQuery{Limit: 7}); ; {
		page, err := nodes[0].Events(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if seen[e.Detail] || e.ID >= last {
				t.Fatalf("event %s after %s, seen before: %t", e.ID, last, seen[e.Detail])
			}
			seen[e.Detail], last = true, e.ID
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if len(seen) != 2*each {
		t.Errorf("%d events of %d", len(seen), 2*each)
	}
}
