package redisstore

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/redis"
)

const patience = defaultTimeout // of the stores that have to be in time: what users have

func impatient(t testing.TB, url string) *Store {
	t.Helper()
	return openWith(t, url, patience)
}

func login(t testing.TB, s *Store, subject byte) rescind.Session {
	t.Helper()
	r := benchSession(uint64(subject), s.Now())
	r.ID = rescind.NewSessionID(r.ID.Tag())
	birth, err := s.Create(context.Background(), rescind.Creation{Session: r})
	if err != nil {
		t.Fatal(err)
	}
	r.Birth, r.Version = birth, 1
	return r
}

// enrol is login for preparing a test: a busy machine may need more than one try.
func enrol(t testing.TB, s *Store, subject byte) rescind.Session {
	t.Helper()
	r := benchSession(uint64(subject), s.Now())
	for tries := 0; ; tries++ {
		r.ID = rescind.NewSessionID(r.ID.Tag())
		birth, err := s.Create(context.Background(), rescind.Creation{Session: r})
		if err == nil {
			r.Birth, r.Version = birth, 1
			return r
		} else if !errors.Is(err, rescind.ErrUnavailable) || tries == 10 {
			t.Fatal(err)
		}
	}
}

func logout(s *Store, id rescind.SessionID) error {
	_, err := s.End(context.Background(), rescind.End{Session: id, At: s.Now(), Reason: rescind.ReasonLogout})
	return err
}

func stands(snap *rescind.Snapshot) bool {
	return snap.Found && !snap.Session.Ended() && !snap.Cutoffs.Passed(snap.Session.Birth)
}

func mustStand(t testing.TB, s *Store, id rescind.SessionID, want bool) {
	t.Helper()
	snap, err := s.Lookup(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !snap.Found || stands(&snap) != want {
		t.Fatalf("the session stands: %t, want %t: %+v", stands(&snap), want, snap)
	}
}

// methods is one call of each, for a session that is there.
func methods(s *Store, r rescind.Session) map[string]func(context.Context) error {
	only := func(_ any, err error) error { return err }
	return map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error {
			return only(s.Create(ctx, rescind.Creation{Session: benchSession(1<<40, r.CreatedAt)}))
		},
		"Lookup":  func(ctx context.Context) error { return only(s.Lookup(ctx, r.ID)) },
		"Replace": func(ctx context.Context) error { return s.Replace(ctx, rescind.Replacement{Session: r}) },
		"End":     func(ctx context.Context) error { return logoutErr(s, ctx, r.ID) },
		"MoveCutoff of a subject": func(ctx context.Context) error {
			return only(s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: r.ID.Tag(), At: r.CreatedAt}))
		},
		"MoveCutoff of all": func(ctx context.Context) error {
			return only(s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndAll, At: r.CreatedAt}))
		},
		"Touch":         func(ctx context.Context) error { return s.Touch(ctx, r.ID, r.CreatedAt) },
		"List":          func(ctx context.Context) error { return only(s.List(ctx, rescind.ListQuery{Limit: 10})) },
		"Feed":          func(ctx context.Context) error { return only(s.Feed(ctx, 0, 10)) },
		"Events":        func(ctx context.Context) error { return only(s.Events(ctx, rescind.EventQuery{})) },
		"Config":        func(ctx context.Context) error { return only(s.Config(ctx)) },
		"ConfigVersion": func(ctx context.Context) error { return only(s.ConfigVersion(ctx)) },
		"Configure":     func(ctx context.Context) error { return only(s.Configure(ctx, rescind.Change{Expect: 1 << 40})) },
		"Purge": func(ctx context.Context) error {
			return only(s.Purge(ctx, rescind.PurgeStep{Limit: 10, Drop: func(*rescind.Snapshot) bool { return false }}))
		},
	}
}

func logoutErr(s *Store, ctx context.Context, id rescind.SessionID) error {
	_, err := s.End(ctx, rescind.End{Session: id, At: s.Now(), Reason: rescind.ReasonLogout})
	return err
}

// mustEndInTime calls every method, many times at once, and fails if one does not
// return ErrUnavailable, or not in time.
func mustEndInTime(t *testing.T, s *Store, r rescind.Session) {
	t.Helper()
	var wg sync.WaitGroup
	for name, call := range methods(s, r) {
		for range 20 {
			wg.Go(func() {
				begun := time.Now()
				err := call(context.Background())
				took := time.Since(begun)
				if !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrInactive) {
					t.Errorf("%s: want ErrUnavailable, got %v", name, err)
				}
				if took > 4*s.timeout { // the machine may be busy
					t.Errorf("%s took %s of %s", name, took, s.timeout)
				}
			})
		}
	}
	wg.Wait()
}

// TestOpeningWaitsForABusyServer has one that takes the connection and then lets
// the first question wait for longer than a connection gets to answer.
func TestOpeningWaitsForABusyServer(t *testing.T) {
	t.Parallel()
	server := redis.Start(t)
	server.Freeze()
	thaw := time.AfterFunc(patience*3/4, server.Thaw)
	defer thaw.Stop()
	s := impatient(t, server.URL())
	mustStand(t, s, enrol(t, s, 1).ID, true)
}

// TestEveryCallEndsInTime: whatever way a server has of not answering, no call
// waits longer than the time-out; and when it answers again, so does the store, at
// the first look-up.
func TestEveryCallEndsInTime(t *testing.T) {
	t.Parallel()
	t.Run("frozen", func(t *testing.T) {
		server := redis.Start(t)
		s := impatient(t, server.URL())
		r, stays := enrol(t, s, 1), enrol(t, s, 2)
		server.Freeze()
		for range 3 { // longer than a connection is kept
			mustEndInTime(t, s, r)
		}
		server.Thaw()
		mustStand(t, s, stays.ID, true)
		mustStand(t, s, enrol(t, s, 2).ID, true)
	})
	t.Run("gone", func(t *testing.T) {
		server := redis.Start(t)
		s := impatient(t, server.URL())
		r, ended := enrol(t, s, 1), enrol(t, s, 2)
		if err := logout(s, ended.ID); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			server.Kill()
			mustEndInTime(t, s, r)
			server.Restart()
			mustStand(t, s, r.ID, true)
			mustStand(t, s, ended.ID, false)
			if err := logout(s, login(t, s, 3).ID); err != nil {
				t.Fatal(err)
			}
			server.Restart()
			if err := logout(s, login(t, s, 3).ID); err != nil { // a write is the first
				t.Fatal(err)
			}
		}
	})
	t.Run("black hole", func(t *testing.T) {
		server := redis.Start(t)
		p := startProxy(t, server.Addr())
		s := impatient(t, "redis://"+p.addr())
		r, stays := enrol(t, s, 1), enrol(t, s, 2)
		for range 2 {
			p.hole.Store(true)
			for range 2 {
				mustEndInTime(t, s, r)
			}
			p.hole.Store(false)
			mustStand(t, s, stays.ID, true)
			// A write on a connection that is just being given up may have arrived, so it
			// is not sent twice: the caller is told, and asks again.
			mustStand(t, s, enrol(t, s, 2).ID, true)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		c := redis.StartCluster(t)
		s := impatient(t, c.URL())
		for range 2 {
			r := enrol(t, s, 1)
			for _, m := range c.Masters {
				m.Freeze()
			}
			mustEndInTime(t, s, r)
			for _, m := range c.Masters {
				m.Thaw()
			}
			c.Await(t)
			mustStand(t, s, enrol(t, s, 2).ID, true)
		}
		for _, m := range c.Masters {
			m.Restart()
		}
		c.Await(t)
		mustStand(t, s, enrol(t, s, 2).ID, true)
	})
}

// TestOneFrozenMasterLeavesTheOthers: what lies on other masters is served, as long
// as the cluster itself does not give up.
func TestOneFrozenMasterLeavesTheOthers(t *testing.T) {
	t.Parallel()
	c := redis.StartCluster(t, steady...)
	s := openWith(t, c.URL(), 2*patience)
	var all []rescind.Session
	frozen := map[rescind.SessionID]bool{}
	for i := range byte(48) {
		r := enrol(t, s, i)
		tag := r.ID.Tag()
		frozen[r.ID] = c.MasterOf(s.shardOf(&tag).meta) == c.Masters[1]
		all = append(all, r)
	}
	c.Masters[1].Freeze()
	var up, down atomic.Int64
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() {
			snap, err := s.Lookup(context.Background(), r.ID)
			switch {
			case err == nil && stands(&snap) && !frozen[r.ID]:
				up.Add(1)
			case errors.Is(err, rescind.ErrUnavailable) && frozen[r.ID]:
				down.Add(1)
			default:
				t.Errorf("on the frozen master: %t; %+v: %v", frozen[r.ID], snap, err)
			}
		})
	}
	wg.Wait()
	if up.Load() == 0 || down.Load() == 0 {
		t.Errorf("%d sessions were served and %d were not", up.Load(), down.Load())
	}
	// A change that cannot reach every shard is not begun: it would hold up the rest.
	if _, err := s.Configure(context.Background(), rescind.Change{}); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("Configure while a master is frozen: %v", err)
	}
	c.Masters[1].Thaw()
	c.Await(t)
	if v, err := s.ConfigVersion(context.Background()); v != 0 || err != nil {
		t.Errorf("the version is %d after a change that was not begun: %v", v, err)
	}
	for _, r := range all {
		mustStand(t, s, r.ID, true)
	}
}

// TestARevocationSurvivesACrash: the server is killed again and again while
// sessions end. What was acknowledged stays, and so does what a reader has seen.
// The server sleeps between what it does and writing it down, so that there is
// much to lose.
func TestARevocationSurvivesACrash(t *testing.T) {
	for _, threads := range []string{"1", "4"} {
		t.Run(threads+" threads", func(t *testing.T) {
			survivesCrashes(t, redis.Start(t, "--enable-debug-command", "local", "--io-threads", threads, "--io-threads-do-reads", "yes"))
		})
	}
}

func survivesCrashes(t *testing.T, server *redis.Server) {
	s, later := impatient(t, server.URL()), open(t, server.URL())
	for round := range 4 {
		var all []rescind.Session
		for i := range 400 {
			all = append(all, enrol(t, later, byte(i)))
		}
		server.Do("DEBUG", "AOF-FLUSH-SLEEP", "10000") // microseconds
		told := make([]atomic.Bool, len(all))
		var wg sync.WaitGroup
		var next, ended atomic.Int64
		for range 8 {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
					if logout(s, all[i].ID) == nil {
						told[i].Store(true)
						ended.Add(1)
					}
				}
			})
			wg.Go(func() {
				for next.Load() < int64(len(all)) {
					i := min(next.Load(), int64(len(all))-1)
					if snap, err := s.Lookup(context.Background(), all[i].ID); err == nil && !stands(&snap) {
						told[i].Store(true)
					}
				}
			})
		}
		for ended.Load() < int64(30*(round+1)) {
			time.Sleep(time.Millisecond)
		}
		server.Kill()
		next.Store(int64(len(all)))
		wg.Wait()
		server.Restart()
		n := 0
		for i := range all {
			if told[i].Load() {
				n++
				mustStand(t, later, all[i].ID, false)
			}
		}
		if n < 30*(round+1) {
			t.Fatalf("only %d ends were told", n)
		}
	}
}

// TestTheLedgerIsGone: a server that comes back without its data must not say that
// every token is unknown, and nobody makes a new ledger over it unasked.
func TestTheLedgerIsGone(t *testing.T) {
	server := redis.Start(t)
	s := open(t, server.URL())
	r := login(t, s, 1)
	server.Do("FLUSHALL")
	mustEndInTime(t, s, r)
	select {
	case <-s.Failed():
	default:
		t.Error("the store does not say that it has failed")
	}
	fresh := open(t, server.URL())
	mustStand(t, fresh, login(t, fresh, 1).ID, true)

	// Half a ledger is no place for a new one.
	server.Do("DEL", configKey)
	if s, err := Open(server.URL(), Options{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("opened %v over half a ledger: %v", s, err)
	}
}

// proxy is a way to a server that can swallow everything.
type proxy struct {
	l    net.Listener
	to   string
	hole atomic.Bool
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		stop()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(ctx, &wg, c) })
		}
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// serve copies both ways. What comes while the hole is open is held, as packets
// are that get lost and sent again; a connection opened meanwhile hears nothing.
func (p *proxy) serve(ctx context.Context, wg *sync.WaitGroup, c net.Conn) {
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = c.Close() // there is nothing behind it
		return
	}
	ctx, done := context.WithCancel(ctx)
	pipe := func(to, from net.Conn) {
		defer done()
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			for p.hole.Load() && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if _, werr := to.Write(b[:n]); err != nil || werr != nil {
				return
			}
		}
	}
	wg.Go(func() { pipe(up, c) })
	wg.Go(func() { pipe(c, up) })
	<-ctx.Done()
	_, _ = c.Close(), up.Close() // whichever ends it
}
