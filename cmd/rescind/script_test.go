package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rescind/rescind/tests/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rescind": main})
}

// TestCommandLine runs the scripts of testdata/script with real processes. Beside
// testscript's own commands they have:
//
//	exits CODE PROGRAM ARG…   runs a program and compares its exit code
//	up [ARG…]                 starts rescind serve on a free port and waits for it; sets RESCIND_SERVER,
//	                          RESCIND_CLIENT_SECRET (admin's) and APP_SECRET
//	down                      ends it with SIGTERM; it must exit with 0
//	kill9                     ends it with SIGKILL
//	login NAME SUBJECT        sets NAME_SESSION, NAME_ACCESS and NAME_REFRESH
//	check TOKEN STATUS        asks /forward-auth
//	refresh TOKEN STATUS      asks /oauth/token
//	mode FILE MODE            compares permission bits
//	tree DIR FILE             writes the names, sizes and contents below a folder to a file
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			s := &scriptServer{addr: server.FreePort(t)}
			env.Values[scriptKey{}] = s
			env.Defer(s.kill)
			env.Setenv("NO_PROXY", "*")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "up": scriptUp, "down": scriptDown, "kill9": scriptKill, "login": scriptLogin,
			"check": scriptCheck, "refresh": scriptRefresh, "mode": scriptMode, "tree": scriptTree,
		},
	})
}

type scriptKey struct{}

// scriptServer is the server of one script.
type scriptServer struct {
	addr string // where it listens, in each of its lives
	cmd  *exec.Cmd
	log  *lastWords
}

func (s *scriptServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func serverOf(ts *testscript.TestScript) *scriptServer { return ts.Value(scriptKey{}).(*scriptServer) }

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func scriptUp(ts *testscript.TestScript, _ bool, args []string) {
	s := serverOf(ts)
	if s.cmd != nil {
		ts.Fatalf("a server is up already")
	}
	binary, err := exec.LookPath("rescind")
	ts.Check(err)
	cmd := exec.Command(binary, append([]string{"serve", "--json", "--listen", s.addr}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"RESCIND_MASTER_KEY", "RESCIND_ADMIN_SECRET", "RESCIND_CONFIG", "SHOP_SECRET"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	s.log = &lastWords{}
	cmd.Stderr = s.log
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s.cmd = cmd
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		ts.Fatalf("the server did not start: %s", s.log)
	}
	var ready struct {
		URL string `json:"url"`
		places
	}
	ts.Check(json.Unmarshal([]byte(line), &ready))
	ts.Setenv("RESCIND_SERVER", ready.URL)
	for name, path := range map[string]string{"RESCIND_CLIENT_SECRET": ready.AdminSecret, "APP_SECRET": ready.AppSecret} {
		if path == "" {
			continue
		}
		secret, err := readSecret(ts.MkAbs(path)) // what it names is there
		ts.Check(err)
		ts.Setenv(name, secret.Reveal())
	}
}

func scriptDown(ts *testscript.TestScript, _ bool, _ []string) {
	s := serverOf(ts)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	s.cmd = nil
	ts.Logf("[server]\n%s", s.log)
	if err != nil {
		ts.Fatalf("after SIGTERM: %v", err)
	}
}

func scriptKill(ts *testscript.TestScript, _ bool, _ []string) { serverOf(ts).kill() }

// scriptRequest sends a request to the server and returns the answer.
func scriptRequest(ts *testscript.TestScript, method, path, kind, body string, auth func(*http.Request)) (int, []byte) {
	r, err := http.NewRequest(method, ts.Getenv("RESCIND_SERVER")+path, strings.NewReader(body))
	ts.Check(err)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	auth(r)
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return resp.StatusCode, b
}

func asApp(ts *testscript.TestScript) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth("app", ts.Getenv("APP_SECRET")) }
}

func scriptLogin(ts *testscript.TestScript, _ bool, args []string) {
	body := fmt.Sprintf(`{"subject":%q,"device":{"name":"bad\u001b[31m device"}}`, args[1])
	status, b := scriptRequest(ts, "POST", "/v1/sessions", "application/json", body, asApp(ts))
	if status != http.StatusCreated {
		ts.Fatalf("login: %d %s", status, b)
	}
	var g struct {
		Session string `json:"session"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	ts.Check(json.Unmarshal(b, &g))
	ts.Setenv(args[0]+"_SESSION", g.Session)
	ts.Setenv(args[0]+"_ACCESS", g.Access)
	ts.Setenv(args[0]+"_REFRESH", g.Refresh)
}

func scriptCheck(ts *testscript.TestScript, _ bool, args []string) {
	status, b := scriptRequest(ts, "GET", "/forward-auth", "", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+args[0]) })
	if want := args[1]; strconv.Itoa(status) != want {
		ts.Fatalf("check: %d %s, want %s", status, b, want)
	}
}

func scriptRefresh(ts *testscript.TestScript, _ bool, args []string) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {args[0]}}.Encode()
	status, b := scriptRequest(ts, "POST", "/oauth/token", "application/x-www-form-urlencoded", form, asApp(ts))
	if want := args[1]; strconv.Itoa(status) != want {
		ts.Fatalf("refresh: %d %s, want %s", status, b, want)
	}
}

func scriptMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

func scriptTree(ts *testscript.TestScript, _ bool, args []string) {
	var out strings.Builder
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(&out, "%s %d %q\n", path, len(b), b)
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o600))
}
