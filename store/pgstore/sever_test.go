package pgstore

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/postgres"
)

// wire stands between a node and its server. It can swallow what one side says,
// and be slow.
type wire struct {
	t          *testing.T
	l          net.Listener
	to         string
	deaf, mute atomic.Bool // what the node says is lost; what the server says is lost
	lost       atomic.Int64
	delay      atomic.Int64
	conns      sync.Map
}

func newWire(t *testing.T, server *postgres.Server) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, l: l, to: server.Addr()}
	t.Cleanup(func() {
		_ = l.Close() // ends accept
		w.cut()
	})
	go w.accept()
	return w
}

func (w *wire) accept() {
	for {
		from, err := w.l.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = from.Close() // as the server would
			continue
		}
		w.conns.Store(from, to)
		go w.pass(to, from, &w.deaf)
		go w.pass(from, to, &w.mute)
	}
}

func (w *wire) pass(to, from net.Conn, lost *atomic.Bool) {
	defer func() { _, _ = to.Close(), from.Close() }() // both ends learn of it
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if d := time.Duration(w.delay.Load()); d > 0 {
			time.Sleep(d)
		}
		if lost.Load() {
			w.lost.Add(int64(n))
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// cut ends all connections.
func (w *wire) cut() {
	w.conns.Range(func(from, to any) bool {
		_, _ = from.(io.Closer).Close(), to.(io.Closer).Close()
		w.conns.Delete(from)
		return true
	})
}

func (w *wire) url(server *postgres.Server, url string) string {
	return strings.Replace(url, server.Addr(), w.l.Addr().String(), 1)
}

// TestLostWordsAreUnknownOutcomes: every write whose request or whose answer is
// lost says so. A lost request has written nothing, a lost answer all of it; and
// ending again tells which, or ends.
func TestLostWordsAreUnknownOutcomes(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	url := schema(t, server)
	direct := patient(t, url)
	w := newWire(t, server)
	s := patient(t, w.url(server, url))
	ctx := context.Background()
	for name, lost := range map[string]*atomic.Bool{"request": &w.deaf, "answer": &w.mute} {
		ended, swapped, touched, kept, fresh := created(t, direct), created(t, direct), created(t, direct), created(t, direct), sample(int(subjects.Add(1)), direct.Now())
		head := headOf(t, direct)
		at := direct.Now().Truncate(time.Millisecond).Add(time.Minute)
		config, err := direct.ConfigVersion(ctx)
		if err != nil {
			t.Fatal(err)
		}
		done := func(id rescind.SessionID, is func(rescind.Snapshot) bool) func() bool {
			return func() bool {
				snap, err := direct.Lookup(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				return is(snap)
			}
		}
		version := func(n uint64) func(rescind.Snapshot) bool {
			return func(s rescind.Snapshot) bool { return s.Session.Version == n }
		}
		for method, c := range map[string]struct {
			call func() error
			done func() bool
		}{
			"Create": {func() error { _, err := s.Create(ctx, rescind.Creation{Session: fresh}); return err },
				done(fresh.ID, func(s rescind.Snapshot) bool { return s.Found })},
			"Replace": {func() error { return s.Replace(ctx, rescind.Replacement{Session: swapped}) }, done(swapped.ID, version(2))},
			"End": {func() error { _, err := s.End(ctx, rescind.End{Session: ended.ID, At: at}); return err },
				done(ended.ID, func(s rescind.Snapshot) bool { return s.Session.Ended() })},
			"Touch": {func() error { return s.Touch(ctx, touched.ID, at) },
				done(touched.ID, func(s rescind.Snapshot) bool { return s.Session.LastActive.Equal(at) })},
			"MoveCutoff": {func() error {
				_, err := s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: kept.ID.Tag(), At: at, Keep: &rescind.Keep{Session: kept.ID, Version: 1}})
				return err
			}, done(kept.ID, version(2))},
			"Configure": {func() error { _, err := s.Configure(ctx, rescind.Change{Expect: config}); return err },
				done(rescind.SessionID{}, func(s rescind.Snapshot) bool { return s.Config == config+1 })},
		} {
			warm(t, s, ended)
			before, result := w.lost.Load(), make(chan error, 1)
			lost.Store(true)
			go func() { result <- c.call() }()
			for limit := time.Now().Add(patience); w.lost.Load() == before || lost == &w.mute && !c.done(); time.Sleep(time.Millisecond) {
				if time.Now().After(limit) {
					t.Fatalf("%s whose %s is lost: it was never sent", method, name)
				}
			}
			w.cut()
			lost.Store(false)
			if err := <-result; !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrConflict) {
				t.Errorf("%s whose %s is lost: %v", method, name, err)
			}
			if got := c.done(); got != (lost == &w.mute) {
				t.Errorf("%s whose %s is lost: done is %t", method, name, got)
			}
		}
		if got, err := s.End(ctx, rescind.End{Session: ended.ID, At: at}); err != nil || got.Changed != (lost == &w.deaf) {
			t.Errorf("End again, after one whose %s was lost: %+v, %v", name, got, err)
		}
		want := rescind.Position(1) // of the End that was repeated
		if lost == &w.mute {
			want = 2 // of the End, and of the cutoff, which was not repeated
		}
		if got := headOf(t, direct) - head; got != want {
			t.Errorf("%d positions were taken where each %s was lost, want %d", got, name, want)
		}
	}
	mustBeDense(t, direct)
}

// warm makes calls that write nothing, so that there is a connection on which every
// statement has been prepared: what is lost then is the step itself.
func warm(t *testing.T, s *Store, there rescind.Session) {
	t.Helper()
	ctx, nobody := context.Background(), sample(3, s.Now())
	_, create := s.Create(ctx, rescind.Creation{Session: there})
	replace := s.Replace(ctx, rescind.Replacement{Session: nobody})
	_, end := s.End(ctx, rescind.End{Session: nobody.ID, At: s.Now()})
	_, move := s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: nobody.ID.Tag(), Keep: &rescind.Keep{Session: nobody.ID}})
	_, configure := s.Configure(ctx, rescind.Change{Expect: 1 << 40})
	for _, err := range []error{create, replace, move, configure} {
		if !errors.Is(err, rescind.ErrConflict) {
			t.Fatalf("a call that compares with what is not there: %v", err)
		}
	}
	if err := errors.Join(end, s.Touch(ctx, nobody.ID, s.Now())); err != nil {
		t.Fatal(err)
	}
}

func headOf(t *testing.T, s *Store) rescind.Position {
	t.Helper()
	page, err := s.Feed(context.Background(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return page.Head
}

// TestSlowNetworkIsOnlySlow: at 50 ms each way every call works. And the first call
// after connections were cut works too.
func TestSlowNetworkIsOnlySlow(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	url := schema(t, server)
	w := newWire(t, server)
	s := patient(t, w.url(server, url))
	w.delay.Store(int64(50 * time.Millisecond))
	for range 2 {
		mustWork(t, s, created(t, s))
		w.cut()
	}
}
