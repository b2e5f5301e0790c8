package client_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/rescindtest"
)

// failing is a store that cannot be reached while broken is set.
type failing struct {
	rescind.Store
	broken *atomic.Bool
}

func (s failing) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	if s.broken.Load() {
		return rescind.Snapshot{}, io.ErrUnexpectedEOF
	}
	return s.Store.Lookup(ctx, id)
}

// TestCookiesOverTheNetwork: a backend whose guard and sessions are a client of a
// remote server keeps the same promises as one that embeds the ledger.
func TestCookiesOverTheNetwork(t *testing.T) {
	var broken atomic.Bool
	s := rescindtest.Start(t, func(set *rescindtest.Settings) {
		set.WrapStore = func(store rescind.Store) rescind.Store { return failing{store, &broken} }
	})
	c := dial(t, s, s.App)
	cookies, err := guard.NewCookies(c, guard.New(c, guard.Options{Now: func() time.Time { return time.Now().Add(time.Minute) }}), guard.CookieOptions{})
	ok(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if _, err := cookies.Login(w, r, rescind.Login{Subject: "alice"}); err != nil {
			t.Error(err)
		}
	})
	mux.Handle("/refresh", cookies.RefreshHandler())
	mux.Handle("/logout", cookies.LogoutHandler())
	mux.Handle("/logout-all", cookies.LogoutAllHandler())
	mux.Handle("/", cookies.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, _ := guard.From(r.Context())
		_, _ = io.WriteString(w, a.Subject)
	})))
	call := func(want int, method, path string, held []*http.Cookie) []*http.Cookie {
		t.Helper()
		r := httptest.NewRequest(method, path, nil)
		for _, k := range held {
			r.AddCookie(k)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s %s: %d, want %d", method, path, w.Code, want)
		}
		return w.Result().Cookies()
	}
	first := call(200, "POST", "/login", nil)
	call(200, "GET", "/", first)
	second := call(200, "POST", "/refresh", first)
	call(200, "GET", "/", second)

	broken.Store(true)
	call(503, "GET", "/", second)
	if set := call(503, "POST", "/refresh", second); len(set) != 0 {
		t.Error("an outage set cookies")
	}
	for _, path := range []string{"/logout", "/logout-all"} {
		if set := call(503, "POST", path, second); len(set) != 0 {
			t.Error("an outage cleared cookies")
		}
	}
	broken.Store(false)

	other := call(200, "POST", "/login", nil)
	call(204, "POST", "/logout", second)
	for _, old := range [][]*http.Cookie{first, second} {
		call(401, "GET", "/", old)
		call(401, "POST", "/refresh", old)
	}
	call(200, "GET", "/", other)
	call(204, "POST", "/logout-all", other)
	call(401, "GET", "/", other)
}
