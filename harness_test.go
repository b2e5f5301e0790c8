package rescind_test

import (
	"context"
	"encoding/base64"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
)

const (
	issuer       = "https://login.example"
	masterKey    = "thirty-two bytes of a master key"
	clientSecret = "a-secret-of-more-than-32-characters"
)

// clock is a wall clock that a test moves by hand.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) Advance(d time.Duration) { c.nanos.Add(int64(d)) }

// world is an Authority over a real embedded store in memory, with what is
// needed to open the same state again.
type world struct {
	*rescind.Authority
	t     testing.TB
	clock *clock
	fs    vfs.FS
	store rescind.Store
	keys  *keys.Keeper
	conf  rescind.Config
}

func newWorld(t testing.TB, change ...func(*rescind.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), fs: vfs.NewMem()}
	master, err := keys.ParseMaster(base64.StdEncoding.EncodeToString([]byte(masterKey)))
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = keys.New(master, keys.Options{}); err != nil {
		t.Fatal(err)
	}
	w.conf = rescind.Config{Issuer: issuer, Audience: "notes", WithoutUpkeep: true}
	w.open()
	for _, f := range change {
		f(&w.conf)
	}
	w.start()
	t.Cleanup(func() {
		w.Authority.Close()
		if err := w.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	s, err := pebblestore.Open("data", pebblestore.Options{FS: w.fs, Now: w.clock.Now, Timeout: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
}

func (w *world) start() {
	w.t.Helper()
	if w.conf.Store == nil {
		w.conf.Store = w.store
	}
	w.conf.Keys = w.keys
	a, err := rescind.New(context.Background(), w.conf)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Authority = a
}

// restart closes the store and opens the same state again.
func (w *world) restart() {
	w.t.Helper()
	w.Authority.Close()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	w.conf.Store = w.store
	w.start()
}

func (w *world) client(c rescind.Client) {
	w.t.Helper()
	if !c.Public {
		if err := c.SetSecret(clientSecret); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.AddClient(context.Background(), c, true, "test"); err != nil {
		w.t.Fatal(err)
	}
}

// both forms of access token, as clients.
var forms = []rescind.Client{
	{ID: "jwt-client", Format: rescind.FormatJWT},
	{ID: "opaque-client", Format: rescind.FormatOpaque},
}

func (w *world) login(subject, client string) rescind.Grant {
	w.t.Helper()
	g, err := w.Issue(context.Background(), rescind.Login{Subject: subject, Client: client, Scope: "read write"})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) check(token rescind.Secret) error {
	_, err := w.Check(context.Background(), token.Reveal(), rescind.Want{})
	return err
}

func (w *world) refresh(client string, token rescind.Secret) (rescind.Grant, error) {
	return w.Refresh(context.Background(), rescind.Refresh{Client: client, Token: token.Reveal()})
}

func (w *world) mustRefresh(client string, token rescind.Secret) rescind.Grant {
	w.t.Helper()
	g, err := w.refresh(client, token)
	if err != nil {
		w.t.Fatalf("refresh: %v", err)
	}
	return g
}

func (w *world) alive(token rescind.Secret) {
	w.t.Helper()
	if err := w.check(token); err != nil {
		w.t.Fatalf("a live token is refused: %v", err)
	}
}

// rounds is a full count, or a shrunken one unless the slow suite is asked for.
func rounds(full, quick int) int {
	if os.Getenv("RESCIND_SLOW") != "" {
		return full
	}
	return quick
}
