package browser

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
)

// The cookies of the example, and what is right about them.
const (
	accessCookie  = "__Host-rescind-at"
	refreshCookie = "__Host-rescind-rt"
)

var sameSite = map[string]struct {
	line http.SameSite
	jar  network.CookieSameSite
}{
	accessCookie:  {http.SameSiteLaxMode, network.CookieSameSiteLax},
	refreshCookie: {http.SameSiteStrictMode, network.CookieSameSiteStrict},
}

// TestCookiesHaveTheRightAttributes reads them as the server sends them, and as
// the browser keeps them.
func TestCookiesHaveTheRightAttributes(t *testing.T) {
	a := startApp(t)
	ada := newProfile(t)
	w := ada.open(t, a.at(home, "/"))
	w.login("ada", "lovelace")
	checkJar(t, ada)
	before := ada.cookies(t)
	w.later()
	body := eval[string](w, "fetch('/refresh', {method: 'POST'}).then(r => r.text())")
	checkJar(t, ada)
	after := ada.cookies(t)
	for name := range sameSite {
		if before[name].Value == after[name].Value {
			t.Errorf("%s is the same after a refresh", name)
		}
	}

	// No script ever reads a token.
	seen := body + eval[string](w, "document.cookie + document.documentElement.outerHTML + JSON.stringify({...localStorage, ...sessionStorage})")
	seen += eval[string](w, "Promise.all(['/api/me', '/api/devices', '/api/notes'].map(path => fetch(path).then(r => r.text()))).then(String)")
	for _, jar := range []map[string]*network.Cookie{before, after} {
		for name, c := range jar {
			if strings.Contains(seen, c.Value) {
				t.Errorf("a script can read %s", name)
			}
		}
	}

	lines := append(a.passages("POST", "/login"), a.passages("POST", "/refresh")...)
	set := 0
	for _, p := range lines {
		for _, line := range p.setCookie {
			set++
			checkLine(t, line)
		}
		if len(p.setCookie) > 0 && p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s with cookies may be kept: %q", p.path, p.header.Get("Cache-Control"))
		}
	}
	if set != 4 {
		t.Errorf("%d cookies were set by a login and a refresh", set)
	}

	w.click("#logout")
	w.untilOut()
	if jar := ada.cookies(t); len(jar) != 0 {
		t.Errorf("after the logout the browser still has %v", jar)
	}
	for _, p := range a.passages("POST", "/logout") {
		for _, line := range p.setCookie {
			if c, err := http.ParseSetCookie(line); err != nil || c.MaxAge >= 0 || c.Value != "" {
				t.Errorf("a logout sends %q, %v", line, err)
			}
		}
	}
}

func checkLine(t *testing.T, line string) {
	t.Helper()
	c, err := http.ParseSetCookie(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	want, known := sameSite[c.Name]
	switch {
	case !known:
		t.Errorf("a cookie is called %q", c.Name)
	case !c.HttpOnly, !c.Secure, c.Path != "/", c.Domain != "", c.SameSite != want.line, len(c.Unparsed) > 0:
		t.Errorf("%s is set with %s", c.Name, strings.Replace(line, c.Value, "…", 1))
	case c.MaxAge < 29*86400 || c.MaxAge > 30*86400:
		t.Errorf("%s lasts %ds, the session 30 days", c.Name, c.MaxAge)
	}
}

func checkJar(t *testing.T, p *profile) {
	t.Helper()
	jar := p.cookies(t)
	if len(jar) != len(sameSite) {
		t.Errorf("%d cookies in the browser", len(jar))
	}
	for name, want := range sameSite {
		c := jar[name]
		if c == nil {
			t.Fatalf("the browser has not kept %s", name)
		}
		// A domain without a dot in front is this host alone.
		if !c.HTTPOnly || !c.Secure || c.Path != "/" || c.Domain != home || c.SameSite != want.jar || c.Session {
			t.Errorf("%s in the browser: HttpOnly %v, Secure %v, Path %s, Domain %s, SameSite %s, session cookie %v", name, c.HTTPOnly, c.Secure, c.Path, c.Domain, c.SameSite, c.Session)
		}
		if left := time.Until(time.Unix(int64(c.Expires), 0)); left < 29*24*time.Hour || left > 31*24*time.Hour {
			t.Errorf("%s in the browser lasts %v", name, left)
		}
	}
}

// TestNoOtherHostPlantsOrSeesCookies: cookies know no ports, and subdomains may
// write those of their domain. These they may not.
func TestNoOtherHostPlantsOrSeesCookies(t *testing.T) {
	a := startApp(t)
	evil := startEvil(t)
	ada := newProfile(t)
	w := ada.open(t, a.at(home, "/"))
	w.login("ada", "lovelace")
	genuine := ada.cookies(t)

	bad := ada.open(t, evil.at(sibling, "/"))
	for name := range sameSite {
		for _, attributes := range []string{"Domain=notes.test; Path=/; Secure", "Domain=notes.test; Path=/api; Secure", "Domain=notes.test"} {
			eval[bool](bad, "(document.cookie = %q, true)", name+"=planted; "+attributes)
		}
	}
	eval[bool](bad, "(document.cookie = 'planted=yes; Domain=notes.test; Path=/; Secure', true)") // what it may do
	evil.forget()
	for _, host := range []string{sibling, foreign} {
		bad.visit(evil.at(host, "/"))
	}
	for _, p := range evil.passages("GET", "/") {
		for _, c := range p.cookies {
			if c.Name != "planted" {
				t.Errorf("%s got the cookie %s", p.host, c.Name)
			}
		}
	}
	a.forget()
	if status := w.call("GET", "/api/me"); status != http.StatusOK {
		t.Errorf("after a subdomain has tried to plant cookies: %d", status)
	}
	for _, p := range a.passages("GET", "/api/me") {
		var names []string
		for _, c := range p.cookies {
			names = append(names, c.Name)
			if want := genuine[c.Name]; want != nil && want.Value != c.Value {
				t.Errorf("%s was planted", c.Name)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{accessCookie, refreshCookie, "planted"}) {
			t.Errorf("the application got the cookies %q", names)
		}
	}
}
