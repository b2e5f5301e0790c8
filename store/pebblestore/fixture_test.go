package pebblestore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
)

// testDir is the store's folder in file systems that live in memory.
const testDir = "ledger"

// patience is the time-out of stores here that are not tested for it: no machine is
// so busy, and nobody waits for it.
const patience = time.Minute

func openOn(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(testDir, Options{FS: fs, CacheSize: 1 << 20, Timeout: patience})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func testTag(n byte) rescind.Tag { return rescind.Tag{0: n, 11: n} }

func testSession(tag rescind.Tag, now time.Time) rescind.Session {
	return rescind.Session{
		ID: rescind.NewSessionID(tag), Subject: "ann", Client: "app", Scope: "read",
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), LastActive: now, IdleTimeout: time.Hour, AccessLifetime: time.Minute,
	}
}

func login(t testing.TB, s *Store, tag rescind.Tag) rescind.Session {
	t.Helper()
	r := testSession(tag, s.Now())
	birth, err := s.Create(context.Background(), rescind.Creation{Session: r})
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	r.Version, r.Birth = 1, birth
	return r
}

func logout(s *Store, id rescind.SessionID) error {
	_, err := s.End(context.Background(), rescind.End{Session: id, At: s.Now(), Reason: rescind.ReasonLogout,
		Event: rescind.Event{At: s.Now(), Kind: rescind.EventSessionEnded, Actor: "test", Session: id.String()}})
	return err
}

func stands(s *rescind.Snapshot) bool {
	return s.Found && !s.Session.Ended() && !s.Cutoffs.Passed(s.Session.Birth)
}

func mustStand(t testing.TB, s *Store, id rescind.SessionID, want bool) {
	t.Helper()
	snap, err := s.Lookup(context.Background(), id)
	if err != nil {
		t.Fatalf("Lookup: %v", err)
	}
	if stands(&snap) != want {
		t.Fatalf("session %s stands: %v, want %v", id, !want, want)
	}
}

func mustBeUnavailable(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, rescind.ErrUnavailable) {
		t.Fatalf("%s: want ErrUnavailable, got %v", what, err)
	}
}

// fact is something that somebody was told: a write was acknowledged, or a reader
// saw it. No crash may take it back.
type fact struct {
	id      rescind.SessionID
	version uint64
	dead    bool
	head    rescind.Position
	config  uint64
}

// witness remembers facts in the order in which they were told.
type witness struct {
	mu    sync.Mutex
	facts []fact
}

func (w *witness) saw(f fact) {
	w.mu.Lock()
	w.facts = append(w.facts, f)
	w.mu.Unlock()
}

func (w *witness) so() []fact {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts[:len(w.facts):len(w.facts)]
}

// hold fails the test unless every fact still holds in s.
func hold(t testing.TB, what string, s *Store, facts []fact) {
	t.Helper()
	ctx := context.Background()
	page, err := s.Feed(ctx, 0, 1)
	if err != nil {
		t.Fatalf("%s: Feed: %v", what, err)
	}
	config, err := s.ConfigVersion(ctx)
	if err != nil {
		t.Fatalf("%s: ConfigVersion: %v", what, err)
	}
	sum := map[rescind.SessionID]fact{} // of each session all that was told
	for _, f := range facts {
		of := sum[f.id]
		of.version, of.dead = max(of.version, f.version), of.dead || f.dead
		of.head, of.config = max(of.head, f.head), max(of.config, f.config)
		sum[f.id] = of
	}
	for id, f := range sum {
		if f.head > page.Head || f.config > config {
			t.Fatalf("%s: head %d and configuration %d were told, now they are %d and %d", what, f.head, f.config, page.Head, config)
		}
		if id.IsZero() {
			continue
		}
		snap, err := s.Lookup(ctx, id)
		if err != nil {
			t.Fatalf("%s: Lookup: %v", what, err)
		}
		if !snap.Found || snap.Session.Version < f.version {
			t.Fatalf("%s: version %d of a session was told, now it is found: %v, version %d", what, f.version, snap.Found, snap.Session.Version)
		}
		if f.dead && stands(&snap) {
			t.Fatalf("%s: session %s was told to be dead and lives again", what, id)
		}
	}
}
