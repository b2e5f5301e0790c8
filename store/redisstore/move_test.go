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

// TestASlotThatMovesIsNeverHalf: while the keys of a shard go from one master to
// another, some here and some there, every call says what is so, or that it does
// not know; and when they have gone, everything is there.
func TestASlotThatMovesIsNeverHalf(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := redis.StartCluster(t, steady...)
	s := open(t, c.URL())
	hasty := openWith(t, c.URL(), patience/2) // what cannot be known takes so long
	h := s.shards[0]
	r := benchSession(1, s.Now())
	alive, dead := r, r
	alive.ID[0], dead.ID[0], dead.ID[23] = 0, 0, r.ID[23]+1 // both in the first shard
	for _, r := range []rescind.Session{alive, dead} {
		if _, err := s.Create(ctx, rescind.Creation{Session: r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := logout(s, dead.ID); err != nil {
		t.Fatal(err)
	}
	slot := c.Masters[0].Do("CLUSTER", "KEYSLOT", h.meta)
	var from, to *redis.Server
	for _, m := range c.Masters {
		if m.Do("CLUSTER", "COUNTKEYSINSLOT", slot) != "0" {
			from = m
		} else {
			to = m
		}
	}
	answered, unknown := 0, 0
	look := func(s *Store) {
		t.Helper()
		for _, r := range []rescind.Session{alive, dead} {
			switch snap, err := s.Lookup(ctx, r.ID); {
			case errors.Is(err, rescind.ErrUnavailable):
				unknown++
			case err != nil || !snap.Found || stands(&snap) != (r.ID == alive.ID):
				t.Fatalf("%+v, %v", snap, err)
			default:
				answered++
			}
		}
		if page, err := s.Feed(ctx, 0, 10); err == nil && len(page.Endings) != 1 || err != nil && !errors.Is(err, rescind.ErrUnavailable) {
			t.Fatalf("%+v, %v", page, err)
		}
		if err := s.Replace(ctx, rescind.Replacement{Session: dead}); err == nil {
			t.Fatal("an ended session was replaced")
		}
		if err := s.Touch(ctx, dead.ID, s.Now()); err != nil && !errors.Is(err, rescind.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	look(s)
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", from.Do("CLUSTER", "MYID"))
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.Do("CLUSTER", "MYID"))
	keys := strings.Split(from.Do("CLUSTER", "GETKEYSINSLOT", slot, "1000"), "\n")
	if len(keys) < 6 {
		t.Fatalf("only %d keys in the slot: %q", len(keys), keys)
	}
	host, port, _ := strings.Cut(to.Addr(), ":")
	for i, key := range keys {
		if i%3 == 1 { // each takes long, because what cannot be known is asked again
			look(hasty)
		}
		from.Do("MIGRATE", host, port, key, "0", "60000")
	}
	look(hasty)
	for _, m := range []*redis.Server{to, from} {
		m.Do("CLUSTER", "SETSLOT", slot, "NODE", to.Do("CLUSTER", "MYID"))
	}
	for limit := time.Now().Add(calm); ; time.Sleep(10 * time.Millisecond) {
		if _, err := s.Lookup(ctx, alive.ID); err == nil {
			break
		} else if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
	unknown = 0
	look(s)
	if unknown > 0 || answered < 4 {
		t.Errorf("%d look-ups were answered, and %d were not when all had moved", answered, unknown)
	}
	if err := logout(s, alive.ID); err != nil {
		t.Fatal(err)
	}
	mustStand(t, s, alive.ID, false)
}
