package gateways

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/rescind/rescind/tests/server"
)

// traefik is what its configuration says.
type traefik struct {
	HTTP struct {
		Routers map[string]struct {
			EntryPoints []string `yaml:"entryPoints"`
			Rule        string
			Priority    int
			Middlewares []string
			Service     string
		}
		Middlewares map[string]struct {
			IPAllowList map[string]any `yaml:"ipAllowList"`
			ForwardAuth *struct {
				Address             string
				AuthResponseHeaders []string `yaml:"authResponseHeaders"`
			} `yaml:"forwardAuth"`
			Headers *struct {
				CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
			}
		}
		Services          map[string]any
		ServersTransports map[string]any `yaml:"serversTransports"`
	}
}

// TestTraefik replays what Traefik does, and runs it where there is one: it is in no
// Debian package, and building it takes several minutes.
func TestTraefik(t *testing.T) {
	t.Parallel()
	t.Run("Replayed", replayTraefik)
	if binary := traefikBinary(t); binary != "" {
		t.Run("Itself", func(t *testing.T) { runTraefik(t, binary) })
	}
}

// traefikBinary returns the program that RESCIND_TRAEFIK names, or with
// RESCIND_SLOW=1 one that is built here, or "".
func traefikBinary(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("RESCIND_TRAEFIK")
	if binary != "" || os.Getenv("RESCIND_SLOW") != "1" {
		return binary
	}
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", "traefik.mod"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "go.mod"), text, 0o644))
	binary = filepath.Join(dir, "traefik")
	build := exec.Command("go", "build", "-mod=mod", "-buildvcs=false", "-o", binary, "github.com/traefik/traefik/v3/cmd/traefik")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

func runTraefik(t *testing.T, binary string) {
	g, dir := &rig{api: startAPI(t), ledger: startLedger(t), gateway: server.FreePort(t)}, t.TempDir()
	g.normalises, g.faults = true, []int{502, 504}
	inner := strings.TrimPrefix(server.FreePort(t), "127.0.0.1")
	for _, name := range []string{"traefik.yaml", "dynamic.yaml"} {
		g.configure(t, filepath.Join("traefik", name), filepath.Join(dir, name), ":8079", inner)
	}
	cmd := exec.Command(binary, "--configfile=traefik.yaml")
	cmd.Dir = dir
	server.Spawn(t, cmd, g.gateway)
	for end := time.Now().Add(patience); g.send(t, "GET", "/").status == 404; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it listens, and reads no routers")
		}
	}
	g.suite(t)
}

func readTraefik(t *testing.T) traefik {
	t.Helper()
	var c traefik
	must(t, yaml.UnmarshalWithOptions(read(t, "traefik/dynamic.yaml"), &c, yaml.Strict()))
	return c
}

// replay does to a request what Traefik documents for the middlewares of a router,
// against the real server. It returns what the client is told, or what the API gets.
func (c traefik) replay(t *testing.T, l *ledger, router, method string, in http.Header) (int, http.Header) {
	t.Helper()
	h := in.Clone()
	for _, name := range c.HTTP.Routers[router].Middlewares {
		m, known := c.HTTP.Middlewares[name]
		if !known {
			t.Fatalf("router %s: there is no middleware %s", router, name)
		}
		if m.IPAllowList != nil {
			return http.StatusForbidden, nil
		}
		if m.Headers != nil {
			for name, value := range m.Headers.CustomRequestHeaders {
				if value == "" {
					h.Del(name)
				} else {
					h.Set(name, value)
				}
			}
		}
		if m.ForwardAuth == nil {
			continue
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(m.ForwardAuth.Address, "127.0.0.1:8079", l.Addr(), 1), nil)
		must(t, err)
		req.Header = h.Clone()
		req.Header.Del("Connection")
		req.Header.Del("Upgrade")
		for name, value := range map[string]string{"Method": method, "Proto": "https", "Host": "api.example.com", "Uri": "/notes?x=1", "For": "192.0.2.1"} {
			req.Header.Set("X-Forwarded-"+name, value)
		}
		resp, err := l.HTTP.Do(req)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode < 200 || resp.StatusCode > 299 {
			return resp.StatusCode, resp.Header
		}
		for _, name := range m.ForwardAuth.AuthResponseHeaders {
			h.Del(name)
			if values := resp.Header.Values(name); len(values) > 0 {
				h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
			}
		}
	}
	return http.StatusOK, h
}

func replayTraefik(t *testing.T) {
	c, l := readTraefik(t), startLedger(t)
	token, ended, elsewhere := l.login(t, "reports:read"), l.login(t, ""), l.login(t, "", "https://elsewhere.example.com")
	l.Logout(t, ended)

	forged := http.Header{"Connection": {"close, X-Rescind-Subject"}, "Upgrade": {"h2c"}}
	for _, name := range []string{"subject", "session", "client", "scope"} {
		for _, spelt := range []string{"x-rescind-", "x_rescind_", "x-rescind_", "x_rescind-"} {
			forged[http.CanonicalHeaderKey(spelt+name)] = []string{"root", "root"}
		}
	}
	with := func(more ...string) http.Header {
		h := forged.Clone()
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		return h
	}
	for router, r := range c.HTTP.Routers {
		if slices.Equal(r.EntryPoints, []string{"rescind"}) {
			continue // nobody but forwardAuth comes there
		}
		if _, known := c.HTTP.Services[r.Service]; !known || !strings.HasPrefix(r.Rule, "Host(`api.example.com`)") {
			t.Errorf("router %s: %+v", router, r)
		}
		status, got := c.replay(t, l, router, "GET", with("Authorization", "Bearer "+token))
		if router == "ambiguous" {
			if status != 403 {
				t.Errorf("ambiguous paths: %d %v", status, got)
			}
			continue
		}
		if subject := got.Get("X-Rescind-Subject"); status != 200 || (subject == "alice") == (router == "preflight") {
			t.Errorf("%s: %d %v", router, status, got)
		}
		for name, values := range got {
			if slices.Contains(values, "root") || name == "Authorization" {
				t.Errorf("%s: the API gets %s: %q", router, name, values)
			}
		}
		if u := got["Upgrade"]; len(u) > 0 && (router != "websocket" || !slices.Equal(u, []string{"websocket"})) {
			t.Errorf("%s: the API is asked for %q", router, u)
		}
		if strings.Contains(got.Get("Connection"), "X-") {
			t.Errorf("%s: Connection: %q", router, got["Connection"])
		}
	}
	cookie := "__Host-rescind-at=" + token
	for _, q := range []struct {
		name, router, method string
		header               http.Header
		status               int
	}{
		{"no token", "everything", "GET", with(), 401},
		{"a bad token", "everything", "GET", with("Authorization", "Bearer "+otherToken), 401},
		{"an ended session", "everything", "GET", with("Authorization", "Bearer "+ended), 401},
		{"an ended session", "websocket", "GET", with("Authorization", "Bearer "+ended), 401},
		{"missing scope", "reports", "GET", with("Authorization", "Bearer "+l.login(t, "")), 403},
		{"wrong audience", "everything", "GET", with("Authorization", "Bearer "+elsewhere), 401},
		{"two tokens", "everything", "GET", with("Authorization", "Bearer "+token, "Authorization", "Bearer "+token), 401},
		{"a cookie", "everything", "GET", with("Cookie", cookie), 200},
		{"a cookie", "everything", "POST", with("Cookie", cookie), 403},
		{"a cookie", "everything", "BREW", with("Cookie", cookie, "Sec-Fetch-Site", "cross-site"), 403},
		{"a cookie", "everything", "POST", with("Cookie", cookie, "Origin", "https://api.example.com"), 200},
		{"a cookie", "websocket", "GET", with("Cookie", cookie, "Sec-Websocket-Key", "x", "Origin", "https://evil.example"), 403},
		{"a cookie", "websocket", "GET", with("Cookie", cookie, "Sec-Websocket-Key", "x", "Origin", "https://api.example.com"), 200},
	} {
		status, h := c.replay(t, l, q.router, q.method, q.header)
		if status != q.status || status == 401 && h.Get("WWW-Authenticate") == "" {
			t.Errorf("%s, %s at %s: %d %v, not %d", q.name, q.method, q.router, status, h, q.status)
		}
	}
}
