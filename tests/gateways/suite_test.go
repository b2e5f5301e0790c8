package gateways

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// A gateway gives Rescind up after 2 or 3 s, and never waits as long as by its own
	// default. What takes longer than patience hangs.
	bounded    = 14 * time.Second
	patience   = time.Minute
	otherToken = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."
)

// identity finds the headers that an API might believe, however it reads names.
var identity = regexp.MustCompile(`(?i)^x[-_.]rescind[-_.]`)

// suite attacks a gateway. Its parts run one after another: they look at what the
// API got meanwhile, and the last ones stop the ledger.
func (g *rig) suite(t *testing.T) {
	for _, part := range []struct {
		name string
		test func(*rig, *testing.T)
	}{
		{"NobodyPassesWithoutAStandingToken", (*rig).refused},
		{"RevokedTokenNeverPassesAgain", (*rig).ended},
		{"ScopeIsAskedFor", (*rig).scope},
		{"SpoofedIdentityNeverArrives", (*rig).spoofed},
		{"OddMethodsAreChecked", (*rig).methods},
		{"EveryPathIsChecked", (*rig).paths},
		{"EverySpellingMeetsTheStricterRule", (*rig).spellings},
		{"CookieNeedsTheSameOrigin", (*rig).cookie},
		{"WebSocketIsCheckedWhenItOpens", (*rig).webSocket},
		{"OnlyAPreflightPassesUnchecked", (*rig).preflight},
		{"AnswersOfTheAPIStay", (*rig).answers},
		{"FrozenIsClosedInTime", (*rig).frozen},
		{"StoppedIsClosed", (*rig).stopped},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(g, t) })
	}
}

// closed fails the test if the API got anything.
func (g *rig) closed(t *testing.T, what string) {
	t.Helper()
	for _, r := range g.api.took() {
		t.Errorf("%s: the API got %s %s %v", what, r.Method, r.RequestURI, r.Header)
	}
}

// passed fails the test unless the API got one request, and answered. It returns it.
func (g *rig) passed(t *testing.T, what string, a answer) *http.Request {
	t.Helper()
	got := g.api.took()
	if len(got) != 1 || a.status != http.StatusOK || a.header.Get("X-Api") != "yes" {
		t.Fatalf("%s: %d %v %s; the API got %d requests", what, a.status, a.header, a.body, len(got))
	}
	return got[0]
}

// challenged fails the test unless a refusal says why in the words of RFC 6750.
func challenged(t *testing.T, what string, a answer, status int, word string) {
	t.Helper()
	c := a.header.Values("WWW-Authenticate")
	if a.status != status || len(c) != 1 || !strings.HasPrefix(c[0], "Bearer") || !strings.Contains(c[0], word) {
		t.Errorf("%s: %d %q, not %d with %q", what, a.status, c, status, word)
	}
	if (word == "") != (len(c) == 1 && !strings.Contains(c[0], "error=")) {
		t.Errorf("%s: %q", what, c)
	}
}

func (g *rig) refused(t *testing.T) {
	token := g.login(t, "")
	elsewhere := g.login(t, "", "https://elsewhere.example.com")
	for _, c := range []struct {
		name, word string
		header     []string
	}{
		{"no token", "", nil},
		{"a bad token", "invalid_token", []string{bearer(otherToken)}},
		{"an empty token", "invalid_token", []string{"Authorization: Bearer"}},
		{"a changed token", "invalid_token", []string{bearer(token[:len(token)-4] + "AAAA")}},
		{"wrong audience", "invalid_token", []string{bearer(elsewhere)}},
	} {
		challenged(t, c.name, g.send(t, "GET", "/notes", c.header...), 401, c.word)
		g.closed(t, c.name)
	}
	// Some gateways refuse the second header themselves.
	for _, second := range []string{bearer(token), bearer(otherToken)} {
		if a := g.send(t, "GET", "/notes", bearer(token), second); a.status != 400 && a.status != 401 {
			t.Errorf("two tokens: %d", a.status)
		}
		g.closed(t, "two tokens")
	}
	// What is too long for somebody on the way is no reason to pass.
	for _, size := range []int{10 << 10, 20 << 10, 100 << 10} {
		if a := g.send(t, "GET", "/notes", bearer(strings.Repeat("x", size))); a.status != 0 && a.status < 400 {
			t.Errorf("a token of %d bytes: %d", size, a.status)
		}
		g.closed(t, fmt.Sprintf("a token of %d bytes", size))
	}
	for _, old := range []string{"GET /notes HTTP/1.0\r\n\r\n", "GET /notes HTTP/1.0\r\nHost: api.example.com\r\nHost: x\r\n\r\n", "GET /notes HTTP/2.0\r\nHost: api.example.com\r\n\r\n", "GET /notes HTTP/1.1\r\n\r\n"} {
		if a := g.raw(t, old); a.status != 0 && a.status < 400 {
			t.Errorf("%q: %d", old, a.status)
		}
		g.closed(t, old)
	}
	conn, err := net.Dial("tcp", g.gateway)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET /notes\r\n\r\n") // HTTP/0.9, whose answer is only a body
	must(t, err)
	_, _ = io.Copy(io.Discard, conn)
	g.closed(t, "HTTP/0.9")
	r := g.passed(t, "a token that stands", g.send(t, "GET", "/notes?q=%2e%2e//;x", bearer(token)))
	if uri := strings.Replace(r.RequestURI, "&", ";", 1); uri != "/notes?q=%2e%2e//;x" || !g.normalises && uri != r.RequestURI || r.Header.Get("X-Rescind-Subject") != "alice" ||
		r.Header.Get("X-Rescind-Client") != "app" || r.Header.Get("X-Rescind-Session") == "" {
		t.Errorf("the API got %s %v", r.RequestURI, r.Header)
	}
	if h := r.Header["Authorization"]; h != nil {
		t.Errorf("the API got the token")
	}
	a := g.raw(t, "POST /notes HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\nContent-Length: 5\r\n"+bearer(token)+"\r\n\r\nhello")
	if g.passed(t, "a body", a); a.body != "hello" {
		t.Errorf("the API got the body %q", a.body)
	}
}

// ended asks over one connection, so that nothing that a gateway keeps with it counts.
func (g *rig) ended(t *testing.T) {
	token := g.login(t, "")
	conn, err := net.Dial("tcp", g.gateway)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	answers := bufio.NewReader(conn)
	ask := func() int {
		_, err := fmt.Fprintf(conn, "GET /notes HTTP/1.1\r\nHost: api.example.com\r\n%s\r\n\r\n", bearer(token))
		must(t, err)
		resp, err := http.ReadResponse(answers, nil)
		must(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		return resp.StatusCode
	}
	for range 3 {
		if status := ask(); status != 200 {
			t.Fatalf("before the logout: %d", status)
		}
	}
	g.api.took()
	g.Logout(t, token)
	if status := ask(); status != 401 {
		t.Errorf("after the logout: %d", status)
	}
	challenged(t, "after the logout", g.send(t, "GET", "/notes", bearer(token)), 401, "invalid_token")
	g.closed(t, "after the logout")
}

func (g *rig) scope(t *testing.T) {
	without, with := g.login(t, "notes:read"), g.login(t, "notes:read reports:read")
	a := g.send(t, "GET", "/reports/1", bearer(without))
	challenged(t, "missing scope", a, 403, `error="insufficient_scope", scope="reports:read"`)
	g.closed(t, "missing scope")
	r := g.passed(t, "with the scope", g.send(t, "GET", "/reports/1", bearer(with)))
	if r.Header.Get("X-Rescind-Scope") != "notes:read reports:read" {
		t.Errorf("the API got %v", r.Header)
	}
	challenged(t, "no token", g.send(t, "GET", "/reports/1"), 401, "")
	g.closed(t, "no token")
}

// forgeries are what a client sends to be somebody else.
var forgeries = []string{
	"X-Rescind-Subject: root", "X-Rescind-Session: root", "X-Rescind-Client: root", "X-Rescind-Scope: root",
	"x-rescind-subject: root", "X-RESCIND-SCOPE: root", "x-ReScInD-sCoPe: root",
	"X_Rescind_Subject: root", "x_rescind_scope: root", "X-Rescind_Scope: root", "X_Rescind-Scope: root", "X_RESCIND_SUBJECT: root",
	"X.Rescind.Subject: root", "x.rescind.scope: root", "X-Rescind.Scope: root", "X.Rescind-Client: root", "X_Rescind.Session: root", // PHP takes a dot for an underscore
}

// unclear are header lines that one program may read as another does not.
var unclear = []string{
	"X-Rescind-Subject : root", "X-Rescind-Subject\t: root", "A: b\r\n X-Rescind-Subject: root", "A: b\r\n\tX-Rescind-Subject: root", "A: b\nX-Rescind-Subject: root",
	"A: b\rX-Rescind-Subject: root", "X-Rescind-Subject: root\x00", "\x00X-Rescind-Subject: root", ": root\r\nX-Rescind-Subject: root", " X-Rescind-Subject: root",
}

func (g *rig) spoofed(t *testing.T) {
	token := g.login(t, "") // so that the true scope is empty
	check := func(what string, r *http.Request, subject string) {
		t.Helper()
		for name, values := range r.Header {
			if identity.MatchString(name) && (len(values) != 1 || slices.Contains(values, "root") || strings.ContainsAny(name, "_.")) {
				t.Errorf("%s: the API got %s: %q", what, name, values)
			}
		}
		if r.Header.Get("X-Rescind-Subject") != subject || r.Header.Get("X-Rescind-Scope") != "" {
			t.Errorf("%s: the API got %v", what, r.Header)
		}
	}
	for _, forged := range forgeries {
		what := forged + ", twice"
		check(what, g.passed(t, what, g.send(t, "GET", "/notes", forged, bearer(token), forged)), "alice")
	}
	check("all at once", g.passed(t, "all at once", g.send(t, "GET", "/notes", append(forgeries, bearer(token))...)), "alice")

	// Headers that a client has named as those of its connection are removed by some.
	taken := "GET /notes HTTP/1.1\r\nHost: api.example.com\r\nConnection: close, X-Rescind-Subject, X-Rescind-Scope\r\n" + bearer(token) + "\r\n\r\n"
	check("Connection", g.passed(t, "Connection", g.raw(t, taken)), "alice")

	for _, line := range unclear {
		g.send(t, "GET", "/notes", bearer(token), line)
		for _, r := range g.api.took() {
			check(fmt.Sprintf("%q", line), r, "alice")
		}
		g.send(t, "GET", "/notes", line)
		g.closed(t, fmt.Sprintf("%q", line))
	}

	// Nor does a request arrive that hides in the body of another.
	const hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: api.example.com\r\nX-Rescind-Subject: root\r\n\r\n"
	for _, length := range []string{
		"Transfer-Encoding: chunked\r\nContent-Length: %d", "Content-Length: %d\r\nTransfer-Encoding: chunked", "Content-Length: 0\r\nContent-Length: %d",
		"Content-Length: %d\r\nContent-Length: 0", "Transfer-Encoding: xchunked\r\nContent-Length: %d", "Transfer-Encoding : chunked\r\nContent-Length: %d",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: %d", "Transfer_Encoding: chunked\r\nContent-Length: %d",
	} {
		g.raw(t, "POST /notes HTTP/1.1\r\nHost: api.example.com\r\n"+bearer(token)+"\r\n"+fmt.Sprintf(length, len(hidden))+"\r\n\r\n"+hidden)
		g.send(t, "GET", "/notes", bearer(token))
		for _, r := range g.api.took() {
			if check(length, r, "alice"); r.URL.Path != "/notes" {
				t.Errorf("%q: the API got %s", length, r.URL)
			}
		}
	}

	for _, forged := range forgeries {
		if a := g.send(t, "GET", "/notes", forged); a.status != 401 {
			t.Errorf("%s without a token: %d", forged, a.status)
		}
		g.closed(t, forged)
	}
	a := g.send(t, "OPTIONS", "/notes", append(forgeries, "Origin: https://app.example.com", "Access-Control-Request-Method: POST")...)
	if got := g.api.took(); a.status != 204 || len(got) != 1 {
		t.Fatalf("preflight: %d, the API got %d", a.status, len(got))
	} else {
		check("preflight", got[0], "")
	}
}

func (g *rig) methods(t *testing.T) {
	token := g.login(t, "")
	for _, m := range []string{"HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "BREW", "get", "GETX", "X-ODD"} {
		for _, header := range [][]string{nil, {bearer(otherToken)}, {"X-Forwarded-Method: OPTIONS", "X-Original-Method: OPTIONS"}, {"X-HTTP-Method-Override: OPTIONS"}} {
			if a := g.send(t, m, "/notes", header...); a.status < 400 || a.status >= 500 {
				t.Errorf("%s without a token: %d", m, a.status)
			}
			g.closed(t, m+" without a token")
		}
		a := g.send(t, m, "/notes", bearer(token))
		got := g.api.took()
		switch {
		case len(got) == 1 && got[0].Method == m && a.status < 300:
		case len(got) == 0 && (a.status == 400 || a.status == 405) && (m == "TRACE" || m == "get" || m == "X-ODD"): // a gateway may refuse these itself
		default:
			t.Errorf("%s: %d, the API got %d", m, a.status, len(got))
		}
	}
	if a := g.send(t, "CONNECT", "api.example.com:443"); a.status != 0 && a.status < 400 {
		t.Errorf("CONNECT: %d", a.status)
	}
	g.closed(t, "CONNECT")
}

// strange are paths that a gateway and an API may read differently.
var strange = []string{
	"//", "//notes", "/notes//1", "/./notes", "/../notes", "/notes/../notes", "/notes/..", "/%2e/notes", "/%2e%2e/notes", "/%2E%2E/%2e/notes",
	"/.%2e/notes", "/notes%2f1", "/%6eotes", "/notes;x=1", "/notes%00", "/notes\\..\\x", "/notes%5c..%5cx", "/%", "/%zz", "/notes?x=/../", "/?", "/#x",
	"/..;/notes", "/forward-auth", "/_rescind", "/@unavailable", "http://api.example.com/notes", "http://elsewhere.example.com/notes", "*", "notes", "/.", "/..",
}

func (g *rig) paths(t *testing.T) {
	for _, path := range strange {
		for _, m := range []string{"GET", "POST", "OPTIONS"} {
			a := g.send(t, m, path)
			if m+path == "OPTIONS*" && a.status == 200 {
				a.status = 400 // of the gateway itself, which answers for itself
			}
			if a.status != 0 && (a.status < 400 || a.status >= 500) {
				t.Errorf("%s %s without a token: %d", m, path, a.status)
			}
			g.closed(t, m+" "+path+" without a token")
		}
	}
	token := g.login(t, "")
	for _, path := range []string{"/notes/1", "/a%20b", "/%C3%A9?x=%2f", "/.well-known/x", "/a..b/..c", "/100%25", "/%6eotes"} {
		if r := g.passed(t, path, g.send(t, "GET", path, bearer(token))); r.RequestURI != path && (!g.normalises || r.URL.Path != unescaped(t, path)) {
			t.Errorf("%s became %s", path, r.RequestURI)
		}
	}
}

func unescaped(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.ParseRequestURI(uri)
	must(t, err)
	return u.Path
}

// spellings come from somebody whose token is good for everything but /reports.
func (g *rig) spellings(t *testing.T) {
	token := g.login(t, "notes:read")
	for _, path := range []string{
		"/reports", "/reports/", "/reports/1", "/reports?x", "/Reports/1", "/REPORTS/1", "//reports/1", "///reports", "/./reports/1", "/../reports/1",
		"/notes/../reports/1", "/notes/%2e%2e/reports/1", "/notes/.%2e/reports/1", "/notes/..%2freports/1", "/%2e/reports/1", "/%72eports/1",
		"/%72%65%70%6f%72%74%73/1", "/%52eports/1", "/reports%2f1", "/reports;x/1", "/reports%3bx/1", "/;x/reports/1", "/..;/reports/1", "/notes\\..\\reports\\1",
		"/reports//1", "/reports/./1", "/reports/../reports/1", "/reports%00/1", "/%2freports/1", "http://api.example.com/reports/1", "http://x//reports/1",
	} {
		if a := g.send(t, "GET", path, bearer(token)); a.status != 403 && a.status != 400 && a.status != 404 {
			t.Errorf("%s without the scope: %d", path, a.status)
		}
		g.closed(t, path)
	}
	// What follows is no fragment any more if it arrives encoded.
	a := g.send(t, "GET", "/reports#x", bearer(token))
	if got := g.api.took(); len(got) > 0 && got[0].RequestURI != "/reports%23x" || len(got) == 0 && a.status != 403 && a.status != 400 {
		t.Errorf("/reports#x without the scope: %d %v", a.status, got)
	}
}

func (g *rig) cookie(t *testing.T) {
	cookie := "Cookie: theme=dark; __Host-rescind-at=" + g.login(t, "")
	g.passed(t, "GET", g.send(t, "GET", "/notes", cookie))
	g.passed(t, "POST", g.send(t, "POST", "/notes", cookie, "Content-Length: 0", "Sec-Fetch-Site: same-origin"))
	g.passed(t, "POST with Origin", g.send(t, "POST", "/notes", cookie, "Content-Length: 0", "Origin: http://api.example.com"))
	for _, header := range [][]string{
		{},
		{"Sec-Fetch-Site: cross-site"},
		{"Sec-Fetch-Site: same-site"},
		{"Origin: https://evil.example"},
		{"Origin: https://evil.example", "X-Forwarded-Host: evil.example"},
		{"X-Forwarded-Method: GET", "X-Original-Method: GET", "X-HTTP-Method-Override: GET"},
	} {
		what := fmt.Sprint("POST ", header)
		if a := g.send(t, "POST", "/notes", append(header, cookie, "Content-Length: 0")...); a.status != 403 || a.header["Www-Authenticate"] != nil {
			t.Errorf("%s: %d %v", what, a.status, a.header)
		}
		g.closed(t, what)
	}
}

var upgrade = []string{"Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

// open asks for another protocol than HTTP.
func (g *rig) open(t *testing.T, header ...string) (int, string) {
	t.Helper()
	return g.opened(t, func() {}, header...)
}

// opened does something while the connection is open, before it is used.
func (g *rig) opened(t *testing.T, meanwhile func(), header ...string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", g.gateway)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	lines := append([]string{"GET /live HTTP/1.1", "Host: api.example.com", "Connection: Upgrade"}, header...)
	_, err = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	must(t, err)
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, nil)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return resp.StatusCode, ""
	}
	meanwhile()
	_, err = io.WriteString(conn, "hello\n")
	must(t, err)
	line, err := answers.ReadString('\n')
	must(t, err)
	return resp.StatusCode, line
}

func (g *rig) webSocket(t *testing.T) {
	token := g.login(t, "")
	if status, line := g.open(t, append(upgrade, bearer(token), "X-Rescind-Subject: root")...); status != 101 || line != "echo hello\n" {
		t.Errorf("with a token: %d %q", status, line)
	}
	if got := g.api.took(); len(got) != 1 || got[0].Header.Get("X-Rescind-Subject") != "alice" {
		t.Errorf("the API got %v", got)
	}
	cookie := "Cookie: __Host-rescind-at=" + g.login(t, "")
	if status, _ := g.open(t, append(upgrade, cookie, "Origin: https://evil.example")...); status != 403 {
		t.Errorf("from another origin: %d", status)
	}
	g.closed(t, "from another origin")
	if status, _ := g.open(t, append(upgrade, cookie, "Origin: http://api.example.com")...); status != 101 {
		t.Errorf("from the same origin: %d", status)
	}
	g.api.took()
	// As docs/gateways.md says: what is open stays open.
	if status, line := g.opened(t, func() { g.Logout(t, token) }, append(upgrade, bearer(token))...); status != 101 || line != "echo hello\n" {
		t.Errorf("ended while it is open: %d %q", status, line)
	}
	g.api.took()
	for _, header := range [][]string{upgrade, append(upgrade, bearer(token)), append(upgrade, bearer(otherToken))} {
		if status, _ := g.open(t, header...); status != 401 {
			t.Errorf("without a token that stands: %d", status)
		}
		g.closed(t, "WebSocket")
	}
	// Inside another protocol the gateway would check nothing more.
	token = g.login(t, "")
	for _, other := range [][]string{
		{"Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, {"Upgrade: websocket, h2c"}, {"Upgrade: websocket", "Upgrade: h2c"}, {"Upgrade: TLS/1.0"},
	} {
		status, _ := g.open(t, append(other, bearer(token))...)
		for _, r := range g.api.took() {
			if u := r.Header["Upgrade"]; len(u) > 0 && !slices.Equal(u, []string{"websocket"}) {
				t.Errorf("%q: %d; the API was asked for %q", other, status, u)
			}
		}
	}
}

func (g *rig) preflight(t *testing.T) {
	origin, method := "Origin: https://app.example.com", "Access-Control-Request-Method: POST"
	for _, path := range []string{"/notes", "/reports/1"} {
		a := g.send(t, "OPTIONS", path, origin, method, bearer(otherToken))
		got := g.api.took()
		if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") == "" || len(got) != 1 || got[0].Header["Authorization"] != nil {
			t.Errorf("preflight of %s: %d %v, the API got %d", path, a.status, a.header, len(got))
		}
	}
	for _, c := range []struct {
		method string
		header []string
	}{
		{"OPTIONS", nil}, {"OPTIONS", []string{origin}}, {"OPTIONS", []string{method}}, {"OPTIONS", []string{"Origin:", method}},
		{"GET", []string{origin, method}}, {"POST", []string{origin, method, "Content-Length: 0"}}, {"options", []string{origin, method}}, {"OPTIONSX", []string{origin, method}},
		{"GET", []string{origin, method, "X-Forwarded-Method: OPTIONS", "X-HTTP-Method-Override: OPTIONS"}},
	} {
		if a := g.send(t, c.method, "/notes", c.header...); a.status != 401 && a.status != 400 {
			t.Errorf("%s %v: %d", c.method, c.header, a.status)
		}
		g.closed(t, c.method)
	}
	if status, _ := g.open(t, append(upgrade, origin, method)...); status != 401 {
		t.Errorf("WebSocket as a preflight: %d", status)
	}
	g.closed(t, "WebSocket as a preflight")
}

func (g *rig) answers(t *testing.T) {
	token := g.login(t, "")
	for _, status := range []int{401, 403, 404, 500, 503} {
		a := g.send(t, "GET", fmt.Sprintf("/status/%d", status), bearer(token))
		if len(g.api.took()) != 1 || a.status != status || a.header.Get("X-Api") != "yes" || a.header["Www-Authenticate"] != nil || a.header["Retry-After"] != nil {
			t.Errorf("%d of the API: %d %v", status, a.status, a.header)
		}
	}
}

// unknowable asks while nobody can know.
func (g *rig) unknowable(t *testing.T, what string, header ...string) {
	t.Helper()
	a := g.send(t, "GET", "/notes", header...)
	fitting := a.status == 503 && a.header.Get("Retry-After") != ""
	if len(g.faults) > 0 {
		fitting = slices.Contains(g.faults, a.status)
	}
	if !fitting || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("%s: %d %v", what, a.status, a.header)
	}
	if a.took > bounded {
		t.Errorf("%s: took %v", what, a.took)
	}
	g.closed(t, what)
	t.Logf("%s: %d after %v", what, a.status, a.took.Round(time.Millisecond))
}

func (g *rig) frozen(t *testing.T) {
	token := g.login(t, "")
	g.passed(t, "before", g.send(t, "GET", "/notes", bearer(token)))
	g.Freeze(t)
	g.unknowable(t, "frozen, a token that stands", bearer(token))
	g.unknowable(t, "frozen, no token")
	g.Thaw(t)
	g.passed(t, "running again", g.send(t, "GET", "/notes", bearer(token)))
}

func (g *rig) stopped(t *testing.T) {
	token, ended := g.login(t, ""), g.login(t, "")
	g.Logout(t, ended)
	g.Stop(t)
	g.unknowable(t, "stopped, a token that stands", bearer(token))
	g.unknowable(t, "stopped, a token that has ended", bearer(ended))
	g.unknowable(t, "stopped, no token")
	if status, _ := g.open(t, append(upgrade, bearer(token))...); status != 503 && !slices.Contains(g.faults, status) {
		t.Errorf("stopped, WebSocket: %d", status)
	}
	g.closed(t, "WebSocket")
	g.Again(t)
	g.passed(t, "started again", g.send(t, "GET", "/notes", bearer(token)))
	if a := g.send(t, "GET", "/notes", bearer(ended)); a.status != 401 {
		t.Errorf("started again, a token that has ended: %d", a.status)
	}
	g.closed(t, "started again")
}
