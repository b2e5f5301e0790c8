package guard_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
)

// An API that takes bearer tokens, with a route that needs more than the others.
func ExampleGuard_Require() {
	auth, done := exampleAuthority()
	defer done()
	g := guard.New(auth, guard.Options{})
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		access, _ := guard.From(r.Context())
		fmt.Fprintf(w, "orders of %s", access.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders", g.Handler(orders))
	mux.Handle("DELETE /orders", g.Require(rescind.Want{Scope: "orders:write"})(orders))

	login, err := auth.Issue(context.Background(), rescind.Login{Subject: "alice", Scope: "orders:read"})
	exampleMust(err)
	for _, method := range []string{"GET", "DELETE"} {
		r := httptest.NewRequest(method, "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+login.AccessToken.Reveal())
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(method, w.Code)
		if challenge := w.Header().Get("WWW-Authenticate"); challenge != "" {
			fmt.Println(challenge)
		}
	}
	// Output:
	// GET 200
	// DELETE 403
	// Bearer realm="rescind", error="insufficient_scope", error_description="the token lacks a scope that this needs", scope="orders:write"
}

// A site whose browsers keep the tokens in cookies.
func ExampleCookies() {
	auth, done := exampleAuthority()
	defer done()
	cookies, err := guard.NewCookies(auth, guard.New(auth, guard.Options{}), guard.CookieOptions{})
	exampleMust(err)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		// Here the application has made sure of who this is.
		if _, err := cookies.Login(w, r, rescind.Login{Subject: "alice"}); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("/refresh", cookies.RefreshHandler())
	mux.Handle("/logout", cookies.LogoutHandler())
	mux.Handle("/", cookies.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		access, _ := guard.From(r.Context())
		fmt.Fprint(w, access.Subject)
	})))

	site := httptest.NewTLSServer(mux)
	defer site.Close()
	browser := site.Client()
	browser.Jar, err = cookiejar.New(nil)
	exampleMust(err)
	visit := func(method, path string) {
		r, err := http.NewRequest(method, site.URL+path, nil)
		exampleMust(err)
		r.Header.Set("Sec-Fetch-Site", "same-origin") // as a browser says it
		res, err := browser.Do(r)
		exampleMust(err)
		exampleMust(res.Body.Close())
		fmt.Println(method, path, res.StatusCode)
	}
	visit("GET", "/")
	visit("POST", "/login")
	visit("GET", "/")
	visit("POST", "/refresh")
	visit("POST", "/logout")
	visit("GET", "/")
	// Output:
	// GET / 401
	// POST /login 200
	// GET / 200
	// POST /refresh 200
	// POST /logout 204
	// GET / 401
}

// exampleAuthority builds an Authority in memory; the example of package rescind
// shows one that stays.
func exampleAuthority() (auth *rescind.Authority, done func()) {
	store, err := pebblestore.Open("ledger", pebblestore.Options{FS: vfs.NewMem()})
	exampleMust(err)
	master, err := keys.ParseMaster(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	exampleMust(err)
	keeper, err := keys.New(master, keys.Options{})
	exampleMust(err)
	auth, err = rescind.New(context.Background(), rescind.Config{Store: store, Keys: keeper, Issuer: "https://login.example.com"})
	exampleMust(err)
	return auth, func() {
		auth.Close()
		exampleMust(store.Close())
	}
}

func exampleMust(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
