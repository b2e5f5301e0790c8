package spec

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
)

// testClient runs every vector about clients against package client.
func testClient(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, s := range load(t, "client") {
		t.Run(s.file, func(t *testing.T) {
			for _, v := range s.Vectors {
				calls := v.Calls
				if len(calls) == 0 {
					calls = []string{"check"}
				}
				for _, call := range calls {
					ran++
					t.Run(v.Name+"/"+call, func(t *testing.T) {
						t.Parallel()
						clientVector(t, s, &v, call)
					})
				}
			}
		})
	}
	if ran < 150 {
		t.Errorf("only %d calls", ran)
	}
}

// impostor answers in the server's place, always the same.
type impostor struct {
	mu   sync.Mutex
	sent int
	last http.Header
}

func (i *impostor) serve(t *testing.T, r *reply) string {
	quiet := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		i.mu.Lock()
		i.sent++
		i.last = q.Header
		i.mu.Unlock()
		_, _ = io.Copy(io.Discard, q.Body) // a client that hangs up is part of the test
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			answerRaw(conn, r, quiet)
		}
	}))
	t.Cleanup(func() { close(quiet); s.Close() })
	return s.URL
}

func clientVector(t *testing.T, s *suite, v *vector, call string) {
	r, err := s.reply(v.Reply)
	must(t, err)
	var i impostor
	o := client.Options{Server: i.serve(t, &r), ID: "app", Secret: "secret", Audience: v.Client.Audience, Timeout: 20 * time.Second}
	if v.Client.ID != "" {
		o.ID, o.Secret = string(v.Client.ID), rescind.Secret(v.Client.Secret)
	}
	if r.End != "" {
		o.Timeout, o.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	}
	c, err := client.New(o)
	must(t, err)
	defer c.Close()
	began := time.Now()
	access, err := ask(t.Context(), c, v, call)
	if took := time.Since(began); r.End != "" && took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := outcome(err); got != v.Outcome {
		t.Errorf("%s, want %s (%v)", got, v.Outcome, err)
	}
	for name, want := range v.Access {
		if got := member(t, access, name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if v.Sent != nil && i.sent != *v.Sent {
		t.Errorf("%d requests, want %d", i.sent, *v.Sent)
	}
	if len(v.Authorization) > 0 {
		authorized(t, v.Authorization, i.last)
	}
}

// ask makes a call.
func ask(ctx context.Context, c *client.Client, v *vector, call string) (access rescind.Access, err error) {
	token, session := "token", "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	if v.Token != nil {
		token = string(*v.Token)
	} else if call == "logout_refresh" {
		token = "rsr_token"
	}
	if v.Session != nil {
		session = string(*v.Session)
	}
	switch call {
	case "check":
		access, err = c.Check(ctx, token, rescind.Want{Scope: v.Want.Scope, Audience: v.Want.Audience, AnyAudience: v.Want.AnyAudience})
	case "refresh":
		_, err = c.Refresh(ctx, rescind.Refresh{Token: token})
	case "logout", "logout_refresh":
		_, err = c.Logout(ctx, token, false)
	case "logout_all":
		_, err = c.Logout(ctx, token, true)
	case "login":
		_, err = c.Issue(ctx, rescind.Login{Subject: "ada"})
	case "end_session":
		id, perr := rescind.ParseSessionID(session)
		if perr != nil { // in Go, what is no id cannot be written down
			return access, rescind.ErrNotFound
		}
		_, err = c.EndSession(ctx, id, "ada")
	case "list":
		_, err = c.Sessions(ctx, rescind.SessionQuery{Subject: "ada"})
	default:
		err = errors.New("there is no call " + call)
	}
	return access, err
}

// outcome is the vectors' word for an error.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, k := range []struct {
		is   error
		word string
	}{
		{rescind.ErrUnavailable, "unavailable"}, {rescind.ErrInactive, "inactive"}, {rescind.ErrReuse, "inactive"}, {rescind.ErrScope, "scope"},
		{rescind.ErrForeign, "foreign"}, {rescind.ErrForbidden, "forbidden"}, {rescind.ErrNotFound, "not_found"}, {rescind.ErrConflict, "conflict"},
		{rescind.ErrLimit, "limit"}, {rescind.ErrInvalid, "invalid"},
	} {
		if errors.Is(err, k.is) {
			return k.word
		}
	}
	return err.Error()
}

// member is what a check has learned, as it stands in a vector.
func member(t *testing.T, a rescind.Access, name string) any {
	t.Helper()
	claims := a.Claims
	if len(claims) == 0 {
		claims = json.RawMessage("{}")
	}
	b, err := json.Marshal(map[string]any{
		"subject": a.Subject, "session": a.Session, "client": a.Client, "audience": a.Audience, "scope": a.Scope, "token": a.Token, "claims": claims,
	})
	must(t, err)
	var members map[string]any
	must(t, json.Unmarshal(b, &members))
	return members[name]
}

// authorized compares the Authorization header of a request.
func authorized(t *testing.T, want json.RawMessage, header http.Header) {
	t.Helper()
	got := header.Values("Authorization")
	var one string
	var pair []string
	switch {
	case string(want) == "null":
		if len(got) != 0 {
			t.Errorf("Authorization: %q, want none", got)
		}
		return
	case len(got) != 1:
		t.Errorf("Authorization: %q", got)
		return
	case json.Unmarshal(want, &one) == nil:
		if got[0] != one {
			t.Errorf("Authorization: %q, want %q", got[0], one)
		}
		return
	}
	must(t, json.Unmarshal(want, &pair))
	text, ok := strings.CutPrefix(got[0], "Basic ")
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		t.Fatalf("Authorization: %q: %v", got[0], err)
	}
	id, secret, _ := strings.Cut(string(raw), ":")
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	if err := errors.Join(err1, err2); err != nil || id != pair[0] || secret != pair[1] {
		t.Errorf("%q is %q and %q, want %q: %v", raw, id, secret, pair, err)
	}
	// What is left as it is has one meaning in every decoder.
	if i := strings.IndexFunc(string(raw), func(r rune) bool { return !strings.ContainsRune(encodedText, r) }); i >= 0 {
		t.Errorf("%q is not encoded at %d", raw, i)
	}
}

const encodedText = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*%+:"
