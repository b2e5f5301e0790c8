package probe_test

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
	"github.com/rescind/rescind/tests/server"
)

// A software is one that nobody here wrote, as it was installed, on loopback.
type software struct {
	name string
	// start starts it, and returns where it is.
	start func(testing.TB) string
	// target is its description, and put replaces words in it.
	target string
	put    []string
	more   []string // lines of the description
	// finds is what the probe found when its report was read by hand. True proves
	// each finding with requests that the probe had no part in; false are checks
	// whose flaw it shows in the same way not to be there.
	finds []string
	proof map[string]func(testing.TB, string) bool
}

// everySoftware is what is probed. What is said of each was looked up in the
// software's own documentation or source when the report was read.
func everySoftware() []software {
	oidc := software{start: startOIDC, target: "oidc-provider-target.yaml"}
	ended, offline, revoked := oidc, oidc, oidc

	// The browser's session ends, and what was issued without offline_access ends
	// with it (expiresWithSession).
	ended.name, ended.put = "oidc-provider/logout", []string{"SCOPE", "openid"}
	ended.more = []string{oidcEndSession}
	ended.proof = map[string]func(testing.TB, string) bool{
		"access-token-alive-after-logout":  func(t testing.TB, at string) bool { access, _ := oidcAfter(t, at, "openid", endOIDC); return access },
		"refresh-token-alive-after-logout": func(t testing.TB, at string) bool { _, refresh := oidcAfter(t, at, "openid", endOIDC); return refresh },
	}

	// What was issued with it lives on: OpenID Connect allows it (Back-Channel Logout
	// 1.0, section 2.7), and whoever logs out does not know it.
	offline.name, offline.put = "oidc-provider/logout-offline", []string{"SCOPE", "openid+offline_access"}
	offline.more = ended.more
	offline.finds = []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"}
	offline.proof = map[string]func(testing.TB, string) bool{
		"access-token-alive-after-logout": func(t testing.TB, at string) bool {
			access, _ := oidcAfter(t, at, "openid offline_access", endOIDC)
			return access
		},
		"refresh-token-alive-after-logout": func(t testing.TB, at string) bool {
			_, refresh := oidcAfter(t, at, "openid offline_access", endOIDC)
			return refresh
		},
	}

	// Revocation of either token ends the grant and with it both (revokeGrantPolicy).
	revoked.name, revoked.put = "oidc-provider/revocation", offline.put
	revoked.more = []string{`logout: {request: POST /token/revocation, basic: "app:${OIDC_CLIENT_SECRET}", form: {token: "{{refresh_token}}"}, carry: nothing}`}
	revoked.proof = map[string]func(testing.TB, string) bool{
		"access-token-alive-after-logout": func(t testing.TB, at string) bool {
			access, _ := oidcAfter(t, at, "openid offline_access", revokeOIDC)
			return access
		},
		"refresh-token-alive-after-logout": func(t testing.TB, at string) bool {
			_, refresh := oidcAfter(t, at, "openid offline_access", revokeOIDC)
			return refresh
		},
	}
	return []software{
		ended, offline, revoked,
		{
			name: "verdaccio", start: startVerdaccio, target: "verdaccio-target.yaml",
			// "npm logout" is answered with "Logged out", and ends nothing.
			// Its tokens have neither jti nor sid.
			finds: []string{"access-token-alive-after-logout", "token-without-id"},
			proof: map[string]func(testing.TB, string) bool{
				"access-token-alive-after-logout": verdaccioForgets,
				"token-without-id":                verdaccioNames,
			},
		},
		{
			name: "django", start: func(t testing.TB) string { return startDjango(t, "") }, target: "django-target.yaml",
			// The version of Debian 12 takes GET, which Django 5 no longer does.
			finds: []string{"logout-by-get"},
			proof: map[string]func(testing.TB, string) bool{
				"logout-by-get":             djangoByGet,
				"cookie-alive-after-logout": djangoAfter,
			},
		},
		{
			name: "django/signed-cookies", target: "django-target.yaml",
			start: func(t testing.TB) string {
				return startDjango(t, "SESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'\n")
			},
			// Its documentation says so: "no guarantee of freshness".
			finds: []string{"cookie-alive-after-logout", "logout-by-get", "session-alive-after-logout"},
			proof: map[string]func(testing.TB, string) bool{
				"cookie-alive-after-logout":  djangoAfter,
				"session-alive-after-logout": djangoAfter,
				"logout-by-get":              djangoByGet,
			},
		},
	}
}

// TestRealSoftware expects of each software the findings of a report that was read
// by hand, no less and no more, and proves them.
func TestRealSoftware(t *testing.T) {
	t.Parallel()
	for _, s := range everySoftware() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			at := s.start(t)
			for id, shows := range s.proof {
				if got, want := shows(t, at), slices.Contains(s.finds, id); got != want {
					t.Errorf("by hand, %s shows: %v, want %v", id, got, want)
				}
			}
			text, err := os.ReadFile(filepath.Join("software", s.target))
			if err != nil {
				t.Fatal(err)
			}
			description := strings.NewReplacer(append(s.put, "INSTANCE", at)...).Replace(string(text))
			report := run(t, description+strings.Join(append(s.more, usual()), "\n"), probe.Options{}, "OIDC_CLIENT_SECRET", oidcSecret)
			accused(t, report, s.finds, nil)
			for id := range s.proof {
				if v := verdicts(report, id); v[probe.Pass]+v[probe.Finding]+v[probe.Inconclusive] == 0 {
					t.Errorf("%s: %v\n%s", id, v, table(report))
				}
			}
		})
	}
}

// install returns the folder with the packages of software/package-lock.json.
func install(t testing.TB) string {
	t.Helper()
	need.Commands(t, "NODE", "probed software for Node", "node", "npm")
	folder, err := filepath.Abs("software")
	if err != nil {
		t.Fatal(err)
	}
	npm.Install(t, folder)
	return folder
}

const oidcSecret = "the-secret-of-the-client-app"

func startOIDC(t testing.TB) string {
	t.Helper()
	folder, address := install(t), server.FreePort(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "oidc-provider.mjs")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PORT="+port, "CLIENT_SECRET="+oidcSecret)
	server.Spawn(t, cmd, address)
	return "http://" + address
}

// oidcEndSession is the logout that an application sends its user to (OpenID
// Connect RP-Initiated Logout 1.0), and the click that confirms it.
const oidcEndSession = `logout:
  - request: GET /session/end?id_token_hint={{id_token}}
    carry: cookies
    find: {xsrf: {pattern: 'name="xsrf" value="([^"]+)"'}}
  - request: POST /session/end/confirm
    form: {xsrf: "{{xsrf}}", logout: "yes"}
    carry: cookies`

// An oidcGrant is what the provider hands out.
type oidcGrant struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
}

// oidcAfter logs in, ends the session and reports what is still taken.
func oidcAfter(t testing.TB, at, scope string, end func(*browser, string, oidcGrant)) (access, refresh bool) {
	t.Helper()
	b := newBrowser(t)
	action := `action="([^"]+)"`
	form := b.do("GET", at+"/auth?"+url.Values{"client_id": {"app"}, "response_type": {"code"}, "scope": {scope},
		"redirect_uri": {at + "/callback"}, "prompt": {"consent"}}.Encode(), nil, "")
	form = b.do("POST", form.first(action), url.Values{"prompt": {"login"}, "login": {"ada"}, "password": {"any"}}, "")
	b.stop = "/callback"
	back, err := url.Parse(b.do("POST", form.first(action), url.Values{"prompt": {"consent"}}, "").header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	var g oidcGrant
	b.do("POST", at+"/token", url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")},
		"redirect_uri": {at + "/callback"}}, "app:"+oidcSecret).json(&g)
	anybody := newBrowser(t)
	me := func() int { return anybody.do("GET", at+"/me", nil, "Bearer "+g.AccessToken).status }
	if me() != http.StatusOK {
		t.Fatal("the access token does not work")
	}
	end(b, at, g)
	access = me() == http.StatusOK
	again := anybody.do("POST", at+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.RefreshToken}}, "app:"+oidcSecret)
	return access, again.status == http.StatusOK
}

func endOIDC(b *browser, at string, g oidcGrant) {
	form := b.do("GET", at+"/session/end?id_token_hint="+g.IDToken, nil, "")
	said := b.do("POST", at+"/session/end/confirm", url.Values{"xsrf": {form.first(`name="xsrf" value="([^"]+)"`)}, "logout": {"yes"}}, "")
	if said.status != http.StatusOK || !strings.Contains(said.text, "Sign-out Success") {
		b.t.Fatalf("logout: %d %s", said.status, said.text)
	}
}

func revokeOIDC(b *browser, at string, g oidcGrant) {
	if said := b.do("POST", at+"/token/revocation", url.Values{"token": {g.RefreshToken}}, "app:"+oidcSecret); said.status != http.StatusOK {
		b.t.Fatalf("revocation: %d %s", said.status, said.text)
	}
}

func startVerdaccio(t testing.TB) string {
	t.Helper()
	folder, home, address := install(t), t.TempDir(), server.FreePort(t)
	text, err := os.ReadFile(filepath.Join(folder, "verdaccio.yaml"))
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "config.yaml"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(folder, "node_modules", "verdaccio", "bin", "verdaccio"), "--config", "config.yaml", "--listen", address)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home)
	server.Spawn(t, cmd, address)
	for name, password := range map[string]string{"ada": "lovelace", "alan": "enigmatic"} {
		if said := verdaccioLogin(t, "http://"+address, name, password, false); said.status != http.StatusCreated {
			t.Fatalf("%d %s", said.status, said.text)
		}
	}
	return "http://" + address
}

// verdaccioLogin is "npm adduser", or "npm login" if the user is there already.
func verdaccioLogin(t testing.TB, at, name, password string, known bool) page {
	t.Helper()
	b := newBrowser(t)
	r, err := http.NewRequestWithContext(t.Context(), "PUT", at+"/-/user/org.couchdb.user:"+name,
		strings.NewReader(`{"name":"`+name+`","password":"`+password+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if known {
		r.SetBasicAuth(name, password)
	}
	return b.send(r)
}

func verdaccioForgets(t testing.TB, at string) bool {
	var g struct{ Token string }
	verdaccioLogin(t, at, "ada", "lovelace", true).json(&g)
	b := newBrowser(t)
	out := b.do("DELETE", at+"/-/user/token/"+g.Token, nil, "Bearer "+g.Token)
	if out.status != http.StatusOK || !strings.Contains(out.text, "Logged out") {
		t.Fatalf("logout: %d %s", out.status, out.text)
	}
	return strings.Contains(b.do("GET", at+"/-/whoami", nil, "Bearer "+g.Token).text, "ada")
}

// verdaccioNames reports whether a token names neither itself nor its session.
func verdaccioNames(t testing.TB, at string) bool {
	var g struct{ Token string }
	verdaccioLogin(t, at, "ada", "lovelace", true).json(&g)
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(g.Token, claims); err != nil {
		t.Fatal(err)
	}
	return claims["jti"] == nil && claims["sid"] == nil
}

// startDjango makes a project of its own command's, with an administration site
// and two users, and starts it.
func startDjango(t testing.TB, settings string) string {
	t.Helper()
	python := cmp.Or(os.Getenv("RESCIND_PYTHON"), "/usr/bin/python3")
	need.That(t, "DJANGO", "probed software for Python", func() string {
		if err := exec.Command(python, "-c", "import django").Run(); err != nil {
			return "the module django"
		}
		return ""
	})
	home, address := t.TempDir(), server.FreePort(t)
	npm.Run(t, home, nil, python, "-m", "django", "startproject", "site_", ".")
	file, err := os.OpenFile(filepath.Join(home, "site_", "settings.py"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(settings)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	npm.Run(t, home, nil, python, "manage.py", "migrate", "-v", "0")
	for name, password := range djangoPasswords {
		npm.Run(t, home, []string{"DJANGO_SUPERUSER_PASSWORD=" + password}, python, "manage.py", "createsuperuser", "--noinput",
			"--username", name, "--email", name+"@example.com")
	}
	cmd := exec.Command(python, "manage.py", "runserver", "--noreload", address)
	cmd.Dir = home
	server.Spawn(t, cmd, address)
	return "http://" + address
}

var djangoPasswords = map[string]string{"ada": "analytical-engine", "alan": "bombe-and-colossus"}

const djangoToken = `name="csrfmiddlewaretoken" value="([^"]+)"`

func djangoLogin(t testing.TB, at string) *browser {
	t.Helper()
	b := newBrowser(t)
	form := b.do("GET", at+"/admin/login/", nil, "")
	b.do("POST", at+"/admin/login/", url.Values{"username": {"ada"}, "password": {djangoPasswords["ada"]},
		"csrfmiddlewaretoken": {form.first(djangoToken)}, "next": {"/admin/"}}, "")
	if !djangoIn(b, at) {
		t.Fatal("the login did not work")
	}
	return b
}

// djangoIn reports whether the list of users is there; otherwise it is the login.
func djangoIn(b *browser, at string) bool {
	said := b.do("GET", at+"/admin/auth/user/", nil, "")
	return said.status == http.StatusOK && strings.Contains(said.text, "Select user to change")
}

func djangoByGet(t testing.TB, at string) bool {
	b := djangoLogin(t, at)
	b.do("GET", at+"/admin/logout/", nil, "")
	return !djangoIn(b, at)
}

func djangoAfter(t testing.TB, at string) bool {
	b := djangoLogin(t, at)
	thief := b.copied(at)
	form := b.do("GET", at+"/admin/password_change/", nil, "")
	b.do("POST", at+"/admin/logout/", url.Values{"csrfmiddlewaretoken": {form.first(djangoToken)}}, "")
	if djangoIn(b, at) {
		t.Error("the browser that logged out is in")
	}
	return djangoIn(thief, at)
}
