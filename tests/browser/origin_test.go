package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// startEvil starts a server of somebody else's. It serves an empty page.
func startEvil(t *testing.T) *front {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>Win a prize</title><body>")
	}))
	t.Cleanup(server.Close)
	return startFront(t, server.URL, true)
}

// An attack is a script in a page of somebody else's. It is given the address of
// a route of the application, and sends a request there if it can.
type attack struct {
	name, method, script string
	leaves               bool // its page goes to the application
}

// form makes and sends a form. Without a user's click browsers block none of this.
const form = `(() => {
	const form = document.body.appendChild(document.createElement('form'))
	Object.assign(form, {action: %%q, method: %q, enctype: %q, target: %q})
	const field = form.appendChild(document.createElement('input'))
	Object.assign(field, {name: '{"user":"alan","password":"turing","cookies":true,"text":"', value: '"}'})
	if (form.target) form.before(Object.assign(document.createElement('iframe'), {name: form.target}))
	form.submit()
	return true
})()`

var attacks = []attack{
	{name: "form", method: "POST", leaves: true, script: fmt.Sprintf(form, "post", "application/x-www-form-urlencoded", "")},
	{name: "form like JSON", method: "POST", leaves: true, script: fmt.Sprintf(form, "post", "text/plain", "")},
	{name: "form in a frame", method: "POST", script: fmt.Sprintf(form, "post", "application/x-www-form-urlencoded", "frame")},
	{name: "fetch", method: "POST", script: `fetch(%q, {method: 'POST', mode: 'no-cors', credentials: 'include'}).then(() => true, () => true)`},
	{name: "beacon", method: "POST", script: `navigator.sendBeacon(%q)`},
	{name: "link", method: "GET", leaves: true, script: `(location = %q, true)`},
	{name: "image", method: "GET", script: `new Promise(done => { const i = new Image(); i.onload = i.onerror = () => done(true); i.src = %q })`},
	{name: "script", method: "GET", script: `new Promise(done => { const s = document.createElement('script'); s.onload = s.onerror = () => done(true); s.src = %q; document.body.append(s) })`},
	// These must be asked for first, and nobody says yes.
	{name: "fetch of JSON", script: `fetch(%q, {method: 'POST', credentials: 'include', headers: {'Content-Type': 'application/json'}, body: '{"user":"alan","password":"turing","cookies":true,"text":"evil"}'}).then(() => false, () => true)`},
	{name: "fetch with DELETE", script: `fetch(%q, {method: 'DELETE', credentials: 'include'}).then(() => false, () => true)`},
	{name: "fetch with a bearer header", script: `fetch(%q, {method: 'POST', credentials: 'include', headers: {Authorization: 'Bearer x'}}).then(() => false, () => true)`},
}

// TestOtherOriginsCannotLogOutOrRefresh attacks from another site; from another
// host of this site, from which browsers send every cookie that SameSite holds;
// and from another port of this very host.
func TestOtherOriginsCannotLogOutOrRefresh(t *testing.T) {
	a := startApp(t)
	evil := startEvil(t)
	ada := newProfile(t)
	w := ada.open(t, a.at(home, "/"))
	w.login("ada", "lovelace")
	w.keep("a secret of ada's")
	w.visit(a.at(home, "/page.css")) // so that the page itself does nothing meanwhile
	genuine := ada.cookies(t)
	id := eval[string](w, "fetch('/api/me').then(r => r.json()).then(me => me.session)")

	bad := ada.open(t, evil.at(foreign, "/"))
	all := []string{"/logout", "/refresh", "/logout-all", "/api/notes", "/api/devices/" + id, "/login"}
	for _, host := range []string{foreign, sibling, home} {
		paths := all
		if host != sibling && os.Getenv("RESCIND_SLOW") != "1" {
			paths = all[:2]
		}
		for _, path := range paths {
			for _, attack := range attacks {
				what := fmt.Sprintf("%s from %s to %s", attack.name, host, path)
				if at := eval[string](bad, "location.origin"); at != strings.TrimSuffix(evil.at(host, "/"), "/") {
					bad.visit(evil.at(host, "/"))
				}
				a.forget()
				if !eval[bool](bad, attack.script, a.at(home, path)) {
					t.Errorf("%s: it got an answer", what)
				}
				if attack.method != "" {
					checkRefused(t, what, a, attack.method, path, host != foreign)
				}
				if attack.leaves {
					bad.until(fmt.Sprintf("location.href.startsWith(%q) && document.readyState === 'complete'", a.at(home, path)))
				}
				now := ada.cookies(t)
				for name, c := range genuine {
					if now[name] == nil || now[name].Value != c.Value {
						t.Fatalf("%s has changed %s", what, name)
					}
				}
			}
		}
	}
	if status := w.call("GET", "/api/me"); status != http.StatusOK {
		t.Errorf("after the attacks: %d", status)
	}
	if n := a.sessions(t, "ada"); n != 1 {
		t.Errorf("after the attacks %d sessions of ada's stand", n)
	}
	if n := a.sessions(t, "alan"); n != 0 {
		t.Errorf("the attacks have made %d sessions of alan's", n)
	}
	if notes := eval[string](w, "fetch('/api/notes').then(r => r.text())"); strings.Contains(notes, "evil") || strings.Count(notes, "text") != 1 {
		t.Errorf("after the attacks the notes are %s", notes)
	}
	// The same from the page's own origin works: what was refused was the origin.
	if status := w.call("POST", "/refresh"); status != http.StatusOK {
		t.Errorf("a refresh from the page: %d", status)
	}
	if status := w.call("POST", "/logout"); status != http.StatusNoContent {
		t.Errorf("a logout from the page: %d", status)
	}
}

// checkRefused looks at the request as the application got it. From the same
// site it came with the cookies, and must have been refused all the same.
func checkRefused(t *testing.T, what string, a *app, method, path string, withCookies bool) {
	t.Helper()
	var came []passage
	for began := time.Now(); len(came) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("%s: nothing arrived", what)
		}
		came = a.passages(method, path)
	}
	for _, p := range came {
		names := map[string]bool{}
		for _, c := range p.cookies {
			names[c.Name] = true
		}
		if withCookies && (!names[accessCookie] || !names[refreshCookie]) {
			t.Errorf("%s came without the cookies, so that it shows nothing: %v", what, names)
		}
		if !withCookies && (names[refreshCookie] || method != "GET" && names[accessCookie]) {
			t.Errorf("%s came with cookies, from another site: %v", what, names)
		}
		reading := method == "GET" && path == "/api/notes" // whom the answer reaches is the browser's to say
		switch {
		case len(p.setCookie) > 0:
			t.Errorf("%s: it sets cookies", what)
		case !reading && p.status < 400:
			t.Errorf("%s: %d", what, p.status)
		case withCookies && method == "POST" && path != "/login" && p.status != http.StatusForbidden:
			t.Errorf("%s: %d, not for its origin", what, p.status)
		}
	}
}
