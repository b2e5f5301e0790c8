package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/server"
)

// probedApp is a small application with opaque tokens. Its logout ends them, unless
// it forgets to.
type probedApp struct {
	url     string
	forgets bool

	mu      sync.Mutex
	live    map[string]bool
	issued  []string
	logouts int
}

const probedPassword = "pa55word-Of-Ada-17"

func newProbedApp(t *testing.T, forgets bool) *probedApp {
	a := &probedApp{forgets: forgets, live: map[string]bool{}}
	mux := http.NewServeMux()
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a.mu.Lock()
			defer a.mu.Unlock()
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Content-Type", "application/json")
			f(w, r)
		})
	}
	alive := func(w http.ResponseWriter, r *http.Request) bool {
		if token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); a.live[token] {
			return true
		}
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	handle("POST /login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Username, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Password != probedPassword {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		token := "tok_" + rand.Text()
		a.live[token] = true
		a.issued = append(a.issued, token)
		fmt.Fprintf(w, `{"access_token":%q}`, token)
	})
	handle("GET /me", func(w http.ResponseWriter, r *http.Request) {
		if alive(w, r) {
			fmt.Fprint(w, `{"subject":"ada"}`)
		}
	})
	handle("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if !alive(w, r) {
			return
		}
		if a.logouts++; !a.forgets {
			delete(a.live, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}
		w.WriteHeader(http.StatusNoContent)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// description is the application's, replaying for 50 ms only.
func (a *probedApp) description(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "target.yaml")
	text := fmt.Sprintf(`
name: small
instances: [%q]
users: [{name: ada, password: "${ADA_PASSWORD}"}]
login: {request: POST /login, json: {username: "{{user.name}}", password: "{{user.password}}"}}
protected: [GET /me]
logout: POST /logout
delays: [0s, 50ms]
`, a.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secrets are what no output may hold.
func (a *probedApp) secrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string{probedPassword}, a.issued...)
}

// command runs the command line inside the test.
type command struct {
	code           int
	stdout, stderr string
}

func runCommand(t *testing.T, ctx context.Context, stdin string, env map[string]string, args ...string) command {
	t.Helper()
	var stdout, stderr bytes.Buffer
	var writing sync.Mutex
	code := execute(ctx, process{
		args: args, stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &lockedWriter{&writing, &stderr},
		env: func(name string) (string, bool) { value, set := env[name]; return value, set },
	})
	return command{code, stdout.String(), stderr.String()}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

var adaIsSet = map[string]string{"ADA_PASSWORD": probedPassword, "PROBE_USER": "ada", "PROBE_PASSWORD": probedPassword}

const oneCheck = "access-token-alive-after-logout"

// The exit code says what came out, and every report is written.
func TestProbeSaysByItsExitCodeWhetherLogoutEndsAccess(t *testing.T) {
	for name, c := range map[string]struct {
		forgets, down bool
		code          int
		says          string
	}{
		"logout ends access":         {code: exitDone, says: "1 passed"},
		"logout does not end access": {forgets: true, code: exitRefused, says: "1 finding"},
		"nothing is there":           {down: true, code: exitUnavailable, says: "inconclusive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newProbedApp(t, c.forgets)
			dir := t.TempDir()
			path := a.description(t, dir)
			if c.down {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				nobody := "http://" + server.FreePort(t)
				if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(a.url), []byte(nobody)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			files := map[string]string{"--sarif": "r.sarif", "--junit": "r.xml", "--html": "r.html"}
			args := []string{"probe", path, "--check", oneCheck}
			for flag, file := range files {
				args = append(args, flag, filepath.Join(dir, file))
			}
			got := runCommand(t, t.Context(), "", adaIsSet, args...)
			if got.code != c.code || !strings.Contains(got.stdout, c.says) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", got.code, c.code, c.says, got.stdout, got.stderr)
			}
			all := got.stdout + got.stderr
			for flag, file := range files {
				text, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil || !strings.Contains(string(text), oneCheck) {
					t.Errorf("%s: %v, %d bytes without the check", flag, err, len(text))
				}
				all += string(text)
			}
			asJSON := runCommand(t, t.Context(), "", adaIsSet, "probe", path, "--check", oneCheck, "--json", "--quiet")
			if !json.Valid([]byte(asJSON.stdout)) || asJSON.code != c.code {
				t.Errorf("--json: exit code %d, %s", asJSON.code, asJSON.stdout)
			}
			for _, secret := range a.secrets() {
				if strings.Contains(all+asJSON.stdout+asJSON.stderr, secret) {
					t.Errorf("a token or the password is in what was written")
				}
			}
			left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
			if err != nil || left != nil {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// After Ctrl-C the sessions are ended and the report is written, as inconclusive.
func TestProbeThatIsInterruptedLogsOutAndReports(t *testing.T) {
	a := newProbedApp(t, false)
	dir := t.TempDir()
	path := a.description(t, dir)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("50ms"), []byte("1m"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go func() {
		for {
			a.mu.Lock()
			begun := a.logouts > 0
			a.mu.Unlock()
			if begun {
				interrupt()
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	began := time.Now()
	got := runCommand(t, ctx, "", adaIsSet, "probe", path, "--check", oneCheck, "--html", filepath.Join(dir, "r.html"))
	if got.code != exitUnavailable || !strings.Contains(got.stdout, "interrupted") {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := os.Stat(filepath.Join(dir, "r.html")); err != nil {
		t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.live) > 0 {
		t.Errorf("%d of %d sessions were left alive", len(a.live), len(a.issued))
	}
}

// Bad usage is exit code 2 and says what to do; no message holds a secret.
func TestProbeRefusesWhatItCannotUse(t *testing.T) {
	a := newProbedApp(t, false)
	dir := t.TempDir()
	path := a.description(t, dir)
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	literal := write("literal.yaml", "instances: [http://127.0.0.1:1]\nusers: [{name: ada, password: "+probedPassword+"}]\nlogn: x\n")
	curl := write("commands.sh", "curl http://127.0.0.1:1/login -d 'password="+probedPassword+"'\n")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"nothing named":           {[]string{}, "name one description"},
		"two named":               {[]string{path, "--curl", curl}, "name one description"},
		"a file that is missing":  {[]string{filepath.Join(dir, "no.yaml")}, "no such file"},
		"an address":              {[]string{a.url}, "rescind probe init"},
		"an unknown key":          {[]string{literal}, `unknown field "logn"`},
		"an unknown check":        {[]string{path, "--check", "acces-token"}, "rescind probe checks"},
		"an unknown check left":   {[]string{path, "--skip", "x"}, "rescind probe checks"},
		"a base without a source": {[]string{path, "--base-url", "http://127.0.0.1:2"}, "--base-url goes with"},
		"print without a source":  {[]string{path, "--print-description"}, "--print-description goes with"},
		"two reports in one file": {[]string{path, "--html", "x", "--sarif", "./x"}, "two reports"},
		"a folder that is none":   {[]string{path, "--html", filepath.Join(dir, "none", "r.html")}, "cannot be written"},
		"parallel of nothing":     {[]string{path, "--parallel", "-1"}, "--parallel"},
		"parallel of too many":    {[]string{path, "--parallel", "100000"}, "limits.parallel"},
		"no route in it":          {[]string{"--curl", curl}, "needs a session"},
		"an address with a user":  {[]string{"--curl", curl, "--base-url", "http://ada:" + probedPassword + "@127.0.0.1:1"}, "base URL"},
		"a check that is none":    {[]string{"checks", "nothing"}, "rescind probe checks"},
	} {
		got := runCommand(t, t.Context(), "", adaIsSet, append([]string{"probe"}, c.args...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, c.says) {
			t.Errorf("%s: exit code %d, %q, want %q", name, got.code, got.stderr, c.says)
		}
		if strings.Contains(got.stdout+got.stderr, probedPassword) {
			t.Errorf("%s: the password is in the message", name)
		}
	}
	got := runCommand(t, t.Context(), "", nil, "probe", path)
	if got.code != exitUsage || !strings.Contains(got.stderr, "set ADA_PASSWORD") {
		t.Errorf("without the environment: exit code %d, %q", got.code, got.stderr)
	}
	if a.mu.Lock(); len(a.issued) > 0 {
		t.Error("something was sent")
	}
	a.mu.Unlock()
}

// What was recorded becomes a description that runs, without its secrets.
func TestProbeRunsWhatItDerives(t *testing.T) {
	a := newProbedApp(t, false)
	dir := t.TempDir()
	file := filepath.Join(dir, "commands.sh")
	recorded := "tok_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	script := fmt.Sprintf("curl %[1]s/login --json '{\"username\":\"ada\",\"password\":%[2]q}'\ncurl %[1]s/me -H 'Authorization: Bearer %[3]s'\ncurl -X POST %[1]s/logout -H 'Authorization: Bearer %[3]s'\n", a.url, probedPassword, recorded)
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runCommand(t, t.Context(), "", nil, "probe", "--curl", file, "--print-description")
	if got.code != exitDone || strings.Contains(got.stdout, probedPassword) || strings.Contains(got.stdout, recorded) {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	description := filepath.Join(dir, "derived.yaml")
	if err := os.WriteFile(description, []byte(got.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	entry := func(method, path, body, token, answer string) string {
		headers := `{"name":"content-type","value":"application/json"}`
		if token != "" {
			headers += fmt.Sprintf(`,{"name":"authorization","value":"Bearer %s"}`, token)
		}
		return fmt.Sprintf(`{"request":{"method":%q,"url":%q,"headers":[%s],"postData":{"mimeType":"application/json","text":%q}},
			"response":{"status":200,"headers":[],"content":{"mimeType":"application/json","text":%q}}}`, method, a.url+path, headers, body, answer)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	recording := write("recording.har", `{"log":{"entries":[`+strings.Join([]string{
		entry("POST", "/login", fmt.Sprintf(`{"username":"ada","password":%q}`, probedPassword), "", fmt.Sprintf(`{"access_token":%q}`, recorded)),
		entry("GET", "/me", "", recorded, `{"subject":"ada"}`), entry("POST", "/logout", "", recorded, ""),
	}, ",")+`]}}`)
	document := write("openapi.yaml", `
openapi: 3.1.0
paths:
  /login: {post: {requestBody: {content: {application/json: {schema: {properties: {username: {type: string}, password: {type: string}}}}}}}}
  /me: {get: {security: [{bearer: []}]}}
  /logout: {post: {security: [{bearer: []}]}}
components: {securitySchemes: {bearer: {type: http, scheme: bearer}}}
`)
	for name, args := range map[string][]string{
		"HAR":      {"--har", recording},
		"OpenAPI":  {"--openapi", document, "--base-url", a.url},
		"at once":  {"--curl", file},
		"by stdin": {"--curl", "-"},
		"printed":  {description},
	} {
		got := runCommand(t, t.Context(), script, adaIsSet, append([]string{"probe", "--check", "corrupted-token-accepted"}, args...)...)
		if got.code != exitDone {
			t.Errorf("%s: exit code %d\n%s%s", name, got.code, got.stdout, got.stderr)
		}
		if strings.Contains(got.stdout+got.stderr, recorded) || strings.Contains(got.stdout+got.stderr, probedPassword) {
			t.Errorf("%s: a token or the password is in what was printed", name)
		}
	}
	got = runCommand(t, t.Context(), "", nil, "probe", "--curl", file)
	if got.code != exitUsage || !strings.Contains(got.stderr, "PROBE_PASSWORD, for users[0].password") {
		t.Errorf("without the environment: exit code %d, %q", got.code, got.stderr)
	}
	got = runCommand(t, t.Context(), "", nil, "probe", "--curl", file, "--print-description", "--json")
	var out struct {
		Description string
		Remarks     []string
		Environment []struct{ Name, For string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &out); err != nil || len(out.Environment) != 2 || len(out.Remarks) == 0 {
		t.Errorf("--json: %v %s", err, got.stdout)
	}
}

// The description that init writes runs. It is for its owner only, replaces no
// file, and holds no secret.
func TestProbeInitWritesADescriptionThatRuns(t *testing.T) {
	a := newProbedApp(t, false)
	path := filepath.Join(t.TempDir(), "probe.yaml")
	answers := strings.Join([]string{
		a.url, "", "", "", "", "", "", "", "y", "", "/me", "/me /subject", "none", "none", "none", "no",
	}, "\n") + "\n"
	got := runCommand(t, t.Context(), answers, adaIsSet, "probe", "init", path)
	if got.code != exitDone || !strings.Contains(got.stderr, "it worked") || !strings.Contains(got.stderr, "access_token  …(30 characters") {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range a.secrets() {
		if strings.Contains(string(text)+got.stdout+got.stderr, secret) {
			t.Error("a token or the password is in what was written")
		}
	}
	if info, err := os.Stat(path); err != nil || hasModes && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if len(a.live) > 0 {
		t.Error("the login that was tried was not ended")
	}
	again := runCommand(t, t.Context(), answers, adaIsSet, "probe", "init", path)
	if now, err := os.ReadFile(path); again.code != exitUsage || err != nil || !bytes.Equal(now, text) {
		t.Errorf("it was overwritten: exit code %d, %v", again.code, err)
	}
	ran := runCommand(t, t.Context(), "", adaIsSet, "probe", path, "--check", "corrupted-token-accepted")
	if ran.code != exitDone {
		t.Errorf("exit code %d\n%s%s", ran.code, ran.stdout, ran.stderr)
	}
	// Answers that end too early, or are wrong, write nothing.
	for name, answers := range map[string]string{
		"none": "", "cut off": a.url + "\n", "wrong": "ftp://x\n", "a login that fails": strings.Replace(answers, "\n\n", "\nPOST /nowhere\n", 1),
	} {
		other := filepath.Join(t.TempDir(), "probe.yaml")
		got := runCommand(t, t.Context(), answers, adaIsSet, "probe", "init", other)
		if _, err := os.Stat(other); got.code != exitUsage || err == nil {
			t.Errorf("%s: exit code %d, %v", name, got.code, err)
		}
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	if got := runCommand(t, interrupted, answers, adaIsSet, "probe", "init", path+"2"); got.code != exitUsage {
		t.Errorf("interrupted: exit code %d", got.code)
	}
}

func TestProbeExplainsItsChecksAndKeys(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"checks", oneCheck}, {"checks " + oneCheck, "CWE-613"}, {"checks --json", `"id":"` + oneCheck}, {"checks --json " + oneCheck, `"cure":`},
		{"schema", "limits.timeout"}, {"schema --json", "json-schema.org"}, {"--help", "Exit codes"},
	} {
		got := runCommand(t, t.Context(), "", nil, append([]string{"probe"}, strings.Fields(c.args)...)...)
		if got.code != exitDone || !strings.Contains(got.stdout, c.says) {
			t.Errorf("%s: exit code %d, without %q\n%s%s", c.args, got.code, c.says, got.stdout, got.stderr)
		}
	}
}
