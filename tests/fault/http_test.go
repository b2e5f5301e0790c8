package fault

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

const adminSecret, clientSecret = "the-administrators-secret-of-this-test", "the-secret-of-the-clients-of-this-test"

// serverConfig declares the clients of clientsHere, with times as the child has them.
const serverConfig = `
issuer: ` + issuer + `
lifetimes: {access_token: 24h, idle: 480h, session: 720h}
log: {level: error}
clients:
  - {id: jwt, access_token_format: jwt, grace: 5m, secret_env: RESCIND_FAULT_SECRET}
  - {id: opaque, access_token_format: opaque, grace: 5m, secret_env: RESCIND_FAULT_SECRET}
`

// served is the real server, asked over HTTP as its documentation says, with no
// code of the project in between.
type served struct {
	*process
	url    string // valid once ready
	http   *http.Client
	ending chan struct{} // closed before the process is asked to end
}

// buildServer builds the program as it ships.
func buildServer(t *testing.T) (exe string) {
	t.Helper()
	exe = filepath.Join(t.TempDir(), "rescind")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", exe, "github.com/rescind/rescind/cmd/rescind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

func startServer(t *testing.T, exe, dir string) *served {
	t.Helper()
	config := filepath.Join(dir, "rescind.yaml")
	if err := os.WriteFile(config, []byte(serverConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &served{ending: make(chan struct{}), http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: workers},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	s.process = newProcess(exec.Command(exe, "serve", "--config", config, "--listen", "127.0.0.1:0",
		"--store", "pebble:"+filepath.Join(dir, "data"), "--master-key-file", filepath.Join(dir, "master.key")))
	s.cmd.Env = append(os.Environ(), "RESCIND_ADMIN_SECRET="+adminSecret, "RESCIND_FAULT_SECRET="+clientSecret)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.outlived(t)
	go func() {
		defer close(s.died)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "rescind is ready at "); ok {
				s.url = at
				close(s.ready)
			}
		}
	}()
	return s
}

// errCut is an answer that ends in its middle, or no HTTP at all.
var errCut = errors.New("the connection was not closed cleanly")

// send does one request and reads its answer. Who signs in is in user; a token may
// stand in its place.
func (s *served) send(ctx context.Context, method, path, user string, body io.Reader, kind string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		return err
	}
	switch {
	case user == "admin":
		req.SetBasicAuth(user, adminSecret)
	case strings.Contains(user, "."), strings.HasPrefix(user, "rsa_"):
		req.Header.Set("Authorization", "Bearer "+user)
	case user != "":
		req.SetBasicAuth(user, clientSecret)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return s.lost(ctx, err, false)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return s.lost(ctx, err, true)
	}
	return answered(resp, text, into)
}

// lost says what the end of a connection means. While the process lives and was
// not asked to end, there is no reason for one.
func (s *served) lost(ctx context.Context, err error, begun bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case <-s.ending:
		if clean := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
			errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "server closed idle connection"); begun || !clean {
			return fmt.Errorf("%w: %w", errCut, err)
		}
		return errDied
	case <-s.died:
		return errDied
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%w, and the process lives: %w", errCut, err)
	}
}

// answered maps an answer back to the error that it stands for.
func answered(resp *http.Response, text []byte, into any) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK, code == http.StatusCreated:
		if into == nil {
			return nil
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%w: answer %q: %w", errCut, text, err)
		}
		return nil
	case code == http.StatusBadRequest && bytes.Contains(text, []byte(`"invalid_grant"`)):
		return rescind.ErrInactive
	case code == http.StatusUnauthorized && strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token"):
		return rescind.ErrInactive
	case code == http.StatusNotFound:
		return rescind.ErrNotFound
	case code == http.StatusServiceUnavailable:
		return rescind.ErrUnavailable
	}
	return fmt.Errorf("%s: %s", resp.Status, text)
}

func (s *served) json(ctx context.Context, path, user string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return s.send(ctx, http.MethodPost, path, user, bytes.NewReader(text), "application/json", into)
}

func (s *served) form(ctx context.Context, path, user string, form url.Values, into any) error {
	return s.send(ctx, http.MethodPost, path, user, strings.NewReader(form.Encode()), "application/x-www-form-urlencoded", into)
}

func (s *served) Issue(ctx context.Context, in rescind.Login) (g rescind.Grant, err error) {
	body := map[string]any{"subject": in.Subject, "client_id": in.Client, "device": in.Device}
	if !in.Replaces.IsZero() {
		body["replaces"] = in.Replaces
	}
	return g, s.json(ctx, "/v1/sessions", "admin", body, &g)
}

// Check asks in either of the two ways that there are.
func (s *served) Check(ctx context.Context, token string, _ rescind.Want) (a rescind.Access, err error) {
	if rand.IntN(2) == 0 {
		var in struct {
			Active  bool
			Session rescind.SessionID `json:"sid"`
			Subject string            `json:"sub"`
			Client  string            `json:"client_id"`
		}
		err = s.form(ctx, "/oauth/introspect", "admin", url.Values{"token": {token}}, &in)
		if err == nil && !in.Active {
			err = rescind.ErrInactive
		}
		return rescind.Access{Session: in.Session, Subject: in.Subject, Client: in.Client}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/forward-auth/any/path", nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.http.Do(req)
	if err != nil {
		return a, s.lost(ctx, err, false)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, s.lost(ctx, err, true)
	}
	if err := answered(resp, text, nil); err != nil {
		return a, err
	}
	a.Subject, a.Client = resp.Header.Get("X-Rescind-Subject"), resp.Header.Get("X-Rescind-Client")
	a.Session, err = rescind.ParseSessionID(resp.Header.Get("X-Rescind-Session"))
	return a, err
}

func (s *served) Refresh(ctx context.Context, f rescind.Refresh) (g rescind.Grant, err error) {
	return g, s.form(ctx, "/oauth/token", f.Client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {f.Token}}, &g)
}

// Revoke uses the standard's endpoint where that can do it, now and then.
func (s *served) Revoke(ctx context.Context, v rescind.Revocation) (r rescind.Receipt, err error) {
	body := map[string]any{"reason": v.Reason}
	switch {
	case v.Token != "" && rand.IntN(2) == 0:
		return r, s.form(ctx, "/oauth/revoke", "admin", url.Values{"token": {v.Token}}, nil)
	case v.Token != "":
		body["token"] = v.Token
	case v.Subject != "":
		body["subject"] = v.Subject
		if !v.ExceptSession.IsZero() {
			body["except_session"] = v.ExceptSession
		}
	case v.Client != "":
		body["client"] = v.Client
	case v.All:
		body["all"] = true
	case rand.IntN(2) == 0:
		return r, s.send(ctx, http.MethodDelete, "/v1/sessions/"+v.Session.String(), "admin", nil, "", &r)
	default:
		body["session"] = v.Session
	}
	return r, s.json(ctx, "/v1/revocations", "admin", body, &r)
}

func (s *served) Logout(ctx context.Context, token string, all bool) (r rescind.Receipt, err error) {
	if strings.HasPrefix(token, "rsr_") {
		return r, s.json(ctx, "/v1/logout", "", map[string]any{"refresh_token": token, "all": all}, &r)
	}
	return r, s.json(ctx, "/v1/logout", token, map[string]any{"all": all}, &r)
}

func (s *served) Rotate(ctx context.Context, use rescind.KeyUse) error {
	return s.json(ctx, "/v1/keys/rotate", "admin", map[string]any{"use": use}, nil)
}

// Upkeep is the server's own business. It is asked whether it is well instead.
func (s *served) Upkeep(ctx context.Context) error {
	return s.send(ctx, http.MethodGet, "/readyz", "", nil, "", nil)
}
