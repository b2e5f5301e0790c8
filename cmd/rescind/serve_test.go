package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// talk runs a command against a server and returns what it printed.
func talk(t *testing.T, c *child, secret string, more []string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Env = append(os.Environ(), append(more, "RESCIND_SERVER="+c.url, "RESCIND_CLIENT_SECRET="+secret)...)
	text, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func adminOf(t *testing.T, folder string) string {
	t.Helper()
	secret, err := readSecret(filepath.Join(folder, "data.keys", "admin.secret"))
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

func TestServeAndCommandsOverTLS(t *testing.T) {
	folder := t.TempDir()
	chain, key := pair(t, "rescind")
	cert, private := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for path, text := range map[string][]byte{cert: chain, private: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := launch(t, folder, "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", private)
	if !strings.HasPrefix(c.url, "https://") || c.issuer != c.url {
		t.Fatalf("URL %s, issuer %s", c.url, c.issuer)
	}
	if text, code := talk(t, c, adminOf(t, folder), []string{"SSL_CERT_FILE=" + cert}, "key", "list"); code != exitDone || !strings.Contains(text, "ES256") {
		t.Fatalf("%d: %s", code, text)
	}
	// A server that nobody vouches for gets no secret.
	if text, code := talk(t, c, adminOf(t, folder), nil, "key", "list"); code != exitUnavailable {
		t.Fatalf("%d: %s", code, text)
	}
}

func TestEventsAreFollowed(t *testing.T) {
	folder := t.TempDir()
	c, app := launch(t, folder, "127.0.0.1:0")
	cmd := exec.Command(program(t), "events", "--follow", "--since", "1h", "--json")
	cmd.Env = append(os.Environ(), "RESCIND_SERVER="+c.url, "RESCIND_CLIENT_SECRET="+adminOf(t, folder))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewReader(out)
	seen := map[string]int{}
	until := func(text string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("never came: %s", text)
			}
			if seen[line]++; seen[line] > 1 {
				t.Errorf("came twice: %s", line)
			}
			if strings.Contains(line, text) {
				return
			}
		}
	}
	until(`"client":"admin"`) // what was there comes first
	for range 3 {
		d := &device{name: "laptop"}
		if got, err := app.login(context.Background(), d); err != nil || got.status != http.StatusCreated {
			t.Fatalf("%+v, %v", got, err)
		}
		until(`"kind":"session.created"`)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(lines); len(rest) > 0 {
		t.Errorf("came twice: %s", rest)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after SIGINT: %v", err)
	}
}

func TestTracesAreSentOnlyWhereAskedForAndHoldNoToken(t *testing.T) {
	var mu sync.Mutex
	var sent bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent.WriteString(r.URL.Path + "\n")
		if _, err := sent.ReadFrom(r.Body); err != nil {
			t.Error(err)
		}
	}))
	defer collector.Close()
	use := func(more ...string) *device {
		t.Helper()
		c, app := launch(t, t.TempDir(), "127.0.0.1:0", more...)
		d := &device{name: "laptop"}
		if got, err := app.login(context.Background(), d); err != nil || got.status != http.StatusCreated {
			t.Fatalf("%+v, %v", got, err)
		}
		if got, err := app.get(context.Background(), app.server+"/forward-auth/x?token="+d.latest(), d.latest()); err != nil || got.status != 200 {
			t.Fatalf("%+v, %v", got, err)
		}
		if _, _, err := app.refresh(context.Background(), d.refresh[0]); err != nil {
			t.Fatal(err)
		}
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-c.done // what is left is sent before
		return d
	}
	use()
	mu.Lock()
	if sent.Len() > 0 {
		t.Errorf("sent without being asked: %q", sent.String())
	}
	mu.Unlock()

	settings := filepath.Join(t.TempDir(), "rescind.yaml")
	if err := os.WriteFile(settings, []byte("otel: {endpoint: "+collector.URL+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := use("--config", settings)
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(sent.String(), "/v1/traces\n") || !strings.Contains(sent.String(), "/oauth/token") {
		t.Fatalf("%d bytes, and not what was expected: %q", sent.Len(), sent.String())
	}
	for _, token := range []string{d.access[0], d.refresh[0]} {
		if strings.Contains(sent.String(), token) || strings.Contains(sent.String(), token[len(token)-20:]) {
			t.Error("a trace holds a token")
		}
	}
}

var ready = regexp.MustCompile(`(?m)^rescind is ready at (http://\S+)$`)

func TestNothingThatTheServerPrintsHoldsASecretOrAToken(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		folder := t.TempDir()
		cmd := exec.Command(program(t), "serve", "--listen", "127.0.0.1:0", "--store", "pebble:"+filepath.Join(folder, "data"), "--log-level", "debug", "--log-format", format)
		said := &safeBuffer{}
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		inTime(t, "the server is ready", func() bool { return ready.MatchString(said.String()) })
		url := ready.FindStringSubmatch(said.String())[1]
		var secrets []string
		for _, name := range []string{"master.key", "admin.secret", "app.secret"} {
			path := filepath.Join(folder, "data.keys", name)
			if !strings.Contains(said.String(), path) {
				t.Errorf("it does not say where %s is", path)
			}
			secret, err := readSecret(path)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, secret.Reveal())
		}
		ctx := context.Background()
		app := newApplication(&child{url: url, secret: rescind.Secret(secrets[2])})
		d := &device{name: "laptop"}
		if got, err := app.login(ctx, d); err != nil || got.status != http.StatusCreated {
			t.Fatalf("%+v, %v", got, err)
		}
		_, fresh, err := app.refresh(ctx, d.refresh[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{d.latest(), d.refresh[0], fresh.Access.Reveal(), "nonsense-" + d.refresh[0]} {
			if _, err := app.get(ctx, app.server+"/forward-auth?access_token="+token, token); err != nil {
				t.Fatal(err)
			}
			if _, _, err := app.refresh(ctx, token); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := app.logout(ctx, fresh.Access.Reveal()); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, d.access[0], d.refresh[0], fresh.Access.Reveal(), fresh.Refresh.Reveal())
		for i, secret := range secrets {
			// The end of a token is its signature or MAC: as good as the whole.
			if strings.Contains(said.String(), secret) || strings.Contains(said.String(), secret[len(secret)-20:]) {
				t.Errorf("it prints secret %d", i)
			}
		}
	}
}
