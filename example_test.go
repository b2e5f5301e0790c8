package rescind_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
)

// The whole library without a server: open a store, build an Authority, put a
// guard in front of a handler, log in, call, log out, replay.
func Example() {
	ctx := context.Background()
	dir := exampleDir()
	defer os.RemoveAll(dir)

	store, err := pebblestore.Open(filepath.Join(dir, "ledger"), pebblestore.Options{})
	ensure(err)
	defer store.Close()
	master, _, err := keys.LoadOrCreateMaster(filepath.Join(dir, "master.key"))
	ensure(err)
	keeper, err := keys.New(master, keys.Options{})
	ensure(err)
	auth, err := rescind.New(ctx, rescind.Config{Store: store, Keys: keeper, Issuer: "https://login.example.com"})
	ensure(err)
	defer auth.Close()

	api := guard.New(auth, guard.Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := guard.From(r.Context())
		fmt.Fprint(w, "hello, ", who.Subject)
	}))

	login, err := auth.Issue(ctx, rescind.Login{Subject: "alice"})
	ensure(err)
	fmt.Println(callAPI(api, login.AccessToken))
	_, err = auth.Logout(ctx, login.AccessToken.Reveal(), false)
	ensure(err)
	fmt.Println(callAPI(api, login.AccessToken))
	// Output:
	// 200 hello, alice
	// 401
}

// A refresh token has one successor. Coming back late with a used one ends the
// session: somebody else may have it.
func ExampleAuthority_Refresh() {
	auth, done := exampleAuthority()
	defer done()
	ctx := context.Background()
	// A client whose users get no second chance with a lost reply.
	_, err := auth.AddClient(ctx, rescind.Client{ID: "bank", Public: true, Strict: true}, false, "")
	ensure(err)

	login, err := auth.Issue(ctx, rescind.Login{Subject: "alice", Client: "bank"})
	ensure(err)
	next, err := auth.Refresh(ctx, rescind.Refresh{Client: "bank", Token: login.RefreshToken.Reveal()})
	ensure(err)
	fmt.Println("rotated:", next.RefreshToken != login.RefreshToken)

	_, err = auth.Refresh(ctx, rescind.Refresh{Client: "bank", Token: login.RefreshToken.Reveal()})
	fmt.Println("reuse:", errors.Is(err, rescind.ErrReuse))
	_, err = auth.Check(ctx, next.AccessToken.Reveal(), rescind.Want{})
	fmt.Println("ended:", errors.Is(err, rescind.ErrInactive))
	// Output:
	// rotated: true
	// reuse: true
	// ended: true
}

// End every session of a subject but the one at hand, as after a change of the
// password.
func ExampleAuthority_Revoke() {
	auth, done := exampleAuthority()
	defer done()
	ctx := context.Background()
	var logins []rescind.Grant
	for range 3 {
		g, err := auth.Issue(ctx, rescind.Login{Subject: "alice"})
		ensure(err)
		logins = append(logins, g)
	}
	others := rescind.Revocation{
		Selector: rescind.Selector{Subject: "alice", ExceptSession: logins[0].Session},
		Actor:    "support", Reason: "password changed",
	}
	others.DryRun = true
	receipt, err := auth.Revoke(ctx, others)
	ensure(err)
	fmt.Println("would end:", *receipt.Sessions)

	others.DryRun = false
	_, err = auth.Revoke(ctx, others)
	ensure(err) // after ErrUnavailable: repeat it until it returns nil
	for _, g := range logins {
		_, err := auth.Check(ctx, g.AccessToken.Reveal(), rescind.Want{})
		fmt.Println(err)
	}
	// Output:
	// would end: 2
	// <nil>
	// token is not active: revoked
	// token is not active: revoked
}

// callAPI calls an API with a bearer token.
func callAPI(api http.Handler, token rescind.Secret) string {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Sprint(w.Code)
	}
	return fmt.Sprint(w.Code, " ", w.Body)
}

// exampleAuthority builds one over a store in a folder that done removes.
func exampleAuthority() (auth *rescind.Authority, done func()) {
	dir := exampleDir()
	store, err := pebblestore.Open(filepath.Join(dir, "ledger"), pebblestore.Options{})
	ensure(err)
	master, _, err := keys.LoadOrCreateMaster(filepath.Join(dir, "master.key"))
	ensure(err)
	keeper, err := keys.New(master, keys.Options{})
	ensure(err)
	auth, err = rescind.New(context.Background(), rescind.Config{Store: store, Keys: keeper, Issuer: "https://login.example.com"})
	ensure(err)
	return auth, func() {
		auth.Close()
		ensure(store.Close())
		ensure(os.RemoveAll(dir))
	}
}

func exampleDir() string {
	dir, err := os.MkdirTemp("", "rescind")
	ensure(err)
	return dir
}

func ensure(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
