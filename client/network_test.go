package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/rescindtest"
)

const (
	token  = "rsa_" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	rtoken = "rsr_" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	secret = "SecretSecretSecretSecretSecretSecretSecret1"
)

// pretend is a server that is none, to a client that waits as long as its answer
// takes.
func pretend(t testing.TB, h http.HandlerFunc) *client.Client {
	t.Helper()
	return waiting(t, serve(t, h), time.Hour)
}

func serve(t testing.TB, h http.HandlerFunc) (url string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// waiting is a client with one time-out for everything.
func waiting(t testing.TB, url string, timeout time.Duration) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Server: url, ID: "app", Secret: secret, Timeout: timeout, WriteTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// impatient is a client that a silent server does not keep for long.
const impatient = 300 * time.Millisecond

// silent takes a request and never answers.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then the server hears that the caller has left
	<-r.Context().Done()
}

// calls are those that say something about a token or a session. What has no
// time-out of its own is given one.
func calls(t testing.TB, c *client.Client, timeout time.Duration) map[string]error {
	ctx := t.Context()
	_, check := c.Check(ctx, token, rescind.Want{})
	_, refresh := c.Refresh(ctx, rescind.Refresh{Token: rtoken})
	_, logout := c.Logout(ctx, token, false)
	_, logout2 := c.Logout(ctx, rtoken, true)
	_, revoke := c.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Token: token}})
	_, end := c.EndSession(ctx, rescind.SessionID{1}, "")
	_, issue := c.Issue(ctx, rescind.Login{Subject: "alice"})
	_, session := c.Session(ctx, rescind.SessionID{1})
	_, sessions := c.Sessions(ctx, rescind.SessionQuery{})
	_, events := c.Events(ctx, rescind.EventQuery{})
	_, clients := c.Clients(ctx)
	_, _, add := c.AddClient(ctx, rescind.Client{ID: "shop"}, "", false)
	_, keys := c.ListKeys(ctx)
	ready := c.Ready(ctx)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, erase := c.Erase(ctx, "alice")
	return map[string]error{
		"check": check, "refresh": refresh, "logout": logout, "logout everywhere": logout2, "revoke": revoke, "end": end, "issue": issue,
		"session": session, "sessions": sessions, "events": events, "clients": clients, "add": add, "keys": keys, "erase": erase,
		"backup": c.Backup(ctx, io.Discard), "ready": ready,
	}
}

// TestWhatIsNotUnderstoodIsUnavailable holds law 4 against everything a network
// may answer in the server's place: it is never yes, and never "this token is bad".
func TestWhatIsNotUnderstoodIsUnavailable(t *testing.T) {
	write := func(status int, kind, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	const page = "<html><title>Sign in</title>"
	const js, problem = "application/json", "application/problem+json"
	const inactive = `{"active":false}`
	const bearer = `Bearer realm="x", error="invalid_token"`
	good := func(change ...string) string {
		m := `{"active":true,"token_type":"Bearer","client_id":"app","sub":"alice","aud":["a"],"exp":2000000000,"iat":1900000000,"jti":"AAAAAAAAAAAAAAAAAAAAAA","sid":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`
		return strings.NewReplacer(change...).Replace(m)
	}
	if c := pretend(t, write(200, js, good())); true {
		if _, err := c.Check(t.Context(), token, rescind.Want{}); err != nil {
			t.Fatalf("the control: %v", err)
		}
	}
	if c := pretend(t, write(200, js+"; charset=utf-8", inactive)); true {
		_, err := c.Check(t.Context(), token, rescind.Want{})
		is(t, "the control", err, rescind.ErrInactive)
	}
	for name, h := range map[string]http.HandlerFunc{
		"a portal's page":              write(200, "text/html", page),
		"a page said to be JSON":       write(200, js, page),
		"nothing":                      write(200, js, ""),
		"no content":                   write(204, js, ""),
		"an empty object":              write(200, js, "{}"),
		"an empty list":                write(200, js, "[]"),
		"null":                         write(200, js, "null"),
		"inactive as text":             write(200, "text/plain", inactive),
		"inactive without a type":      write(200, "", inactive),
		"inactive as problem":          write(200, problem, inactive),
		"inactive, created":            write(203, js, inactive),
		"inactive, accepted":           write(202, js, inactive),
		"inactive, unauthorized":       write(401, js, inactive),
		"inactive, an error":           write(500, js, inactive),
		"inactive and more":            write(200, js, inactive+"x"),
		"inactive, cut":                write(200, js, inactive, "Content-Length", "99"),
		"inactive as a string":         write(200, js, `{"active":"false"}`),
		"inactive as a number":         write(200, js, `{"active":0}`),
		"inactive as null":             write(200, js, `{"active":null}`),
		"inactive in capitals":         write(200, js, `{"ACTIVE":false}`),
		"active alone":                 write(200, js, `{"active":true,"token_type":"Bearer"}`),
		"active without subject":       write(200, js, good(`"sub":"alice",`, "")),
		"active with an empty subject": write(200, js, good(`alice`, "")),
		"active with a bad session":    write(200, js, good(`"sid":"BAAA`, `"sid":"`)),
		"active with no session":       write(200, js, good(`"sid":"BAAA`, `"sid":"AAAA`)),
		"active with a bad id":         write(200, js, good(`"jti":"AAAA`, `"jti":"`)),
		"active without expiry":        write(200, js, good(`"exp":2000000000,`, "")),
		"active with a text expiry":    write(200, js, good(`2000000000`, `"2000000000"`)),
		"active with one audience":     write(200, js, good(`["a"]`, `{}`)),
		"a login without tokens":       write(201, js, `{"session":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","token_type":"Bearer"}`),
		"a refresh without tokens":     write(200, js, `{"access_token":"a","token_type":"Bearer"}`),
		"a receipt without an epoch":   write(200, js, `{"position":5,"changed":true}`),
		"a proxy's 401":                write(401, "text/html", page, "WWW-Authenticate", `Basic realm="proxy"`),
		"a proxy's bearer 401":         write(401, "text/html", page, "WWW-Authenticate", bearer),
		"a 401 that saw no token":      write(401, problem, `{"code":"invalid_token"}`, "WWW-Authenticate", `Bearer realm="x"`),
		"invalid_token as 400":         write(400, problem, `{"code":"invalid_token"}`, "WWW-Authenticate", bearer),
		"invalid_grant as 401":         write(401, js, `{"error":"invalid_grant"}`),
		"invalid_grant as text":        write(400, "text/plain", `{"error":"invalid_grant"}`),
		"inactive as 403":              write(403, problem, `{"code":"inactive"}`),
		"a proxy's 404":                write(404, "text/html", page),
		"a 404 of another API":         write(404, js, `{"message":"not found"}`),
		"a 403 of another API":         write(403, js, `{"message":"no"}`),
		"a word unheard of":            write(400, problem, `{"code":"moon"}`),
		"too many requests":            write(429, "text/html", page),
		"too many, other words":        write(429, js, `{"error":"slow_down"}`),
		"unavailable":                  write(503, problem, `{"code":"unavailable"}`),
		"a gateway's 502":              write(502, "text/html", page),
		"a 500 that says inactive":     write(500, problem, `{"code":"inactive"}`),
		"a 500 that says forbidden":    write(500, problem, `{"code":"forbidden"}`),
		"a 302 that says invalid":      write(302, js, `{"error":"invalid_request"}`),
		"a 503 that says invalid":      write(503, js, `{"error":"invalid_grant"}`),
		"too long":                     write(200, js, `{"active":false,"x":"`+strings.Repeat("x", 300<<10)+`"}`),
		"a redirect":                   write(307, js, "", "Location", "/elsewhere"),
		"see other":                    write(303, js, "", "Location", "/elsewhere"),
		"a broken connection":          func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "220 mail ready %s %s\r\n", r.Header.Get("Authorization"), token)
		},
		"an echo": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", problem)
			w.WriteHeader(418)
			fmt.Fprintf(w, `{"code":"moon","detail":%q}`, string(b)+r.Header.Get("Authorization"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for call, err := range calls(t, pretend(t, h), time.Hour) {
				if call == "sessions" && name == "too long" {
					continue // pages may be longer, and {"active":…} is none
				}
				saysNothing(t, call, err)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		for call, err := range calls(t, waiting(t, serve(t, silent), impatient), impatient) {
			saysNothing(t, call, err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ok(t, err)
		ok(t, l.Close())
		for call, err := range calls(t, waiting(t, "http://"+l.Addr().String(), time.Hour), time.Hour) {
			saysNothing(t, call, err)
		}
	})
	t.Run("a caller who leaves", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := waiting(t, "http://127.0.0.1:1", time.Hour).Check(ctx, token, rescind.Want{})
		is(t, "check", err, rescind.ErrUnavailable)
		is(t, "check", err, context.Canceled)
	})
}

// saysNothing wants an error of which nobody can conclude anything about a token.
func saysNothing(t *testing.T, call string, err error) {
	t.Helper()
	is(t, call, err, rescind.ErrUnavailable)
	for _, wrong := range []error{rescind.ErrInactive, rescind.ErrReuse, rescind.ErrNotFound, rescind.ErrForbidden, rescind.ErrScope} {
		if errors.Is(err, wrong) {
			t.Errorf("%s: %v is %v", call, err, wrong)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var hits atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":true}`)
	}))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		h := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL, status) }
		for _, err := range calls(t, pretend(t, h), time.Hour) {
			is(t, "redirect", err, rescind.ErrUnavailable)
		}
		// A client that is given in may follow them; ours does not.
		s := httptest.NewServer(http.HandlerFunc(h))
		c, err := client.New(client.Options{Server: s.URL, ID: "app", Secret: secret, HTTP: &http.Client{}})
		ok(t, err)
		for _, err := range calls(t, c, time.Hour) {
			is(t, "redirect", err, rescind.ErrUnavailable)
		}
		s.Close()
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests went where a redirect pointed", hits.Load())
	}
}

// TestNoErrorShowsASecret: the server echoes what it was sent, in every part of an
// answer that finds its way into an error.
func TestNoErrorShowsASecret(t *testing.T) {
	echo := func(write func(w http.ResponseWriter, sent string)) *client.Client {
		return pretend(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			write(w, string(b)+" "+r.Header.Get("Authorization")+" "+secret)
		})
	}
	for name, c := range map[string]*client.Client{
		"detail": echo(func(w http.ResponseWriter, sent string) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"code":"invalid_request","detail":%q}`, sent)
		}),
		"description": echo(func(w http.ResponseWriter, sent string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":"invalid_request","error_description":%q}`, sent)
		}),
		"no HTTP": echo(func(w http.ResponseWriter, sent string) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "%s\r\n\r\n", sent)
				conn.Close()
			}
		}),
		"a header": echo(func(w http.ResponseWriter, sent string) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", sent)
				conn.Close()
			}
		}),
	} {
		for call, err := range calls(t, c, time.Hour) {
			for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
				for _, bad := range []string{token, rtoken, secret, "Basic "} {
					if strings.Contains(text, bad) {
						t.Errorf("%s: %s: %s", name, call, text)
					}
				}
			}
			if err == nil {
				t.Errorf("%s: %s: no error", name, call)
			}
		}
	}
}

func TestClientPrintsNoSecret(t *testing.T) {
	o := client.Options{Server: "https://rescind.example.com", ID: "app", Secret: secret}
	c, err := client.New(o)
	ok(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, struct{ C *client.Client }{c}, o, &o} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, "Basic") {
				t.Errorf("%s of %T: %s", verb, v, text)
			}
		}
	}
	if c.String() != "rescind client app of https://rescind.example.com" {
		t.Error(c)
	}
}

// TestLostReplyIsAskedForAgain: the connection breaks after the server has done
// its work. What may be sent twice is, once; the rest is not.
func TestLostReplyIsAskedForAgain(t *testing.T) {
	s := rescindtest.Start(t)
	var count sync.Map // path → *atomic.Int64
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := count.LoadOrStore(r.Method+" "+r.URL.Path, new(atomic.Int64))
		if n.(*atomic.Int64).Add(1) == 1 {
			s.Handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		s.Handler.ServeHTTP(w, r)
	}))
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.Start()
	defer front.Close()
	as := s.App
	as.ID = "app"
	c, err := client.New(client.Options{Server: front.URL, ID: as.ID, Secret: rescind.Secret(as.Secret)})
	ok(t, err)
	defer c.Close()
	ctx := t.Context()

	_, err = c.Issue(ctx, rescind.Login{Subject: "alice"})
	is(t, "issue", err, rescind.ErrUnavailable)
	page, err := s.Authority.Sessions(ctx, rescind.SessionQuery{Subject: "alice"})
	if err != nil || len(page.Sessions) != 1 {
		t.Errorf("a login was sent %d times: %v", len(page.Sessions), err)
	}
	g := s.Login(t, rescind.Login{Subject: "bob"})
	next, err := c.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal()})
	ok(t, err)
	v, err := s.Authority.Session(ctx, g.Session)
	if err != nil || v.Generation != 1 {
		t.Errorf("generation %d after one refresh, %v", v.Generation, err)
	}
	_, err = c.Check(ctx, next.AccessToken.Reveal(), rescind.Want{Audience: []string{s.URL}})
	ok(t, err)
	r, err := c.Logout(ctx, next.AccessToken.Reveal(), false)
	if err != nil || r.Epoch == "" || r.Changed {
		t.Errorf("logout: %+v %v", r, err)
	}
}

// TestTimedOutCallIsNotSentAgain, or a slow server would get twice the work.
func TestTimedOutCallIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 5 * time.Second
		n := 0
		c, err := client.New(client.Options{
			Server: "https://rescind.example.com", ID: "app", Timeout: timeout, WriteTimeout: timeout,
			HTTP: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				n++
				<-r.Context().Done()
				return nil, r.Context().Err()
			})},
		})
		ok(t, err)
		start := time.Now()
		_, err = c.Check(t.Context(), token, rescind.Want{})
		is(t, "check", err, rescind.ErrUnavailable)
		_, err = c.Refresh(t.Context(), rescind.Refresh{Token: rtoken})
		is(t, "refresh", err, rescind.ErrUnavailable)
		if took := time.Since(start); n != 2 || took != 2*timeout {
			t.Errorf("%d requests in %v", n, took)
		}
	})
}

// TestCutBackupIsAnError: what arrived must not be taken for all of it.
func TestCutBackupIsAnError(t *testing.T) {
	cut := func(head string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, head)
				conn.Close()
			}
		}
	}
	const tar = "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\n"
	for name, h := range map[string]http.HandlerFunc{
		"in a chunk":      cut(tar + "Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
		"after a chunk":   cut(tar + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
		"short of length": cut(tar + "Content-Length: 9\r\n\r\nab"),
		"unmeasured":      cut(tar + "Connection: close\r\n\r\nab"),
		"another type":    cut("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nab"),
		"silent":          silent,
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-tar")
			_, _ = io.WriteString(w, "ab")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			is(t, name, waiting(t, serve(t, h), impatient).Backup(t.Context(), &b), rescind.ErrUnavailable)
		})
	}
}

func TestCertificateIsVerified(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"ready"}`)
	})
	s := httptest.NewUnstartedServer(answer)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	is(t, "an unknown authority", waiting(t, s.URL, time.Hour).Ready(t.Context()), rescind.ErrUnavailable)
	c, err := client.New(client.Options{Server: s.URL, ID: "app", HTTP: s.Client()})
	ok(t, err)
	ok(t, c.Ready(t.Context()))
}

// TestConnectionsAreKept has as many calls under way at once as there are, again
// and again: each needs a connection, and finds one after the first time.
func TestConnectionsAreKept(t *testing.T) {
	const parallel = 16
	s := rescindtest.Start(t)
	var opened, here atomic.Int64
	var all atomic.Pointer[chan struct{}] // closed when all are here
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate := *all.Load()
		if here.Add(1) == parallel {
			close(gate)
		}
		<-gate
		s.Handler.ServeHTTP(w, r)
	}))
	front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	front.Start()
	defer front.Close()
	c, err := client.New(client.Options{Server: front.URL + "/", ID: s.App.ID, Secret: rescind.Secret(s.App.Secret), Timeout: time.Hour})
	ok(t, err)
	defer c.Close()
	g := s.Login(t, rescind.Login{Subject: "alice"})
	for range 20 {
		gate := make(chan struct{})
		here.Store(0)
		all.Store(&gate)
		var calls sync.WaitGroup
		for range parallel {
			calls.Go(func() {
				if _, err := c.Check(t.Context(), g.AccessToken.Reveal(), rescind.Want{}); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	}
	if n := opened.Load(); n != parallel {
		t.Errorf("%d connections for %d calls at once", n, parallel)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for name, o := range map[string]client.Options{
		"no server":           {ID: "app"},
		"no scheme":           {Server: "rescind.example.com", ID: "app"},
		"another scheme":      {Server: "ftp://rescind.example.com", ID: "app"},
		"a secret in it":      {Server: "https://app:secret@rescind.example.com", ID: "app"},
		"a query":             {Server: "https://rescind.example.com/?a=b", ID: "app"},
		"a fragment":          {Server: "https://rescind.example.com/#a", ID: "app"},
		"plain HTTP":          {Server: "http://rescind.example.com", ID: "app"},
		"nearly loopback":     {Server: "http://localhost.example.com", ID: "app"},
		"no id":               {Server: "https://rescind.example.com"},
		"a negative time-out": {Server: "https://rescind.example.com", ID: "app", Timeout: -1},
	} {
		if _, err := client.New(o); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, o := range map[string]client.Options{
		"plain HTTP, allowed": {Server: "http://rescind.example.com", ID: "app", AllowHTTP: true},
		"loopback":            {Server: "http://[::1]:8470", ID: "app"},
		"a path":              {Server: "https://example.com/rescind/", ID: "app"},
	} {
		if _, err := client.New(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzIntrospection: whatever a 200 of JSON says, a check fails closed. Only
// active:true with a session may pass, and only active:false is inactive.
func FuzzIntrospection(f *testing.F) {
	for _, seed := range []string{`{"active":false}`, `{"active":true}`, `{}`, `null`, `{"active":true,"token_type":"Bearer","sid":1}`, `{"active":false,"active":true}`,
		`{"active":true,"token_type":"Bearer","client_id":"app","sub":"alice","aud":["a"],"exp":2000000000,"iat":1900000000,"jti":"AAAAAAAAAAAAAAAAAAAAAA","sid":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","x":1}`,
	} {
		f.Add([]byte(seed))
	}
	var body []byte
	c, err := client.New(client.Options{Server: "https://rescind.example.com", ID: "app", HTTP: &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body))}, nil
	})}})
	ok(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		body = b
		a, err := c.Check(t.Context(), token, rescind.Want{})
		switch {
		case err == nil && (a.Session.IsZero() || a.Subject == "" || a.ExpiresAt.IsZero() || !bytes.Contains(b, []byte("true"))):
			t.Errorf("%q passed as %+v", b, a)
		case errors.Is(err, rescind.ErrInactive) && !bytes.Contains(b, []byte("active")):
			t.Errorf("%q is inactive", b)
		case err != nil && !errors.Is(err, rescind.ErrInactive) && !errors.Is(err, rescind.ErrUnavailable):
			t.Errorf("%q: %v", b, err)
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
