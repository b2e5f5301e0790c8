package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// mustHold checks what every cookie of ours promises, the prefix rules of
// RFC 6265bis section 4.1.3 among it, which the jar of net/http does not enforce.
func mustHold(t *testing.T, k *http.Cookie, secure bool) {
	t.Helper()
	if !k.HttpOnly || k.Domain != "" || (k.SameSite != http.SameSiteLaxMode && k.SameSite != http.SameSiteStrictMode) || k.Secure != secure {
		t.Errorf("cookie %q", k.Raw)
	}
	switch {
	case strings.HasPrefix(k.Name, "__Host-") && (!k.Secure || k.Path != "/"):
		t.Errorf("a browser refuses %q", k.Raw)
	case strings.HasPrefix(k.Name, "__Secure-") && !k.Secure:
		t.Errorf("a browser refuses %q", k.Raw)
	case secure != strings.HasPrefix(k.Name, "__"):
		t.Errorf("prefix of %q", k.Raw)
	}
}

func TestCookieAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		options     guard.CookieOptions
		refresh     string
		refreshPath string
	}{
		"default":  {guard.CookieOptions{}, hostRefresh, "/"},
		"narrow":   {guard.CookieOptions{RefreshPath: "/auth"}, secureRefresh, "/auth"},
		"insecure": {guard.CookieOptions{InsecureLoopback: true}, "rescind-rt", "/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, c.options)
			res := s.browser(t).want(200, "POST", "/auth/login")
			set := res.Cookies()
			if len(set) != 2 || res.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("login: %v", res.Header)
			}
			for i, k := range set {
				mustHold(t, k, !c.options.InsecureLoopback)
				if want := int(rescind.DefaultSessionLifetime / time.Second); k.MaxAge < want-60 || k.MaxAge > want {
					t.Errorf("Max-Age %d, want the session's %d", k.MaxAge, want)
				}
				if want := []http.SameSite{http.SameSiteLaxMode, http.SameSiteStrictMode}[i]; k.SameSite != want {
					t.Errorf("%s: SameSite %v", k.Name, k.SameSite)
				}
			}
			if set[0].Path != "/" || set[1].Name != c.refresh || set[1].Path != c.refreshPath {
				t.Errorf("%q %q", set[0].Raw, set[1].Raw)
			}
		})
	}
}

func TestLoginCallRefreshLogoutReplay(t *testing.T) {
	for name, o := range map[string]guard.CookieOptions{"default": {}, "narrow": {RefreshPath: "/auth"}, "insecure": {InsecureLoopback: true}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o)
			b := s.loggedIn(t)
			b.want(200, "GET", "/api")
			b.want(200, "POST", "/api")
			first := b.held()
			res := b.want(200, "POST", "/auth/refresh")
			if len(res.Cookies()) != 2 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("refresh: %v", res.Header)
			}
			second := b.held()
			if cookieHeader(first) == cookieHeader(second) || len(second) != 2 {
				t.Errorf("refresh did not replace both cookies: %d held", len(second))
			}
			b.want(200, "GET", "/api")

			res = b.want(204, "POST", "/auth/logout")
			if held := b.held(); len(held) != 0 {
				t.Errorf("after logout the browser holds %d cookies", len(held))
			}
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Clear-Site-Data") != "" {
				t.Errorf("logout: %v", res.Header)
			}
			for _, old := range []map[string]string{first, second} {
				thief := s.browser(t)
				thief.want(401, "GET", "/api", "Cookie", cookieHeader(old))
				if res := thief.want(401, "POST", "/auth/refresh", "Cookie", cookieHeader(old)); len(res.Cookies()) != 0 {
					t.Error("a refused refresh touched cookies")
				}
			}
		})
	}
}

func TestExpiresInIsInTheBody(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	req := httptest.NewRequest("POST", "/auth/refresh", nil)
	req.Header.Set("Cookie", cookieHeader(b.held()))
	w := httptest.NewRecorder()
	s.cookies.RefreshHandler().ServeHTTP(w, req)
	var v map[string]int
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || len(v) != 1 || v["expires_in"] < 290 || v["expires_in"] > 300 {
		t.Errorf("%s: %v", w.Body, err)
	}
}

// TestLogoutClearsEveryVariant: whatever options once set a cookie of ours, a
// logout ends its session and takes it away.
func TestLogoutClearsEveryVariant(t *testing.T) {
	s := newSite(t, guard.CookieOptions{RefreshPath: "/auth"})
	var grants []rescind.Grant
	var parts []string
	for _, name := range []string{hostAccess, hostRefresh, secureRefresh, "rescind-at", "rescind-rt"} {
		g := s.issue(t, rescind.Login{})
		grants = append(grants, g)
		if strings.HasSuffix(name, "at") {
			parts = append(parts, name+"="+g.AccessToken.Reveal())
		} else {
			parts = append(parts, name+"="+g.RefreshToken.Reveal())
		}
	}
	res := s.browser(t).want(204, "POST", "/auth/logout", "Cookie", strings.Join(parts, "; "))
	for i, g := range grants {
		if s.passes(t, g.AccessToken) {
			t.Errorf("the session of %s lives", parts[i][:20])
		}
	}
	cleared := map[string]bool{}
	for _, k := range res.Cookies() {
		if k.MaxAge >= 0 || k.Value != "" {
			t.Errorf("not cleared: %q", k.Raw)
		}
		mustHold(t, k, strings.HasPrefix(k.Name, "__"))
		cleared[k.Name+" "+k.Path] = true
	}
	for _, want := range []string{hostAccess + " /", hostRefresh + " /", secureRefresh + " /auth", "rescind-at /", "rescind-rt /", "rescind-rt /auth"} {
		if !cleared[want] {
			t.Errorf("%s is not cleared", want)
		}
	}
}

func TestLogoutWithWhateverIsLeft(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	for name, c := range map[string]struct {
		expired bool
		keep    []string
	}{
		"both":                      {false, []string{hostAccess, hostRefresh}},
		"the access token alone":    {false, []string{hostAccess}},
		"the refresh token alone":   {false, []string{hostRefresh}},
		"an expired access token":   {true, []string{hostAccess}},
		"an expired and a live one": {true, []string{hostAccess, hostRefresh}},
	} {
		t.Run(name, func(t *testing.T) {
			b := s.loggedIn(t)
			held := b.held()
			if c.expired {
				s.advance(rescind.DefaultAccessLifetime + time.Second)
				b.want(401, "GET", "/api")
			}
			s.browser(t).want(204, "POST", "/auth/logout", "Cookie", cookieHeader(held, c.keep...))
			if _, err := s.Authority.Refresh(t.Context(), rescind.Refresh{Token: held[hostRefresh]}); !errors.Is(err, rescind.ErrInactive) {
				t.Errorf("the session lives: %v", err)
			}
			b.want(204, "POST", "/auth/logout") // again is no error
		})
	}
	res := s.browser(t).want(204, "POST", "/auth/logout")
	if len(res.Cookies()) == 0 {
		t.Error("a logout without cookies clears nothing")
	}
	s.browser(t).want(204, "POST", "/auth/logout", "Cookie", hostAccess+"=forged; "+hostRefresh+"=rsr_forged")
}

func TestLogoutOutageKeepsCookies(t *testing.T) {
	for _, path := range []string{"/auth/logout", "/auth/logout-all"} {
		s := newSite(t, guard.CookieOptions{ClearSiteData: true})
		b := s.loggedIn(t)
		for _, err := range []error{rescind.ErrUnavailable, errors.New("unheard of"), rescind.ErrConflict} {
			s.failWith(err)
			res := b.want(503, "POST", path)
			if len(res.Cookies()) != 0 || res.Header.Get("Clear-Site-Data") != "" || res.Header.Get("Retry-After") == "" {
				t.Errorf("%v: an outage cleared something: %v", err, res.Header)
			}
		}
		s.failWith(nil)
		b.want(200, "GET", "/api")
		if res := b.want(204, "POST", path); res.Header.Get("Clear-Site-Data") != `"cache", "storage"` || len(b.held()) != 0 {
			t.Errorf("the second try: %v", res.Header)
		}
	}
}

// TestOneFailureDoesNotKeepTheOthersAlive: a planted cookie whose logout fails
// does not save the session of the user's own.
func TestOneFailureDoesNotKeepTheOthersAlive(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	a, b := s.issue(t, rescind.Login{}), s.issue(t, rescind.Login{})
	s.failFor = a.AccessToken.Reveal()
	res := s.browser(t).want(503, "POST", "/auth/logout", "Cookie", hostAccess+"="+s.failFor+"; "+hostRefresh+"="+b.RefreshToken.Reveal())
	if len(res.Cookies()) != 0 {
		t.Error("cookies were touched")
	}
	if s.passes(t, b.AccessToken) {
		t.Error("the other session lives")
	}
}

// TestLogoutOutlivesItsRequest: who closes the tab has logged out all the same.
func TestLogoutOutlivesItsRequest(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	g := s.issue(t, rescind.Login{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("POST", "/auth/logout", nil).WithContext(gone)
	r.Header.Set("Cookie", hostAccess+"="+g.AccessToken.Reveal())
	s.cookies.LogoutHandler().ServeHTTP(httptest.NewRecorder(), r)
	if s.passes(t, g.AccessToken) {
		t.Error("the session lives")
	}
}

func TestLogoutEverywhere(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b, phone := s.loggedIn(t), s.loggedIn(t)
	s.advance(rescind.DefaultAccessLifetime + time.Second) // the refresh token stands
	res := b.want(204, "POST", "/auth/logout-all")
	if len(b.held()) != 0 || len(res.Cookies()) == 0 {
		t.Error("cookies stay")
	}
	if res := phone.want(401, "POST", "/auth/refresh"); len(res.Cookies()) != 0 {
		t.Error("a refused refresh touched cookies")
	}
	if res := phone.want(401, "POST", "/auth/logout-all"); len(res.Cookies()) != 0 {
		t.Error("who cannot prove to be somebody has logged out everywhere")
	}
	s.browser(t).want(401, "POST", "/auth/logout-all")
	phone.want(204, "POST", "/auth/logout")
}

// TestLogoutEverywhereEndsTheOtherSessionToo: a browser with tokens of two
// subjects ends both, the second one as a plain logout.
func TestLogoutEverywhereEndsTheOtherSessionToo(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	a, b := s.issue(t, rescind.Login{Subject: "alice"}), s.issue(t, rescind.Login{Subject: "bob"})
	s.browser(t).want(204, "POST", "/auth/logout-all", "Cookie", hostAccess+"="+a.AccessToken.Reveal()+"; "+hostRefresh+"="+b.RefreshToken.Reveal())
	if s.passes(t, a.AccessToken) || s.passes(t, b.AccessToken) {
		t.Error("one of them lives")
	}
}

func TestLogoutEverywhereCanBeForbidden(t *testing.T) {
	s := newSite(t, guard.CookieOptions{Client: "kiosk"})
	c := rescind.Client{ID: "kiosk", Public: true, NoLogoutAll: true}
	if _, err := s.Authority.AddClient(t.Context(), c, false, ""); err != nil {
		t.Fatal(err)
	}
	b := s.loggedIn(t)
	if res := b.want(403, "POST", "/auth/logout-all"); len(res.Cookies()) != 0 {
		t.Error("cookies were touched")
	}
	b.want(200, "GET", "/api")
	b.want(200, "POST", "/auth/refresh") // under the same client
	b.want(204, "POST", "/auth/logout")
}

func TestLoginEndsTheSessionBefore(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	before := b.held()
	b.want(200, "POST", "/auth/login")
	b.want(200, "GET", "/api")
	s.browser(t).want(401, "GET", "/api", "Cookie", cookieHeader(before))
	s.browser(t).want(401, "POST", "/auth/refresh", "Cookie", cookieHeader(before))

	s.failWith(rescind.ErrUnavailable)
	if res := b.want(502, "POST", "/auth/login"); len(res.Cookies()) != 0 {
		t.Error("a failed login set cookies")
	}
	s.failWith(nil)
	b.want(200, "GET", "/api")
	s.failFor = b.held()[hostRefresh] // its end is not certain, and nobody else could end it
	if res := b.want(502, "POST", "/auth/login"); len(res.Cookies()) != 0 {
		t.Error("a login left the session before it behind")
	}
}

func TestTokenTooLongForACookie(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	claims, err := json.Marshal(map[string]string{"x": strings.Repeat("x", 3800)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	_, err = s.cookies.Login(w, httptest.NewRequest("POST", "/", nil), rescind.Login{Subject: "alice", Claims: claims})
	if !errors.Is(err, rescind.ErrInvalid) || len(w.Result().Cookies()) != 0 {
		t.Errorf("%v, %v", err, w.Header())
	}
	page, err := s.Authority.Sessions(t.Context(), rescind.SessionQuery{Subject: "alice", State: rescind.StateActive})
	if err != nil || len(page.Sessions) != 0 {
		t.Errorf("%d sessions live that nobody has, %v", len(page.Sessions), err)
	}
}

// TestWhatACookieOpensIsNotKept: the back button of a browser must not show it
// after the logout.
func TestWhatACookieOpensIsNotKept(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	if got := b.want(200, "GET", "/api").Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("by cookie: %q", got)
	}
	g := s.issue(t, rescind.Login{})
	if got := s.browser(t).want(200, "GET", "/api", "Authorization", "Bearer "+g.AccessToken.Reveal()).Header.Get("Cache-Control"); got != "" {
		t.Errorf("by bearer token: %q", got)
	}
	own := s.cookies.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=60")
	}))
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "https://site.example/", nil)
	r.AddCookie(&http.Cookie{Name: hostAccess, Value: g.AccessToken.Reveal()})
	own.ServeHTTP(w, r)
	if got := w.Header().Get("Cache-Control"); w.Code != 200 || got != "private, max-age=60" {
		t.Errorf("a handler's own: %d, %q", w.Code, got)
	}
}

func TestOneCredentialOnly(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	g, other := s.issue(t, rescind.Login{}), s.issue(t, rescind.Login{})
	at, rt := g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	b := s.browser(t)
	b.want(200, "GET", "/api", "Authorization", "Bearer "+at)
	b.want(200, "POST", "/api", "Authorization", "Bearer "+at, "Sec-Fetch-Site", "cross-site") // not ambient
	b.want(200, "GET", "/api", "Authorization", "Basic YTpi", "Cookie", hostAccess+"="+at)
	b.want(400, "GET", "/api", "Authorization", "Bearer "+at, "Cookie", hostAccess+"="+at)
	b.want(400, "GET", "/api", "Authorization", "Bearer "+at, "Cookie", hostAccess+"=a$b")
	b.want(400, "GET", "/api", "Cookie", hostAccess+"="+at+"; "+hostAccess+"="+other.AccessToken.Reveal())
	b.want(400, "POST", "/auth/refresh", "Cookie", hostRefresh+"="+rt+"; "+hostRefresh+"="+other.RefreshToken.Reveal())
	b.want(401, "GET", "/api", "Cookie", hostAccess+"=")
	b.want(401, "GET", "/api", "Cookie", hostAccess+"="+rt)
	b.want(401, "POST", "/auth/refresh", "Cookie", hostRefresh+"="+at)
	b.want(401, "POST", "/auth/refresh", "Cookie", hostAccess+"="+at)
	// What a plain-HTTP page or a sibling subdomain can plant counts for nothing.
	b.want(401, "GET", "/api", "Cookie", "rescind-at="+at)
	b.want(401, "POST", "/auth/refresh", "Cookie", "rescind-rt="+rt)
	b.want(401, "POST", "/auth/refresh", "Cookie", secureRefresh+"="+rt)
	if !s.passes(t, g.AccessToken) {
		t.Error("the session has ended")
	}
}

// TestPlantedCookiesDoNotBlockLogout: however many there are, the cookies that
// nobody can plant end their session.
func TestPlantedCookiesDoNotBlockLogout(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	held := b.held()
	planted := ""
	for i := range 40 {
		planted += "rescind-rt=" + strings.Repeat("a", i+1) + "; "
	}
	s.browser(t).want(204, "POST", "/auth/logout", "Cookie", planted+cookieHeader(held))
	b.want(401, "GET", "/api")
}

func TestAfterLogoutRedirects(t *testing.T) {
	s := newSite(t, guard.CookieOptions{AfterLogout: "/bye"})
	b := s.loggedIn(t)
	if res := b.want(303, "POST", "/auth/logout"); res.Header.Get("Location") != "/bye" || len(b.held()) != 0 {
		t.Errorf("%v", res.Header)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	l := newLedger(t)
	g := guard.New(l, guard.Options{})
	for name, o := range map[string]guard.CookieOptions{
		"another host":             {AfterLogout: "//evil.example.com"},
		"another host, backslash":  {AfterLogout: `/\evil.example.com`},
		"an address":               {AfterLogout: "https://evil.example.com"},
		"a header":                 {AfterLogout: "/a\r\nSet-Cookie: a=b"},
		"a relative refresh path":  {RefreshPath: "auth"},
		"an attribute in the path": {RefreshPath: "/; Domain=example.com"},
		"an origin with a path":    {TrustedOrigins: []string{"https://a.example.com/x"}},
		"an origin without scheme": {TrustedOrigins: []string{"a.example.com"}},
	} {
		if _, err := guard.NewCookies(l, g, o); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := guard.NewCookies(nil, g, guard.CookieOptions{}); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("no sessions: %v", err)
	}
	if _, err := guard.NewCookies(l, nil, guard.CookieOptions{}); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("no guard: %v", err)
	}
}
