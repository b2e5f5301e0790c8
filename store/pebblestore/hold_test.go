package pebblestore

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rescind/rescind"
)

// gate holds the syncs of the log while it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}
}

func (g *gate) MaybeError(op errorfs.Op) error {
	if isSync(op) && strings.HasSuffix(op.Path, ".log") {
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut != nil {
			<-shut
		}
	}
	return nil
}

func (g *gate) String() string { return "gate" }

func (g *gate) close() {
	g.mu.Lock()
	g.shut = make(chan struct{})
	g.mu.Unlock()
}

func (g *gate) open() {
	g.mu.Lock()
	close(g.shut)
	g.shut = nil
	g.mu.Unlock()
}

// held is a store with one write that Pebble shows already and that is not on
// disk.
type held struct {
	*Store
	fs      *vfs.MemFS
	gate    *gate
	session rescind.Session // that the write ends or changes
	other   rescind.Session
	write   chan error
}

func underWay(t *testing.T, timeout time.Duration, write func(*Store, rescind.Session) error) *held {
	t.Helper()
	h := &held{fs: vfs.NewCrashableMem(), gate: &gate{}, write: make(chan error, 1)}
	var err error
	h.Store, err = Open(testDir, Options{FS: errorfs.Wrap(h.fs, h.gate), CacheSize: 1 << 20, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	h.session, h.other = login(t, h.Store, testTag(1)), login(t, h.Store, testTag(2))
	h.gate.close()
	before := h.applied.Load()
	go func() { h.write <- write(h.Store, h.session) }()
	for h.applied.Load() == before {
		time.Sleep(time.Millisecond)
	}
	return h
}

func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func end(s *Store, r rescind.Session) error { return logout(s, r.ID) }

func moveSubject(s *Store, r rescind.Session) error {
	_, err := s.MoveCutoff(context.Background(), rescind.CutoffMove{Kind: rescind.EndSubject, Tag: r.ID.Tag(), At: s.Now()})
	return err
}

// TestNothingIsSeenBeforeItIsDurable holds the sync of an ending. Nobody may say
// that the session is dead, or that it lives, before the disk has spoken.
func TestNothingIsSeenBeforeItIsDurable(t *testing.T) {
	h := underWay(t, patience, end)
	ctx := context.Background()

	snap, err := h.Lookup(brief(t), h.session.ID)
	mustBeUnavailable(t, "Lookup of a session whose ending is under way", err)
	if snap.Found {
		t.Fatal("the answer without an answer has something in it")
	}
	_, err = h.List(brief(t), rescind.ListQuery{Limit: 10})
	mustBeUnavailable(t, "List with an ending under way", err)
	mustStand(t, h.Store, h.other.ID, true) // others need not wait

	// What holds of the past is told at once, without what is under way.
	page, err := h.Feed(ctx, 0, 10)
	if err != nil || page.Head != 0 || len(page.Endings) != 0 {
		t.Fatalf("Feed shows an ending that is not durable: %+v, %v", page, err)
	}
	events, err := h.Events(ctx, rescind.EventQuery{Kind: rescind.EventSessionEnded})
	if err != nil || len(events.Events) != 0 {
		t.Fatalf("Events shows an ending that is not durable: %+v, %v", events, err)
	}

	// The power goes now: the session lives, and nobody was told otherwise.
	after := openOn(t, h.fs.CrashClone(vfs.CrashCloneCfg{}))
	mustStand(t, after, h.session.ID, true)
	closed(t, after)

	answers := make(chan bool, 1)
	go func() {
		snap, err := h.Lookup(ctx, h.session.ID)
		answers <- err == nil && !stands(&snap)
	}()
	select {
	case <-answers:
		t.Fatal("Lookup answered before the disk did")
	case err := <-h.write:
		t.Fatalf("End answered before the disk did: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	h.gate.open()
	if err := <-h.write; err != nil {
		t.Fatal(err)
	}
	if !<-answers {
		t.Fatal("Lookup did not see the ending when it was durable")
	}
	mustStand(t, h.Store, h.session.ID, false)
	closed(t, h.Store)
}

// TestACutoffIsNotSeenBeforeItIsDurable: look-ups go on under the old cutoff.
func TestACutoffIsNotSeenBeforeItIsDurable(t *testing.T) {
	h := underWay(t, patience, moveSubject)
	mustStand(t, h.Store, h.session.ID, true)
	h.gate.open()
	if err := <-h.write; err != nil {
		t.Fatal(err)
	}
	mustStand(t, h.Store, h.session.ID, false)

	// A second move, now that the subject has a cutoff and look-ups read it.
	fresh := login(t, h.Store, h.session.ID.Tag())
	h.gate.close()
	before := h.applied.Load()
	go func() { h.write <- moveSubject(h.Store, fresh) }()
	for h.applied.Load() == before {
		time.Sleep(time.Millisecond)
	}
	_, err := h.Lookup(brief(t), fresh.ID)
	mustBeUnavailable(t, "Lookup under a cutoff that is moving", err)
	h.gate.open()
	if err := <-h.write; err != nil {
		t.Fatal(err)
	}
	mustStand(t, h.Store, fresh.ID, false)
	closed(t, h.Store)
}

// TestTheConfigurationIsNotSeenBeforeItIsDurable: readers go on with the old one.
func TestTheConfigurationIsNotSeenBeforeItIsDurable(t *testing.T) {
	h := underWay(t, patience, func(s *Store, _ rescind.Session) error {
		_, err := s.Configure(context.Background(), rescind.Change{Documents: []rescind.Document{{Kind: "k", ID: "i", Value: []byte("v")}}})
		return err
	})
	cfg, err := h.Config(context.Background())
	if err != nil || cfg.Version != 0 || len(cfg.Documents) != 0 {
		t.Fatalf("Config shows a change that is not durable: %+v, %v", cfg, err)
	}
	h.gate.open()
	if err := <-h.write; err != nil {
		t.Fatal(err)
	}
	if cfg, err = h.Config(context.Background()); err != nil || cfg.Version != 1 || len(cfg.Documents) != 1 {
		t.Fatalf("Config does not show a durable change: %+v, %v", cfg, err)
	}
	closed(t, h.Store)
}

// TestAHangingDiskIsUnavailable: no call outlasts the time-out, and none of them
// says yes.
func TestAHangingDiskIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 200 * time.Millisecond
		h := underWay(t, timeout, end)
		begun := time.Now()
		inTime := func(what string, err error) {
			t.Helper()
			mustBeUnavailable(t, what, err)
			if took := time.Since(begun); took > timeout {
				t.Errorf("%s took %s", what, took)
			}
			begun = time.Now()
		}
		inTime("End on a hanging disk", <-h.write)
		_, err := h.Lookup(context.Background(), h.session.ID)
		inTime("Lookup on a hanging disk", err)
		inTime("a second End on a hanging disk", logout(h.Store, h.session.ID))
		h.gate.open() // the disk was only slow: the store goes on
		if err := logout(h.Store, h.session.ID); err != nil {
			t.Fatalf("the store does not go on: %v", err)
		}
		mustStand(t, h.Store, h.session.ID, false)
		closed(t, h.Store)
	})
}

// TestCloseWaitsForWhatIsUnderWay: what was taken is answered, and durable.
func TestCloseWaitsForWhatIsUnderWay(t *testing.T) {
	h := underWay(t, patience, end)
	done := make(chan error, 1)
	go func() { done <- h.Close() }()
	for {
		if _, err := h.queue.join(&touchStep{}); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	h.gate.open()
	if err := <-h.write; err != nil {
		t.Fatalf("End under way while closing: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatalf("a second Close: %v", err)
	}
	_, err := h.Lookup(context.Background(), h.session.ID)
	mustBeUnavailable(t, "Lookup after Close", err)
	mustBeUnavailable(t, "End after Close", logout(h.Store, h.session.ID))
	mustBeUnavailable(t, "Backup after Close", h.Backup(context.Background(), nil))
	again := openOn(t, h.fs.CrashClone(vfs.CrashCloneCfg{}))
	mustStand(t, again, h.session.ID, false)
	closed(t, again)
}
