package examples

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// An App is a running example: one or more processes, with some workers each.
type App struct {
	URLs    []string // of the processes
	Rescind *Rescind // of the cured form
	Redis   *Redis   // of a broken form that needs it

	workers int  // of all processes
	outage  bool // Rescind is known not to answer
}

// Start starts a form of the example. A cured form asks r, which may be nil for a
// broken one.
func (f Framework) Start(t testing.TB, form string, r *Rescind) *App {
	t.Helper()
	a := &App{Rescind: r, workers: f.Processes * f.Workers}
	env := []string{
		"HOST=127.0.0.1", fmt.Sprintf("WORKERS=%d", f.Workers), "NODE_ENV=production",
		"JWT_SECRET=the-secret-of-access-tokens-in-tests", "JWT_REFRESH_SECRET=the-secret-of-refresh-tokens-in-tests",
	}
	switch {
	case form == Cured:
		env = append(env, "RESCIND_URL="+r.URL, "RESCIND_CLIENT_ID=app", "RESCIND_CLIENT_SECRET="+r.Secret)
	case f.Redis:
		a.Redis = StartRedis(t)
		env = append(env, "REDIS_URL="+a.Redis.URL)
	}
	tree := Tree(t)
	for range f.Processes {
		port := freePort(t)
		cmd := f.Command(t, tree, form)
		cmd.Env = append(append(os.Environ(), env...), append(cmd.Env, "PORT="+port)...)
		p := run(t, cmd)
		a.URLs = append(a.URLs, "http://127.0.0.1:"+port)
		for deadline := time.Now().Add(patience); !answers("127.0.0.1:" + port); time.Sleep(20 * time.Millisecond) {
			select {
			case <-p.exited:
				t.Fatalf("%s %s does not start:\n%s", f.Name, form, p.output)
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s %s is not ready in time:\n%s", f.Name, form, p.output)
			}
		}
	}
	a.Everywhere(t, Call{"GET", "/api/me", "", nil}).Are(t, http.StatusUnauthorized)
	return a
}

// A Call is a request to an example.
type Call struct {
	Method, Path string
	Token        string // sent as a bearer token, if there is one
	Body         any    // sent as JSON, if there is one
}

func (c Call) String() string { return c.Method + " " + c.Path }

// An Answer is what came back.
type Answer struct {
	Call   Call
	Status int
	Header http.Header
	Text   string
	Err    error // nothing came back
}

// Answers are those of several workers, or to several calls.
type Answers []Answer

// Are expects one status of all of them.
func (as Answers) Are(t testing.TB, status int) {
	t.Helper()
	if len(as) == 0 {
		t.Error("nobody answered")
	}
	for _, a := range as {
		a.Is(t, status)
	}
}

// Is expects a status.
func (a Answer) Is(t testing.TB, status int) Answer {
	t.Helper()
	if a.Err != nil || a.Status != status {
		t.Errorf("%s: %d %s (%v), want %d", a.Call, a.Status, a.Text, a.Err, status)
	}
	return a
}

// JSON reads the answer into v.
func (a Answer) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Text), v); err != nil {
		t.Fatalf("%s: %v in %q", a.Call, err, a.Text)
	}
}

// Call makes a call to some worker.
func (a *App) Call(c Call) Answer { return a.ask(a.URLs[0], c) }

// ask makes a call. On a busy machine Rescind may answer too late for the
// application, which then says that it cannot know, and to come again.
func (a *App) ask(url string, c Call) Answer {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		answer := call(url, c)
		if answer.Status != http.StatusServiceUnavailable || a.outage || time.Now().After(deadline) {
			return answer
		}
	}
}

// Everywhere makes a call until every worker has answered it, each time over a new
// connection.
func (a *App) Everywhere(t testing.TB, c Call) Answers {
	t.Helper()
	var all Answers
	workers := map[string]bool{}
	for deadline := time.Now().Add(patience); len(workers) < a.workers; {
		var calls []func() Answer
		for i := range 2 * a.workers {
			calls = append(calls, func() Answer { return a.ask(a.URLs[i%len(a.URLs)], c) })
		}
		for _, answer := range atOnce(calls) {
			all = append(all, answer)
			if worker := answer.Header.Get("X-Worker"); answer.Err == nil && worker == "" {
				t.Fatalf("%s does not say which worker has answered: %d %s", c, answer.Status, answer.Text)
			} else if worker != "" {
				workers[worker] = true
			}
		}
		if len(workers) > a.workers || time.Now().After(deadline) {
			t.Fatalf("%s: %d workers answered, %d should: %v %v", c, len(workers), a.workers, workers, all[len(all)-1])
		}
	}
	return all
}

// atOnce makes calls at the same time.
func atOnce(calls []func() Answer) Answers {
	answers := make(Answers, len(calls))
	var wg sync.WaitGroup
	for i, one := range calls {
		wg.Go(func() { answers[i] = one() })
	}
	wg.Wait()
	return answers
}

// client opens a new connection each time, so that it meets other workers.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: patience}).DialContext},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// atMost is how long an application takes to answer, on a busy machine too: it does
// not wait for ever for Rescind, and by default two seconds.
const atMost = 30 * time.Second

func call(url string, c Call) Answer {
	answer := Answer{Call: c, Header: http.Header{}}
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	var body io.Reader
	if c.Body != nil {
		text, err := json.Marshal(c.Body)
		if err != nil {
			answer.Err = err
			return answer
		}
		body = strings.NewReader(string(text))
	}
	r, err := http.NewRequestWithContext(ctx, c.Method, url+c.Path, body)
	if err != nil {
		answer.Err = err
		return answer
	}
	if c.Body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := client.Do(r)
	if err != nil {
		answer.Err = err
		return answer
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	answer.Status, answer.Header, answer.Text = response.StatusCode, response.Header, string(text)
	answer.Err = errors.Join(err, response.Body.Close())
	return answer
}

// Grant is what a login or a refresh hands out.
type Grant struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
}

// Login logs ada or alan in.
func (a *App) Login(t testing.TB, user string) Grant {
	t.Helper()
	return a.grant(t, Call{Method: "POST", Path: "/login", Body: map[string]any{"user": user, "password": passwords[user]}})
}

// Refresh continues a session.
func (a *App) Refresh(t testing.TB, refreshToken string) Grant {
	t.Helper()
	return a.grant(t, refresh(refreshToken))
}

func (a *App) grant(t testing.TB, c Call) (g Grant) {
	t.Helper()
	answer := a.Call(c).Is(t, http.StatusOK)
	answer.JSON(t, &g)
	if g.AccessToken == "" || g.RefreshToken == "" || g.ExpiresIn < 1 || !strings.EqualFold(g.TokenType, "Bearer") {
		t.Fatalf("%s: a member is missing in %s", c, answer.Text)
	}
	return g
}

var passwords = map[string]string{"ada": "lovelace", "alan": "turing"}

func refresh(token string) Call {
	return Call{Method: "POST", Path: "/refresh", Body: map[string]any{"refresh_token": token}}
}

func get(path, token string) Call { return Call{Method: "GET", Path: path, Token: token} }

func post(path, token string) Call { return Call{Method: "POST", Path: path, Token: token} }

// guarded are calls of all routes that need a token that stands.
func guarded(token string) []Call {
	return []Call{
		get("/api/me", token),
		get("/api/notes", token),
		{"POST", "/api/notes", token, map[string]any{"text": "remember"}},
		get("/api/devices", token),
		{"DELETE", "/api/devices/" + strings.Repeat("x", 32), token, nil},
	}
}
