package rescind_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/rescind/rescind"
)

// TestEveryNodeNoticesARevokedKey has two Authorities over one store. The second
// hears of nothing but what its own look-ups tell it.
func TestEveryNodeNoticesARevokedKey(t *testing.T) {
	for _, use := range []rescind.KeyUse{rescind.KeyUseSign, rescind.KeyUseMAC} {
		w := newWorld(t)
		second, err := rescind.New(context.Background(), w.conf)
		if err != nil {
			t.Fatal(err)
		}
		g := w.login("alice", "app")
		if _, err := second.Check(context.Background(), g.AccessToken.Reveal(), rescind.Want{}); err != nil {
			t.Fatal(err)
		}
		if err := w.revokeKeys(use); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Check(context.Background(), g.AccessToken.Reveal(), rescind.Want{}); !errors.Is(err, rescind.ErrRevoked) {
			t.Errorf("%s key: the other node says %v", use, err)
		}
		// And what the first makes with the new key, the second takes.
		g = w.login("alice", "app")
		if _, err := second.Check(context.Background(), g.AccessToken.Reveal(), rescind.Want{}); err != nil {
			t.Errorf("%s key: a token by the new key: %v", use, err)
		}
		if _, err := second.Refresh(context.Background(), rescind.Refresh{Token: g.RefreshToken.Reveal()}); err != nil {
			t.Errorf("%s key: a refresh token by the new key: %v", use, err)
		}
	}
}

// forge makes a refresh token with the server's own MAC key.
func (w *world) forge(id rescind.SessionID, generation uint32, salt [16]byte) rescind.Secret {
	w.t.Helper()
	cfg, err := w.store.Config(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	ring, err := w.keys.Load(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	key := ring.MACKey()
	body := append([]byte(nil), id[:]...)
	body = binary.BigEndian.AppendUint32(body, generation)
	body = append(append(body, key[:]...), salt[:]...)
	mac, err := ring.MAC(key, append([]byte("rescind refresh token v1\x00"), body...))
	if err != nil {
		w.t.Fatal(err)
	}
	return rescind.Secret("rsr_" + base64.RawURLEncoding.EncodeToString(append(body, mac[:]...)))
}

// TestStolenMACKeyAloneMakesNoRefreshToken: the salt is in the store and in the
// tokens, and nowhere else.
func TestStolenMACKeyAloneMakesNoRefreshToken(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice", "app")
	forge := func(salt byte) rescind.Secret {
		return w.forge(g.Session, 0, [16]byte(bytes.Repeat([]byte{salt}, 16)))
	}
	for salt := range byte(8) {
		if _, err := w.refresh("app", forge(salt)); !errors.Is(err, rescind.ErrMalformed) {
			t.Fatalf("a guessed salt: %v", err)
		}
		if _, err := w.Logout(context.Background(), forge(salt).Reveal(), false); !errors.Is(err, rescind.ErrMalformed) {
			t.Fatalf("logout with a guessed salt: %v", err)
		}
	}
	w.alive(g.AccessToken)
	w.mustRefresh("app", g.RefreshToken)
}

// TestDryRunCountsSessionsUnderAKeyThatIsNewHere: a node that has not heard of a
// MAC key must not take its sessions for ended.
func TestDryRunCountsSessionsUnderAKeyThatIsNewHere(t *testing.T) {
	ctx := context.Background()
	for _, what := range []string{"session", "key"} {
		w := newWorld(t)
		second, err := rescind.New(ctx, w.conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.RotateKey(ctx, rescind.KeyUseMAC, "test"); err != nil {
			t.Fatal(err)
		}
		infos, err := w.ListKeys(ctx)
		if err != nil {
			t.Fatal(err)
		}
		g := w.login("alice", "app")
		sel := rescind.Selector{Session: g.Session}
		if what == "key" {
			sel = rescind.Selector{}
			for _, k := range infos {
				if k.Use == rescind.KeyUseMAC && k.State == rescind.KeyCurrent {
					sel.Key = k.ID
				}
			}
		}
		r, err := second.Revoke(ctx, rescind.Revocation{Selector: sel, DryRun: true})
		if err != nil || *r.Sessions != 1 {
			t.Errorf("%s: %d would end, %v", what, *r.Sessions, err)
		}
	}
}
