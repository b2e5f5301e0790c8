package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/guard"
)

// child is a server in a process of its own.
type child struct {
	cmd     *exec.Cmd
	url     string
	address string
	secret  rescind.Secret // of the client app
	issuer  string
	said    *lastWords
	done    chan struct{}
}

// lastWords keeps the beginning of what a process says on standard error.
type lastWords struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 8<<10 - l.text.Len(); room > 0 {
		l.text.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.text.String())
}

// startChild runs this program as a server, with settings as variables of its
// environment, and returns when it is ready. A taken
// address is tried again for a moment: the port of a server that was just killed
// is free for anybody.
func startChild(ctx context.Context, binary string, env, settings []string, listen string, more ...string) (*child, error) {
	var err error
	for range 5 {
		var c *child
		if c, err = tryChild(ctx, binary, env, settings, listen, more...); err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	return nil, err
}

func tryChild(ctx context.Context, binary string, env, settings []string, listen string, more ...string) (*child, error) {
	c := &child{said: &lastWords{}, done: make(chan struct{})}
	args := []string{"serve", "--json", "--listen", listen, "--log-level", "warn"}
	c.cmd = exec.Command(binary, append(args, more...)...)
	c.cmd.Stderr = c.said
	for _, kv := range env {
		// The user's own settings are for the user's own server.
		if !strings.HasPrefix(kv, "RESCIND_") && !strings.HasPrefix(kv, "OTEL_") {
			c.cmd.Env = append(c.cmd.Env, kv)
		}
	}
	c.cmd.Env = append(c.cmd.Env, settings...)
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	lines := make(chan string, 1)
	go func() {
		defer close(c.done)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n') // an empty one says that it ended first
		lines <- line
		_, _ = io.Copy(io.Discard, r) // until it ends
		_ = c.cmd.Wait()              // it was killed, or its last words say why
	}()
	var ready struct {
		URL    string `json:"url"`
		Issuer string `json:"issuer"`
		places
	}
	select {
	case line := <-lines:
		err = json.Unmarshal([]byte(line), &ready)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil && ready.AppSecret != "" {
		c.secret, err = readSecret(ready.AppSecret)
	}
	if err != nil {
		c.kill()
		if said := c.said.String(); said != "" {
			return nil, fmt.Errorf("the server did not start: %s", said)
		}
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	c.url, c.issuer = ready.URL, ready.Issuer
	c.address = strings.TrimPrefix(c.url, "http://")
	return c, nil
}

// kill ends the process at once, by SIGKILL where there is such a thing, and
// returns when it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended by itself
	<-c.done
}

// application is what logs Alice in and out, as a client of the server. It talks
// plain HTTP, so that each status shown is the one that came over the wire.
type application struct {
	server string
	issuer string
	secret rescind.Secret
	http   *http.Client
}

func newApplication(c *child) *application {
	return &application{server: c.url, issuer: c.issuer, secret: c.secret, http: &http.Client{Timeout: 10 * time.Second}}
}

// checker is what the guard of API B asks.
func (a *application) checker() (*client.Client, error) {
	return client.New(client.Options{Server: a.server, ID: appID, Secret: a.secret})
}

// answer is what came of a request.
type answer struct {
	request string
	status  int
	oauth   string
	body    []byte
}

func (a *application) do(r *http.Request) (answer, error) {
	resp, err := a.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got := answer{request: r.Method + " " + r.URL.Path, status: resp.StatusCode}
	if got.body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return got, err
	}
	var problem struct {
		Error string `json:"error"`
	}
	if resp.StatusCode >= 400 && json.Unmarshal(got.body, &problem) == nil {
		got.oauth = problem.Error
	}
	return got, nil
}

func (a *application) get(ctx context.Context, url, token string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return a.do(r)
}

func (a *application) post(ctx context.Context, path, kind, body string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.server+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", kind)
	return r, nil
}

// tokens are those of an answer of the server.
type tokens struct {
	Access  rescind.Secret `json:"access_token"`
	Refresh rescind.Secret `json:"refresh_token"`
}

func (a *application) login(ctx context.Context, d *device) (answer, error) {
	body, err := json.Marshal(map[string]any{"subject": "alice", "device": map[string]string{"name": d.name}})
	if err != nil {
		return answer{}, err
	}
	r, err := a.post(ctx, "/v1/sessions", "application/json", string(body))
	if err != nil {
		return answer{}, err
	}
	r.SetBasicAuth(appID, a.secret.Reveal())
	got, err := a.do(r)
	if err != nil || got.status != http.StatusCreated {
		return got, err
	}
	var t tokens
	if err := json.Unmarshal(got.body, &t); err != nil {
		return got, err
	}
	d.access, d.refresh = []string{t.Access.Reveal()}, []string{t.Refresh.Reveal()}
	return got, nil
}

func (a *application) refresh(ctx context.Context, token string) (got answer, fresh tokens, err error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	r, err := a.post(ctx, "/oauth/token", "application/x-www-form-urlencoded", form.Encode())
	if err != nil {
		return got, fresh, err
	}
	r.SetBasicAuth(appID, a.secret.Reveal())
	if got, err = a.do(r); err == nil && got.status == http.StatusOK {
		err = json.Unmarshal(got.body, &fresh)
	}
	return got, fresh, err
}

func (a *application) logout(ctx context.Context, token string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.server+"/v1/logout", nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return a.do(r)
}

// protected is a small API.
type protected struct {
	name, url string
	server    *http.Server
	done      chan error
}

func serveProtected(ctx context.Context, name string, h http.Handler) (*protected, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &protected{
		name: name, url: "http://" + l.Addr().String(), done: make(chan error, 1),
		server: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second},
	}
	go func() { p.done <- p.server.Serve(l) }()
	return p, nil
}

func (p *protected) close() {
	_ = p.server.Close() // its listener is all it holds
	<-p.done
}

var orders = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"orders":["a book about logout"]}`) // a caller that hung up
})

// serveGuarded is the API that asks Rescind about every token.
func serveGuarded(ctx context.Context, c guard.Checker) (*protected, error) {
	return serveProtected(ctx, "API-B", guard.New(c, guard.Options{}).Handler(orders))
}

// serveFlawed is an API that does everything with a JWT that a careful reader of
// tutorials does, and never asks whether it still stands.
func (a *application) serveFlawed(ctx context.Context) (*protected, error) {
	got, err := a.get(ctx, a.server+"/.well-known/jwks.json", "")
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(got.body, &set); err != nil {
		return nil, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(a.issuer), jwt.WithAudience(a.issuer), jwt.WithExpirationRequired())
	key := func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		for _, k := range set.Key(kid) {
			return k.Key, nil
		}
		return nil, errors.New("no such key")
	}
	return serveProtected(ctx, "API-A", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := parser.Parse(token, key); err != nil {
			http.Error(w, "invalid token", http.StatusUnauthorized)
			return
		}
		orders(w, r)
	}))
}
