package spec

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
)

// language is a way to run the guarded application.
type language struct {
	name  string
	lacks []string // what scripts may need and it has not
	start func(t *testing.T, all []started) (addrs []string)
}

// started is an application with everything that it is told.
type started struct {
	app
	URL    string `json:"url"` // of the wire
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// TestGo runs the vectors against package client, and the scripts against package
// guard on top of it.
func TestGo(t *testing.T) {
	t.Run("client", testClient)
	applications(t, goLanguage())
}

func goLanguage() language {
	return language{"Guard", []string{"native"}, func(t *testing.T, all []started) (addrs []string) {
		for i := range all {
			addrs = append(addrs, goApp(t, &all[i]))
		}
		return addrs
	}}
}

// TestNode runs the vectors against sdk/node, and the scripts against its
// middleware and guards.
func TestNode(t *testing.T) {
	folder, at := copiedNode(t)
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		out := npm.Run(t, at, nil, "node", "--test", "test/spec.test.mjs")
		if !strings.Contains(out, "# fail 0\n") || strings.Contains(out, "# pass 0\n") {
			t.Errorf("not every vector has run:\n%s", out)
		}
	})
	for _, l := range inNode(folder, at) {
		applications(t, l)
	}
}

func nodeLanguages(t *testing.T) []language {
	t.Helper()
	return inNode(copiedNode(t))
}

func copiedNode(t *testing.T) (folder, at string) {
	t.Helper()
	need.Commands(t, "NODE", "the guarded applications in JavaScript", "node", "npm")
	folder = copied(t, "sdk/node/test/spec.test.mjs", "sdk/node/test/server.mjs")
	at = filepath.Join(folder, "sdk", "node")
	npm.SDK(t, root, at)
	modules, err := filepath.Abs(filepath.Join(root, "sdk", "node", "node_modules"))
	must(t, err)
	must(t, os.Symlink(modules, filepath.Join(at, "node_modules")))
	return folder, at
}

func inNode(folder, at string) []language {
	node := func(args ...string) func(*testing.T, []started) []string {
		args = append([]string{"--max-http-header-size=65536"}, args...) // a token may have 16 KiB
		return process(filepath.Join(folder, "tests", "spec"), []string{"SPEC_NODE=" + at}, "node", args...)
	}
	nest := []string{"after_logout", "audience", "own_headers"} // decorators and controllers do these
	return []language{
		{"Express", nil, node("express.mjs", "express")},
		{"Express 4", nil, node("express.mjs", "express4")},
		{"NestJS", nest, node("nestjs.mjs", "express")},
		{"Fastify", nest, node("nestjs.mjs", "fastify")},
	}
}

// TestPython runs the vectors against sdk/python, and the scripts against its
// Flask extension.
func TestPython(t *testing.T) {
	folder, env := copiedPython(t)
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		out := npm.Run(t, filepath.Join(folder, "sdk", "python"), env, python(), "-m", "unittest", "tests.test_spec")
		if !strings.HasSuffix(strings.TrimSpace(out), "\nOK") || strings.Contains(out, "Ran 0 tests") {
			t.Errorf("not every vector has run:\n%s", out)
		}
	})
	applications(t, inPython(folder, env))
}

func pythonLanguage(t *testing.T) language {
	t.Helper()
	return inPython(copiedPython(t))
}

// python is the interpreter: that of the system has the packages that apt-get
// installs.
func python() string {
	if p := os.Getenv("RESCIND_PYTHON"); p != "" {
		return p
	}
	return "/usr/bin/python3"
}

func copiedPython(t *testing.T) (folder string, env []string) {
	t.Helper()
	need.That(t, "PYTHON", "the guarded application in Flask", func() string {
		if exec.Command(python(), "-c", "import flask").Run() != nil {
			return "the module flask of " + python()
		}
		return ""
	})
	folder = copied(t, "sdk/python/src", "sdk/python/tests")
	return folder, []string{"PYTHONPATH=" + filepath.Join(folder, "sdk", "python", "src"), "PYTHONDONTWRITEBYTECODE=1"}
}

func inPython(folder string, env []string) language {
	return language{"Flask", nil, process(filepath.Join(folder, "tests", "spec"), env, python(), "flask_app.py")}
}

// TestOther runs the scripts against the application that the command in
// RESCIND_SPEC_APP starts, if there is one. RESCIND_SPEC_LACKS says what it does
// not have.
func TestOther(t *testing.T) {
	if command := os.Getenv("RESCIND_SPEC_APP"); command != "" {
		applications(t, language{"application", strings.Fields(os.Getenv("RESCIND_SPEC_LACKS")), process("", nil, "sh", "-c", "exec "+command)})
	}
}

const root = "../.."

// copied is a copy of what runs outside this process, perhaps with a planted bug.
func copied(t *testing.T, names ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range append(names, "spec", "tests/spec") {
		npm.Copy(t, root, folder, name)
	}
	return folder
}

// process starts a program that obeys the contract of spec/README.md.
func process(folder string, env []string, name string, args ...string) func(*testing.T, []started) []string {
	return func(t *testing.T, all []started) []string {
		t.Helper()
		options, err := json.Marshal(all)
		must(t, err)
		cmd := exec.Command(name, args...)
		cmd.Dir = folder
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "RESCIND_") }), env...)
		cmd.Env = append(cmd.Env, "SPEC_APPS="+string(options), "NODE_ENV=production")
		var said strings.Builder
		cmd.Stderr = &said
		in, err := cmd.StdinPipe() // it ends when this is closed, also if this process is killed
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		t.Cleanup(func() {
			_ = in.Close() // it may have ended by itself
			over := make(chan error, 1)
			go func() { over <- cmd.Wait() }()
			select {
			case err := <-over:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s does not end with its standard input", name)
				_ = cmd.Process.Kill()
				<-over
			}
			if t.Failed() && said.Len() > 0 {
				t.Logf("%s said:\n%.4000s", name, said.String())
			}
		})
		line, err := bufio.NewReader(out).ReadString('\n')
		words := strings.Fields(line)
		if err != nil || len(words) != len(all)+1 || words[0] != "ready" {
			t.Fatalf("%s does not start: %q %v", name, line, err)
		}
		for i := range words {
			words[i] = strings.TrimPrefix(words[i], "http://")
		}
		return words[1:]
	}
}

// goApp is the guarded application in Go.
func goApp(t *testing.T, a *started) string {
	t.Helper()
	timeout := time.Duration(a.Timeout) * time.Millisecond
	c, err := client.New(client.Options{Server: a.URL, ID: a.ID, Secret: rescind.Secret(a.Secret), Audience: a.Audience, Timeout: timeout, WriteTimeout: timeout})
	must(t, err)
	t.Cleanup(c.Close)
	tokens := guard.NewTokens(c, guard.TokenOptions{})
	mux := http.NewServeMux()
	login, require := tokens.Login, tokens.Require
	if len(a.Cookies) > 0 && string(a.Cookies) != "null" {
		var o guard.CookieOptions
		if string(a.Cookies) != "true" {
			var given map[string]any
			must(t, json.Unmarshal(a.Cookies, &given))
			plain := map[string]any{} // names without underscores are those of Go's fields
			for name, value := range given {
				plain[strings.ReplaceAll(name, "_", "")] = value
			}
			text, err := json.Marshal(plain)
			must(t, err)
			must(t, strict(text, &o))
		}
		cookies, err := guard.NewCookies(c, tokens.Guard, o)
		must(t, err)
		require = cookies.Require
		login = func(w http.ResponseWriter, r *http.Request, l rescind.Login) {
			switch _, err := cookies.Login(w, r, l); {
			case errors.Is(err, rescind.ErrUnavailable):
				w.Header().Set("Retry-After", "1")
				http.Error(w, "try again", http.StatusServiceUnavailable)
			case errors.Is(err, rescind.ErrForbidden):
				http.Error(w, "forbidden", http.StatusForbidden)
			case err != nil:
				http.Error(w, "server error", http.StatusInternalServerError)
			}
		}
		mux.Handle("/auth/refresh", cookies.RefreshHandler())
		mux.Handle("/auth/logout", cookies.LogoutHandler())
		mux.Handle("/auth/logout-all", cookies.LogoutAllHandler())
	} else {
		mux.Handle("/auth/refresh", tokens.RefreshHandler())
		mux.Handle("/auth/logout", tokens.LogoutHandler())
		mux.Handle("/auth/logout-all", tokens.LogoutAllHandler())
	}
	mux.HandleFunc("POST /auth/login", func(w http.ResponseWriter, r *http.Request) {
		var said struct {
			Subject, Scope string
			ExpiresIn      int64 `json:"expires_in"`
		}
		if err := json.NewDecoder(r.Body).Decode(&said); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		login(w, r, rescind.Login{Subject: said.Subject, Scope: said.Scope, AccessLifetime: time.Duration(said.ExpiresIn) * time.Second})
	})
	me := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		access, _ := guard.From(r.Context())
		write(w, map[string]any{
			"subject": access.Subject, "session": access.Session, "client": access.Client, "audience": access.Audience, "scope": access.Scope,
		})
	})
	mux.Handle("/api/me", require(rescind.Want{})(me))
	mux.Handle("/api/scoped", require(rescind.Want{Scope: "notes:read notes:write"})(me))
	mux.Handle("/elsewhere/me", require(rescind.Want{Audience: []string{"elsewhere"}})(me))
	mux.Handle("/api/own", require(rescind.Want{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", "Own")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "own")
	})))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller may have gone
}
