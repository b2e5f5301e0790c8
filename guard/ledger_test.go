package guard_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
)

const issuer = "https://login.example.com"

// ledger is a real Authority over a real store in memory, whose calls a test can
// hold up or make fail.
type ledger struct {
	*rescind.Authority
	ahead atomic.Int64 // of the clock

	// Hooks run after the call has done its work and before its answer is seen.
	afterCheck, afterRefresh func()
	fail                     atomic.Pointer[error] // of every call, instead of its work
	failFor                  string                // a token whose logout is unavailable
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	l := &ledger{}
	store, err := pebblestore.Open("ledger", pebblestore.Options{FS: vfs.NewMem(), Now: l.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	master, err := keys.ParseMaster(base64.StdEncoding.EncodeToString(secret[:]))
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := keys.New(master, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Authority, err = rescind.New(t.Context(), rescind.Config{Store: store, Keys: keeper, Issuer: issuer, WithoutUpkeep: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Authority.Close)
	return l
}

func (l *ledger) now() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }

func (l *ledger) advance(d time.Duration) { l.ahead.Add(int64(d)) }

func (l *ledger) failWith(err error) {
	if err == nil {
		l.fail.Store(nil)
		return
	}
	l.fail.Store(&err)
}

func (l *ledger) failure() error {
	if err := l.fail.Load(); err != nil {
		return *err
	}
	return nil
}

func after(hook func()) {
	if hook != nil {
		hook()
	}
}

func (l *ledger) Check(ctx context.Context, token string, want rescind.Want) (rescind.Access, error) {
	if err := l.failure(); err != nil {
		return rescind.Access{}, err
	}
	defer after(l.afterCheck)
	return l.Authority.Check(ctx, token, want)
}

func (l *ledger) Issue(ctx context.Context, login rescind.Login) (rescind.Grant, error) {
	if err := l.failure(); err != nil {
		return rescind.Grant{}, err
	}
	return l.Authority.Issue(ctx, login)
}

func (l *ledger) Refresh(ctx context.Context, r rescind.Refresh) (rescind.Grant, error) {
	if err := l.failure(); err != nil {
		return rescind.Grant{}, err
	}
	defer after(l.afterRefresh)
	return l.Authority.Refresh(ctx, r)
}

func (l *ledger) Logout(ctx context.Context, token string, all bool) (rescind.Receipt, error) {
	if err := l.failure(); err != nil {
		return rescind.Receipt{}, err
	}
	if token == l.failFor {
		return rescind.Receipt{}, rescind.ErrUnavailable
	}
	return l.Authority.Logout(ctx, token, all)
}

func (l *ledger) issue(t testing.TB, login rescind.Login) rescind.Grant {
	t.Helper()
	if login.Subject == "" {
		login.Subject = "alice"
	}
	g, err := l.Authority.Issue(t.Context(), login)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// passes reports whether a token stands, asking the ledger itself.
func (l *ledger) passes(t testing.TB, token rescind.Secret) bool {
	t.Helper()
	_, err := l.Authority.Check(t.Context(), token.Reveal(), rescind.Want{AnyAudience: true, NoTouch: true})
	return err == nil
}

var (
	_ guard.Checker  = (*rescind.Authority)(nil)
	_ guard.Sessions = (*rescind.Authority)(nil)
	_ guard.Ledger   = (*rescind.Authority)(nil)
)
