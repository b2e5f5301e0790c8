package docs

import (
	"bytes"
	"cmp"
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/server"
)

const (
	recipe    = "docs/from-the-classic-recipe.md"
	appClient = "backend"
	appSecret = "the-secret-of-the-application-here"
	claimed   = 5 * time.Second // CLAIMED of the page
)

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
			m := startMoving(t, r, p, main, func(text string) string { return text })
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
			m := startMoving(t, r, p, bug.name, func(text string) string {
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

// moving is the page's application between its stages, twice, once switched off
// and once on, beside one Redis and one server. Each property has users of its own.
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
	apps    map[string]*app // by MOVING
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

func startMoving(t *testing.T, r *runner, p page, main string, change func(string) string) *moving {
	t.Helper()
	m := &moving{t: t, whole: t, dir: t.TempDir()}
	ports, err := r.ports(3)
	if err != nil {
		t.Fatal(err)
	}
	m.apps = map[string]*app{"no": {port: ports[0]}, "yes": {port: ports[2]}}
	m.at = "127.0.0.1:" + ports[1]
	free := strings.NewReplacer("8080", "process.env.PORT", "6379", ports[1])
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
	redis := exec.Command("redis-server", "--port", ports[1], "--bind", "127.0.0.1", "--save", "", "--dir", m.dir)
	m.redis = server.Spawn(t, redis, m.at)
	return m
}

// stage turns to the application that is MOVING or not.
func (m *moving) stage(on string) {
	m.t.Helper()
	m.app = m.apps[on]
	if m.app.Process != nil {
		select {
		case <-m.app.Over(): // it was killed
		default:
			return
		}
	}
	m.app.cmd = exec.Command("env", m.command(m.app.port)...) // which looks in the PATH that it is given
	m.app.cmd.Dir, m.app.cmd.Env = m.dir, append(m.env, "MOVING="+on, "PORT="+m.app.port)
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
	if parts := strings.Split(of, "."); len(parts) == 3 {
		var claims struct{ JTI string }
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err = errors.Join(err, json.Unmarshal(text, &claims)); err != nil {
			m.t.Fatal(err)
		}
		of = "revoked:" + claims.JTI
	}
	conn, err := net.Dial("tcp", m.at)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 1024)
	_, err = fmt.Fprintf(conn, "GET %s\r\n", of)
	n := 0
	if err == nil {
		n, err = conn.Read(buf)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	_, value, _ := strings.Cut(string(buf[:n]), "\r\n") // behind the length
	return strings.TrimSpace(value)
}

func (m *moving) until(what string, so func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(2 * claimed); !so(); time.Sleep(10 * time.Millisecond) {
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

// Sixteen refreshes of one old token at once: one moves, and one session is there.
func (m *moving) movesOnce() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	var mu sync.Mutex
	var all sync.WaitGroup
	answers := map[int]int{}
	var moved tokens
	// All of them look at the blocklist before any of them claims.
	if err := m.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for range 16 {
		all.Go(func() {
			got, t := m.refresh(old.Refresh)
			mu.Lock()
			defer mu.Unlock()
			answers[got]++
			moved.Access, moved.Refresh = cmp.Or(moved.Access, t.Access), cmp.Or(moved.Refresh, t.Refresh)
		})
	}
	time.Sleep(300 * time.Millisecond) // less than Redis may take
	if err := m.redis.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	all.Wait()
	again, _ := m.refresh(old.Refresh)
	later, _ := m.refresh(moved.Refresh)
	return errors.Join(
		want("moved", answers[200], 1, "others", answers[503]+answers[401], 15, "sessions", m.live("ada"), 1),
		want("notes", m.notes(moved.Access), 200, "the old token", again, 401, "the new one", later, 200),
	)
}

// A node on which the switch is off refreshes the token that another one moves:
// what it hands out is worth nothing.
func (m *moving) bothStagesAtOnce() error {
	m.stage("no")
	old := m.login("ada")
	off, on := *m, *m
	on.stage("yes")
	var all sync.WaitGroup
	minted := make([]tokens, 8)
	moved := make([]tokens, 8)
	if err := m.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for i := range minted {
		all.Go(func() { _, minted[i] = off.refresh(old.Refresh) })
		all.Go(func() { _, moved[i] = on.refresh(old.Refresh) })
	}
	time.Sleep(300 * time.Millisecond) // less than Redis may take
	if err := m.redis.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	all.Wait()
	var errs []error
	sessions := 0
	for i := range minted {
		if minted[i].Access != "" {
			errs = append(errs, want("what was minted", off.notes(minted[i].Access), 401))
		}
		if moved[i].Access != "" {
			sessions++
			errs = append(errs, want("what has moved", off.notes(moved[i].Access), 200))
		}
	}
	return errors.Join(append(errs, want("moved", sessions, 1, "sessions", m.live("ada"), 1))...)
}

func (m *moving) loggedOutStaysOut() error {
	m.stage("no")
	old := m.login("ada")
	out := m.logout(old)
	before, _ := m.refresh(old.Refresh)
	m.stage("yes")
	after, _ := m.refresh(old.Refresh)
	return want("logout", out, 204, "before", before, 401, "after", after, 401, "notes", m.notes(old.Access), 401, "sessions", m.live("ada"), 0)
}

func (m *moving) logoutEndsEverything() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	got, moved := m.refresh(old.Refresh)
	err := want("refresh", got, 200, "notes", m.notes(moved.Access), 200, "logout", m.logout(moved), 204)
	a, _ := m.refresh(old.Refresh)
	b, _ := m.refresh(moved.Refresh)
	return errors.Join(err, want("old refresh", a, 401, "refresh", b, 401, "old access", m.notes(old.Access), 401, "access", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0))
}

// A tab that still has the old tokens logs out: the session that came of them ends.
func (m *moving) logoutByTheOldToken() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	got, moved := m.refresh(old.Refresh)
	m.rescind.Freeze(m.t)
	hung := m.logout(old)
	m.rescind.Thaw(m.t)
	err := want("refresh", got, 200, "while it hangs", hung, 503, "logout", m.logout(old), 204, "again", m.logout(old), 204)
	return errors.Join(err, want("notes", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0))
}

// A logout between claim and settling: the refresh brings nothing.
func (m *moving) logoutWhileMoving() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	answer := make(chan int, 1)
	m.rescind.Freeze(m.t)
	go func() {
		got, _ := m.refresh(old.Refresh)
		answer <- got
	}()
	m.until("a claim", func() bool { return strings.HasPrefix(m.entry(old.Refresh), "moving:") })
	out := m.logout(old)
	m.rescind.Thaw(m.t)
	got := <-answer
	again, _ := m.refresh(old.Refresh)
	return want("logout", out, 204, "refresh", got, 401, "again", again, 401, "notes", m.notes(old.Access), 401, "sessions", m.live("ada"), 0)
}

// The process dies between claim and settling: the user waits, and is not logged out.
func (m *moving) crashWhileMoving() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	m.rescind.Freeze(m.t)
	answer := make(chan int, 1)
	go func() {
		got, _ := m.refresh(old.Refresh)
		answer <- got
	}()
	m.until("a claim", func() bool { return strings.HasPrefix(m.entry(old.Refresh), "moving:") })
	if err := syscall.Kill(-m.app.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-m.app.Over()
	died := <-answer
	m.rescind.Thaw(m.t)
	m.stage("yes")
	soon, _ := m.refresh(old.Refresh)
	m.until("the claim has lapsed", func() bool { return m.entry(old.Refresh) == "" })
	later, moved := m.refresh(old.Refresh)
	return want("died", died, 0, "soon", soon, 503, "later", later, 200, "notes", m.notes(moved.Access), 200)
}

// A logout everywhere reaches sessions that have not moved.
func (m *moving) logoutEverywhere() error {
	m.stage("no")
	phone, laptop := m.login("ada"), m.login("ada")
	m.stage("yes")
	_, moved := m.refresh(phone.Refresh)
	early := m.notes(laptop.Access)
	out := m.call("POST", "/logout-everywhere", moved.Access, nil, nil)
	got, _ := m.refresh(laptop.Refresh)
	return want("the other's access token is cut off", early, 401, "logout", out, 204, "the other", got, 401, "notes", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0)
}

func (m *moving) logoutEverywhereWhileMoving() error {
	m.stage("no")
	phone, laptop := m.login("ada"), m.login("ada")
	m.stage("no") // the laptop's access token must not be cut off by the phone's move
	answer, out := make(chan tokens, 1), make(chan int, 1)
	m.stage("yes")
	m.rescind.Freeze(m.t)
	go func() { out <- m.call("POST", "/logout-everywhere", laptop.Access, nil, nil) }()
	m.until("the cut", func() bool { return m.entry("cut:refresh:"+m.user("ada")) != "" })
	go func() {
		_, t := m.refresh(phone.Refresh)
		answer <- t
	}()
	time.Sleep(200 * time.Millisecond)
	m.rescind.Thaw(m.t)
	moved, got := <-answer, <-out
	return want("logout", got, 204, "notes", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0)
}

func (m *moving) outages() error {
	m.stage("no")
	ada, alan := m.login("ada"), m.login("alan")
	m.stage("yes")
	_, moved := m.refresh(alan.Refresh)
	m.rescind.Freeze(m.t)
	silent, _ := m.refresh(ada.Refresh)
	err := want("Rescind is silent", silent, 503, "new", m.notes(moved.Access), 503)
	m.rescind.Thaw(m.t)
	m.until("the claim has lapsed", func() bool { return m.entry(ada.Refresh) == "" })
	later, again := m.refresh(ada.Refresh)
	err = errors.Join(err, want("it speaks", later, 200, "notes", m.notes(again.Access), 200))

	if err := m.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	got, _ := m.refresh(alan.Refresh)
	err = errors.Join(err, want("Redis is silent", got, 503, "old", m.notes(ada.Access), 503, "logout", m.logout(ada), 503, "new", m.notes(moved.Access), 200))
	return errors.Join(err, m.redis.Signal(syscall.SIGCONT))
}

func (m *moving) switchedOff() error {
	m.stage("no")
	ada, alan := m.login("ada"), m.login("alan")
	m.stage("yes")
	_, moved := m.refresh(ada.Refresh)
	fresh := m.login("grace")
	m.stage("no")
	back := m.login("back")
	got, old := m.refresh(alan.Refresh)
	next, newer := m.refresh(moved.Refresh)
	return want("alan", got, 200, "old", m.notes(old.Access), 200, "no new refresh token", old.Refresh, "",
		"ada", next, 200, "new", m.notes(newer.Access), 200, "grace", m.notes(fresh.Access), 200,
		"who logs in gets old ones", strings.Count(back.Refresh, "."), 2, "it has not moved", m.live("alan"), 0)
}
