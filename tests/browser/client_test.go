package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/rescindtest"
)

// shown returns a file that docs/browser.md shows.
func shown(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "browser.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```js "+name+"\n")
	block, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatalf("docs/browser.md shows no %s", name)
	}
	return block
}

// TestTheGuideShowsThePage: what it says about the page of the examples stands
// in that page, and so is tested here.
func TestTheGuideShowsThePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "examples", "page", "page.js"))
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(shown(t, "page.js"), "\n\n") {
		if !strings.Contains(string(page), strings.TrimSpace(part)) {
			t.Errorf("this is not in the page:\n%s", part)
		}
	}
}

// TestPublicClientInTheBrowser runs the guide's public client: it calls Rescind
// from another origin, in two windows that share their tokens.
func TestPublicClientInTheBrowser(t *testing.T) {
	// The application, and its API on the same origin.
	var api http.Handler
	module := shown(t, "tokens.mjs")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api":
			api.ServeHTTP(w, r)
		case "/tokens.mjs":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, module)
		default:
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<!doctype html><title>Notes</title><script type="module">import * as all from './tokens.mjs'; Object.assign(window, all)</script>`)
		}
	}))
	t.Cleanup(server.Close)
	page := startFront(t, server.URL, true)

	origin := strings.TrimSuffix(page.at(home, "/"), "/")
	var tokens clock
	ledger := rescindtest.Start(t, tokens.set, func(s *rescindtest.Settings) { s.HTTP.CORSOrigins = []string{origin} })
	ledger.AddClient(t, rescind.Client{ID: "notes-app", Public: true})
	api = guard.New(ledger.Authority, guard.Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "notes") }))
	auth := startFront(t, ledger.URL, true)
	const authHost = "auth.notes.test"

	ada := newProfile(t)
	var windows []*window
	for range 3 {
		w := ada.open(t, page.at(home, "/"))
		w.until("window.Tokens")
		eval[bool](w, "Boolean(window.tokens = new Tokens({ server: %q, client: 'notes-app', store: localStorage }))", strings.TrimSuffix(auth.at(authHost, "/"), "/"))
		windows = append(windows, w)
	}
	grant := ledger.Login(t, rescind.Login{Subject: "ada", Client: "notes-app"})
	text, err := json.Marshal(map[string]string{"access_token": grant.AccessToken.Reveal(), "refresh_token": grant.RefreshToken.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	eval[bool](windows[0], "(tokens.keep(%s), true)", text)

	const call = "tokens.call('/api').then(r => String(r.status), err => err.constructor.name)"
	for round := range 3 {
		// The other windows have no access token at first, and all of them expire.
		for _, w := range windows {
			eval[bool](w, "(window.answers = Promise.all([%s, %s]).then(String), true)", call, call)
		}
		for i, w := range windows {
			if got := eval[string](w, "answers"); got != "200,200" {
				t.Errorf("round %d, window %d: %s", round, i, got)
			}
		}
		tokens.expire()
	}
	if n := len(auth.passages("POST", "/oauth/token")); n < 3 {
		t.Errorf("%d refreshes", n)
	}

	stolen := eval[string](windows[0], "localStorage.getItem('refresh_token')")
	// Another origin's scripts are shown no answer, not even with a token in hand.
	bad := newProfile(t).open(t, startEvil(t).at(foreign, "/"))
	for _, script := range []string{
		"fetch(%q + 'oauth/token', {method: 'POST', body: new URLSearchParams({grant_type: 'refresh_token', client_id: 'notes-app', refresh_token: 'x'})})",
		"fetch(%q + 'v1/logout', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})",
		"fetch(%q + 'v1/logout', {method: 'POST', headers: {Authorization: 'Bearer x'}})",
		"fetch(%q + 'v1/sessions', {method: 'GET', credentials: 'include'})",
	} {
		if eval[bool](bad, script+".then(() => true, () => false)", auth.at(authHost, "/")) {
			t.Errorf("another origin was shown an answer: %s", script)
		}
	}
	for _, p := range auth.passages("POST", "/v1/logout") {
		t.Errorf("a logout from %s came through", p.origin)
	}

	if got := eval[string](windows[1], "tokens.logout().then(() => 'out', err => err.constructor.name)"); got != "out" {
		t.Errorf("logout: %s", got)
	}
	for i, w := range windows {
		if got := eval[string](w, call); got != "LoggedOut" {
			t.Errorf("window %d after the logout: %s", i, got)
		}
	}
	eval[bool](windows[0], "(tokens.keep({ access_token: %q, refresh_token: %q }), true)", grant.AccessToken.Reveal(), stolen)
	if got := eval[string](windows[0], call); got != "LoggedOut" {
		t.Errorf("the replay: %s", got)
	}
	if n := len(ada.cookies(t)); n != 0 {
		t.Errorf("%d cookies", n)
	}
}
