package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/redis"
)

// TestAServerThatHasBecomeAReplicaIsNotBelieved: law 1. It goes on answering reads,
// from what its master may have left behind.
func TestAServerThatHasBecomeAReplicaIsNotBelieved(t *testing.T) {
	server := redis.Start(t)
	s := impatient(t, server.URL())
	r := enrol(t, s, 1)
	lookup := func() error {
		_, err := s.Lookup(context.Background(), r.ID)
		return err
	}
	server.Restart("--replicaof", "127.0.0.1 1") // a master that nobody reaches
	if err := lookup(); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("a server that comes back as a replica: %v", err)
	}
	server.Restart("--replicaof", "no one")
	mustStand(t, s, r.ID, true)

	server.Do("REPLICAOF", "127.0.0.1", "1")
	for limit := time.Now().Add(calm); ; time.Sleep(20 * time.Millisecond) {
		err := lookup()
		if errors.Is(err, rescind.ErrUnavailable) && strings.Contains(err.Error(), "replica") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("a server that was made a replica while it runs: %v", err)
		}
	}
	server.Do("REPLICAOF", "NO", "ONE")
	mustStand(t, s, r.ID, true)
}

// TestKeysAreRevokedWithFullMemory: a change of the configuration that has begun
// must end, or nobody is told anything any more.
func TestKeysAreRevokedWithFullMemory(t *testing.T) {
	ctx := context.Background()
	server := redis.Start(t)
	s := open(t, server.URL())
	r := enrol(t, s, 1)
	cfg, err := s.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	abandoned := rescind.Change{Expect: cfg.Version, Ends: []rescind.Ending{{Kind: rescind.EndKey, Name: "a", At: s.Now()}}}
	keys, args := s.change(&abandoned)
	if _, _, err := s.compare(ctx, keys, args); err != nil { // and the node dies
		t.Fatal(err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "1mb")
	mustStand(t, s, r.ID, true)
	if v, err := s.ConfigVersion(ctx); err != nil || v != cfg.Version+1 {
		t.Fatalf("a change that a node left unfinished: %d, %v", v, err)
	}
	if _, err := s.Configure(ctx, rescind.Change{Expect: cfg.Version + 1, Ends: []rescind.Ending{{Kind: rescind.EndKey, Name: "b", At: s.Now()}}}); err != nil {
		t.Errorf("a key's revocation: %v", err)
	}
}

// TestAStepThatIsCutShortSparesNothing: law 1. A server that refuses a part of a
// script, as one whose rules for accounts have changed, takes back nothing of what
// came before.
func TestAStepThatIsCutShortSparesNothing(t *testing.T) {
	ctx := context.Background()
	server := redis.Start(t)
	s := open(t, server.URL())
	r := enrol(t, s, 1)
	server.Do("ACL", "SETUSER", "default", "-xadd")
	move := rescind.CutoffMove{Kind: rescind.EndSubject, Tag: r.ID.Tag(), At: s.Now(), Keep: &rescind.Keep{Session: r.ID, Version: r.Version}}
	if _, err := s.MoveCutoff(ctx, move); !errors.Is(err, rescind.ErrUnavailable) {
		t.Fatalf("a step that is refused: %v", err)
	}
	server.Do("ACL", "SETUSER", "default", "+xadd")
	move.Keep = nil
	if _, err := s.MoveCutoff(ctx, move); err != nil {
		t.Fatal(err)
	}
	mustStand(t, s, r.ID, false)
}
