package docs

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/server"
)

const (
	recipe    = "docs/from-the-classic-recipe.md"
	appClient = "backend"
	appSecret = "the-secret-of-the-application-here"
	patient   = "60" // seconds, for which an application that is not hasty waits, and claims
)

// patience makes the times of the page settings: what shall not hang on how fast
// the machine is runs with long ones.
var patience = map[string]map[string]string{
	"Express": {
		"commandTimeout: 1000":  "commandTimeout: 1000 * (process.env.PATIENCE ?? 1)",
		"const claimed = 5000":  "const claimed = 1000 * (process.env.PATIENCE ?? 5)",
		"const r = rescind()\n": "const r = rescind({ timeout: 1000 * (process.env.PATIENCE ?? 2) })\n",
	},
	"Flask": {
		" socket_timeout=1,": ` socket_timeout=float(os.environ.get("PATIENCE", 1)),`,
		"CLAIMED = 5000":     `CLAIMED = 1000 * int(os.environ.get("PATIENCE", 5))`,
		"rescind = Rescind(app)\n\n\n@app.errorhandler": `app.config["RESCIND_TIMEOUT"] = float(os.environ.get("PATIENCE", 2))` + "\nrescind = Rescind(app)\n\n\n@app.errorhandler",
	},
}

// properties are what the page promises about moving.
var properties = map[string]func(*moving) error{
	"MovesOnce":                   (*moving).movesOnce,
	"BothStagesAtOnce":            (*moving).bothStagesAtOnce,
	"LoggedOutStaysOut":           (*moving).loggedOutStaysOut,
	"LogoutEndsEverything":        (*moving).logoutEndsEverything,
	"LogoutByTheOldToken":         (*moving).logoutByTheOldToken,
	"LogoutWhileMoving":           (*moving).logoutWhileMoving,
	"CrashWhileMoving":            (*moving).crashWhileMoving,
	"LogoutEverywhere":            (*moving).logoutEverywhere,
	"LogoutEverywhereWhileMoving": (*moving).logoutEverywhereWhileMoving,
	"OutagesAreNeitherYesNorNo":   (*moving).outages,
	"SwitchedOffWhoMovedStays":    (*moving).switchedOff,
}

// bugs turn a property red: what is left out of the page's program. They are for
// the slow suites.
var bugs = map[string]struct{ name, old, new, property string }{
	"ExpressSettlesRegardless": {"moving.mjs", "    if entry ~= ARGV[1] and entry ~= ARGV[2] then return 0 end\n", "", "LogoutWhileMoving"},
	"FlaskSettlesRegardless":   {"moving.py", "    if entry ~= ARGV[1] and entry ~= ARGV[2] then return 0 end\n", "", "LogoutWhileMoving"},
	"ExpressClaimsNothing":     {"moving.mjs", "if (entry !== claim) throw refuse(entry)", "", "MovesOnce"},
	"ExpressSignsLate":         {"moving.mjs", ": minted)", ": await new Promise(f => setTimeout(f, 2000, 0)) || access(old.sub))", "BothStagesAtOnce"},
	"ExpressKeepsAccess":       {"moving.mjs", "  await cut('access', old.sub, accessSeconds)\n", "", "LogoutEndsEverything"},
	"FlaskKeepsAccess":         {"moving.py", "    cut(\"access\", user, old.ACCESS)\n", "", "LogoutEndsEverything"},
}

// testMoving holds what the page shows against what it promises, with processes
// that freeze and die.
func testMoving(t *testing.T, r *runner) {
	p, err := read(r.root, recipe)
	if err != nil {
		t.Fatal(err)
	}
	requires(t, r, p)
	for app, main := range map[string]string{"Express": "moving.mjs", "Flask": "moving.py"} {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			m := startMoving(t, r, p, app, main, func(text string) string { return text })
			for name := range properties {
				t.Run(name, func(t *testing.T) {
					if err := m.holds(t, name); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
	for name, bug := range bugs {
		if !r.full {
			break
		}
		t.Run("RedIf"+name, func(t *testing.T) {
			t.Parallel()
			app := map[string]string{".mjs": "Express", ".py": "Flask"}[filepath.Ext(bug.name)]
			m := startMoving(t, r, p, app, bug.name, func(text string) string {
				if strings.Count(text, bug.old) == 0 {
					t.Fatalf("%s does not hold %q", bug.name, bug.old)
				}
				text = strings.ReplaceAll(text, bug.old, bug.new)
				if bug.property == "MovesOnce" { // it has a second line behind it
					text = strings.ReplaceAll(text, "    if entry ~= ARGV[1] and entry ~= ARGV[2] then return 0 end\n", "")
				}
				return text
			})
			if err := m.holds(t, bug.property); err == nil {
				t.Errorf("nobody notices")
			} else {
				t.Log(err)
			}
		})
	}
}

// moving is the page's application between its stages, switched off and on, beside
// one Redis and one server. Each property has users of its own.
type moving struct {
	t       *testing.T // of the property
	whole   *testing.T // of all of them
	name    string     // of the property
	command func(port string) []string
	dir     string
	env     []string
	redis   *server.Process
	at      string // where Redis is
	rescind *server.Server
	apps    map[string]*app // by stage
	app     *app            // the one that is called
}

// app is one process of the application, with its workers.
type app struct {
	port string
	cmd  *exec.Cmd
	*server.Process
}

func (m *moving) holds(t *testing.T, property string) error {
	m.t, m.name = t, property
	return properties[property](m)
}

func (m *moving) user(name string) string { return name + "." + m.name }

// tokens are what a login or a refresh brings.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func startMoving(t *testing.T, r *runner, p page, framework, main string, change func(string) string) *moving {
	t.Helper()
	m := &moving{t: t, whole: t, dir: t.TempDir(), apps: map[string]*app{}}
	ports := r.ports(4)
	for i, stage := range []string{"no", "yes", "hasty"} {
		m.apps[stage] = &app{port: ports[i+1]}
	}
	m.at = "127.0.0.1:" + ports[0]
	settings, all := []string{"8080", "process.env.PORT", "6379", ports[0]}, ""
	for as, becomes := range patience[framework] {
		settings = append(settings, as, becomes)
	}
	free := strings.NewReplacer(settings...)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range p.blocks {
		if len(b.info) == 2 && applications[b.info[0]] != "" {
			text := b.text
			if b.info[1] == main {
				text = change(text)
			}
			write(b.info[1], free.Replace(text))
			all += text
		}
	}
	for as := range patience[framework] {
		if !strings.Contains(all, as) {
			t.Fatalf("the page does not say %q: its times would be kept", as)
		}
	}
	vars, err := r.provide(p, m.dir)
	if err != nil {
		t.Fatal(err)
	}
	m.command = func(string) []string { return []string{"node", main} }
	if filepath.Ext(main) == ".py" {
		m.command = func(port string) []string {
			return []string{"python3", "-m", "gunicorn", "--bind", "127.0.0.1:" + port, "--workers", "2", "--threads", "10", "--graceful-timeout", "1", "moving:app"}
		}
	}
	write("backend.secret", appSecret)
	write("rescind.yaml", "clients:\n  - id: "+appClient+"\n    roles: [issue, introspect, revoke]\n    secret_file: "+filepath.Join(m.dir, "backend.secret")+"\n")
	m.rescind = server.Program(filepath.Join(r.dir, "bin", "rescind")).Start(t, server.Options{Config: filepath.Join(m.dir, "rescind.yaml")})
	m.env = environment(append(vars, "JWT_SECRET=0123456789abcdef0123456789abcdef", "NODE_ENV=test", "PYTHONDONTWRITEBYTECODE=1",
		"RESCIND_URL="+m.rescind.URL, "RESCIND_CLIENT_ID="+appClient, "RESCIND_CLIENT_SECRET="+appSecret)...)
	redis := exec.Command("redis-server", "--port", ports[0], "--bind", "127.0.0.1", "--save", "", "--dir", m.dir)
	m.redis = server.Spawn(t, redis, m.at)
	return m
}

// stage turns to the application that is MOVING, "yes" or "no"; a "hasty" one is,
// and waits no longer than on the page.
func (m *moving) stage(on string) {
	m.t.Helper()
	m.app = m.apps[on]
	settings := []string{"MOVING=" + on, "PATIENCE=" + patient}
	if on == "hasty" {
		settings = []string{"MOVING=yes"}
	}
	if m.app.Process != nil {
		select {
		case <-m.app.Over(): // it was killed
		default:
			return
		}
	}
	m.app.cmd = exec.Command("env", m.command(m.app.port)...) // which looks in the PATH that it is given
	m.app.cmd.Dir, m.app.cmd.Env = m.dir, append(append(m.env[:len(m.env):len(m.env)], settings...), "PORT="+m.app.port)
	m.app.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // workers die with it
	m.app.Process = server.Spawn(m.whole, m.app.cmd, "127.0.0.1:"+m.app.port)
}

func (m *moving) call(method, path, bearer string, body any, into any) int {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			m.t.Error(err)
		}
	}
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://127.0.0.1:"+m.app.port+path, bytes.NewReader(text))
	if err != nil {
		m.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0 // the application has died
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && into != nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(said, into)
	}
	if err != nil {
		m.t.Errorf("%s: %v: %s", path, err, said)
	}
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
		m.t.Errorf("%s: 503 without Retry-After", path)
	}
	return resp.StatusCode
}

func (m *moving) login(user string) (t tokens) {
	m.t.Helper()
	if got := m.call("POST", "/login", "", map[string]string{"user": m.user(user)}, &t); got != 200 {
		m.t.Fatalf("login: %d", got)
	}
	return t
}

func (m *moving) refresh(token string) (got int, t tokens) {
	got = m.call("POST", "/refresh", "", tokens{Refresh: token}, &t)
	return got, t
}

func (m *moving) notes(token string) int { return m.call("GET", "/api/notes", token, nil, nil) }

func (m *moving) logout(t tokens) int { return m.call("POST", "/logout", t.Access, t, nil) }

// live counts the user's sessions in the ledger.
func (m *moving) live(user string) int {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), "GET", m.rescind.URL+"/v1/sessions?state=active&subject="+m.user(user), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.SetBasicAuth(appClient, appSecret)
	resp, err := m.rescind.HTTP.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Sessions []struct{ ID string } }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != 200 {
		m.t.Fatalf("sessions: %s %v", resp.Status, err)
	}
	return len(page.Sessions)
}

// entry is what Redis holds for an old token, or for a key.
func (m *moving) entry(of string) string {
	m.t.Helper()
	return m.ask("GET", m.key(of))
}

// key is that of an old token, or the key itself.
func (m *moving) key(of string) string {
	m.t.Helper()
	parts := strings.Split(of, ".")
	if len(parts) != 3 {
		return of
	}
	var claims struct{ JTI string }
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err = errors.Join(err, json.Unmarshal(text, &claims)); err != nil {
		m.t.Fatal(err)
	}
	return "revoked:" + claims.JTI
}

// ask asks Redis.
func (m *moving) ask(command ...string) string {
	m.t.Helper()
	conn, err := net.Dial("tcp", m.at)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	_, err = fmt.Fprintf(conn, "%s\r\n", strings.Join(command, " "))
	line := ""
	for range 2 {
		if err == nil {
			line, err = answers.ReadString('\n')
		}
		line = strings.TrimSpace(line)
		if line == "$-1" {
			return ""
		}
		if !strings.HasPrefix(line, "$") { // behind the length
			break
		}
	}
	if err != nil || strings.HasPrefix(line, "-") {
		m.t.Fatalf("%s: %s %v", command[0], line, err)
	}
	return strings.TrimPrefix(line, ":")
}

// lapse lets a claim lapse, as it would by itself, but later.
func (m *moving) lapse(token string) {
	m.t.Helper()
	key := m.key(token)
	if m.ask("PTTL", key) == "-1" {
		m.t.Error("the claim would stay for ever")
	}
	m.ask("PEXPIRE", key, "1")
	m.until("the claim has lapsed", func() bool { return m.entry(key) == "" })
}

func (m *moving) until(what string, so func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("not yet: %s", what)
		}
	}
}

// want compares what was got, name by name.
func want(pairs ...any) error {
	var wrong []error
	for i := 0; i+2 < len(pairs); i += 3 {
		if pairs[i+1] != pairs[i+2] {
			wrong = append(wrong, fmt.Errorf("%s: %v, want %v", pairs[i], pairs[i+1], pairs[i+2]))
		}
	}
	return errors.Join(wrong...)
}
