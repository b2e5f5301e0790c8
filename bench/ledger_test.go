package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rescind/rescind"
)

// What is measured must be what it is called: tokens of both kinds that stand,
// of distinct sessions, and a comparison that really verifies.
func TestLedgerIsFilledAsPlanned(t *testing.T) {
	ctx := context.Background()
	l, err := openLedger(ctx, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := plan{sessions: 600, jwt: 60, opaque: 120, ids: 300}
	err = errors.Join(l.fill(ctx, p, func(int) {}), l.close())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.warm(ctx); err != nil {
		t.Fatal(err)
	}
	if len(l.jwt) != p.jwt || len(l.opaque) != p.opaque || len(l.ids) != p.ids {
		t.Fatalf("%d JWTs, %d opaque tokens, %d ids", len(l.jwt), len(l.opaque), len(l.ids))
	}
	seen := map[rescind.SessionID]bool{}
	for i, c := range append(append([]credential{}, l.jwt...), l.opaque...) {
		access, err := l.authority.Check(ctx, c.access, rescind.Want{})
		if err != nil {
			t.Fatal(err)
		}
		if isJWT := strings.HasPrefix(c.access, "ey"); isJWT != (i < p.jwt) {
			t.Fatalf("token %d is a JWT: %v", i, isJWT)
		}
		if seen[access.Session] {
			t.Fatalf("session %s came twice", access.Session)
		}
		seen[access.Session] = true
	}
	distinct := map[rescind.SessionID]bool{}
	for _, id := range l.ids {
		distinct[id] = true
	}
	if len(distinct) != p.ids {
		t.Errorf("%d ids are %d sessions", p.ids, len(distinct))
	}

	other, err := newStateless(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range l.jwt {
		if err := other.check(c.access); err != nil {
			t.Fatal(err)
		}
	}
	token := l.jwt[0].access
	at := strings.LastIndexByte(token, '.') + 10
	for _, bad := range []string{token[:at] + "AAAA" + token[at+4:], l.opaque[0].access, ""} {
		if other.check(bad) == nil {
			t.Errorf("golang-jwt takes %q", bad)
		}
	}
}

func TestUserAgentHasItsSize(t *testing.T) {
	for range 1000 {
		if ua := userAgent(); len(ua) != userAgentSize {
			t.Fatalf("%d bytes: %q", len(ua), ua)
		}
	}
}

// The options must come from the store itself, or disk use would be measured on
// tables that no store writes.
func TestOptionsAreTheStoresOwn(t *testing.T) {
	l, err := openLedger(context.Background(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	o, err := likeStore(l.data())
	if err != nil {
		t.Fatal(err)
	}
	if o.Levels[0].BlockSize == 0 || o.Levels[6].FilterPolicy == nil || o.MemTableSize == 0 {
		t.Errorf("block size %d, filter %v, memtable %d", o.Levels[0].BlockSize, o.Levels[6].FilterPolicy, o.MemTableSize)
	}
}
