package targets

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A Visit is a session of somebody who logged in by hand, and what it holds.
type Visit struct {
	User, Access, Refresh, Cookie string

	notes *Notes
}

// A Said is an answer.
type Said struct {
	Status int
	Header http.Header
	Body   string
}

// newHands send one request each, and follow nothing.
func newHands(t testing.TB, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: stay}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send sends a request to the first instance and reads the answer. A body that is
// no url.Values is sent as JSON.
func (a *Notes) Send(t testing.TB, method, path string, header map[string]string, body any) Said {
	t.Helper()
	return a.sendTo(t, method, a.URLs[0]+path, header, body)
}

func (a *Notes) sendTo(t testing.TB, method, address string, header map[string]string, body any) Said {
	t.Helper()
	said, err := send(t.Context(), a.hands, method, address, header, body)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

func send(ctx context.Context, hands *http.Client, method, address string, header map[string]string, body any) (Said, error) {
	var text []byte
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case url.Values:
		text, kind = []byte(body.Encode()), "application/x-www-form-urlencoded"
	default:
		var err error
		if text, err = json.Marshal(body); err != nil {
			return Said{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return Said{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", kind)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	response, err := hands.Do(r)
	if err != nil {
		return Said{}, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return Said{response.StatusCode, response.Header, string(answer)}, err
}

// JSON reads the answer into v.
func (s Said) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.Body), v); err != nil {
		t.Fatalf("%d %q: %v", s.Status, s.Body, err)
	}
}

// Cookie is the value of a cookie that the answer sets.
func (s Said) Cookie(name string) string {
	for _, c := range (&http.Response{Header: s.Header}).Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

var hidden = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// Login logs a user in.
func (a *Notes) Login(t testing.TB, user string) Visit {
	t.Helper()
	v := Visit{User: user, notes: a}
	if a.Form {
		form := a.Send(t, "GET", "/login", nil, nil)
		csrf := hidden.FindStringSubmatch(form.Body)
		if csrf == nil {
			t.Fatalf("no form: %+v", form)
		}
		said := a.Send(t, "POST", "/login", map[string]string{"Cookie": "form=" + form.Cookie("form")},
			url.Values{"user": {user}, "password": {passwords[user]}, "csrf": {csrf[1]}})
		if v.Cookie = said.Cookie("sid"); said.Status != http.StatusSeeOther || v.Cookie == "" {
			t.Fatalf("login: %+v", said)
		}
		return v
	}
	said := a.Send(t, "POST", "/login", nil, map[string]string{"user": user, "password": passwords[user]})
	if said.Status != http.StatusOK && said.Status != http.StatusSeeOther {
		t.Fatalf("login: %+v", said)
	}
	if v.Cookie = said.Cookie("sid"); a.Cookies {
		return v
	}
	return v.take(t, said)
}

// take reads tokens from an answer.
func (v Visit) take(t testing.TB, said Said) Visit {
	t.Helper()
	if v.notes.Jar {
		v.Access, v.Refresh = said.Cookie("access_token"), said.Cookie("refresh_token")
		return v
	}
	var g grant
	said.JSON(t, &g)
	v.Access, v.Refresh = g.AccessToken, g.RefreshToken
	return v
}

// carries is what a request of the session has in its header.
func (v Visit) carries() map[string]string {
	switch {
	case v.Cookie != "":
		return map[string]string{"Cookie": "sid=" + v.Cookie}
	case v.Access != "" && v.notes.Jar:
		return map[string]string{"Cookie": "access_token=" + v.Access}
	case v.Access != "":
		return map[string]string{"Authorization": "Bearer " + v.Access}
	}
	return nil
}

// Call sends a request of the session to the first instance.
func (v Visit) Call(t testing.TB, method, path string, body any) Said {
	t.Helper()
	return v.notes.Send(t, method, path, v.carries(), body)
}

// In reports whether the session gets its own answer from some route of some
// instance; Everywhere, whether it gets it from all.
func (v Visit) In(t testing.TB) bool { return v.count(t) > 0 }

// Everywhere: see In.
func (v Visit) Everywhere(t testing.TB) bool { return v.count(t) == 3*len(v.notes.URLs) }

func (v Visit) count(t testing.TB) (n int) {
	t.Helper()
	for _, url := range v.notes.URLs {
		for _, path := range []string{"/api/me", "/api/notes", "/api/files"} {
			said := v.notes.sendTo(t, "GET", url+path, v.carries(), nil)
			if strings.Contains(said.Body, v.User) || v.notes.Answers.Empty && said.Status == http.StatusNoContent {
				n++
			}
		}
	}
	return n
}

// Logout logs out, and has to succeed.
func (v Visit) Logout(t testing.TB) {
	t.Helper()
	if said := v.Call(t, "POST", "/logout", nil); said.Status != http.StatusNoContent && said.Status != http.StatusSeeOther {
		t.Fatalf("logout: %+v", said)
	}
}

// Renew exchanges the refresh token, and reports whether it was taken.
func (v Visit) Renew(t testing.TB) (Visit, bool) {
	t.Helper()
	var header map[string]string
	if v.notes.Jar {
		header = map[string]string{"Cookie": "refresh_token=" + v.Refresh}
	}
	said := v.notes.Send(t, "POST", "/refresh", header, map[string]string{"refresh_token": v.Refresh})
	if said.Status != http.StatusOK {
		return v, false
	}
	return v.take(t, said), true
}

// Renews reports whether the refresh token brings tokens that are taken.
func (v Visit) Renews(t testing.TB) bool {
	t.Helper()
	next, ok := v.Renew(t)
	return ok && next.In(t)
}
