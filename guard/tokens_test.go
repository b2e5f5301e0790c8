package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// phone is an application for devices over a ledger.
type phone struct {
	*ledger
	url string
}

func newPhone(t *testing.T) *phone {
	t.Helper()
	l := newLedger(t)
	tokens := guard.NewTokens(l, guard.TokenOptions{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		tokens.Login(w, r, rescind.Login{Subject: r.FormValue("user")})
	})
	mux.Handle("/refresh", tokens.RefreshHandler())
	mux.Handle("/logout", tokens.LogoutHandler())
	mux.Handle("/logout-all", tokens.LogoutAllHandler())
	mux.Handle("/whoami", tokens.Handler(whoami))
	mux.Handle("GET /devices", tokens.DevicesHandler())
	mux.Handle("DELETE /devices/{id}", tokens.EndDeviceHandler())
	return &phone{l, serve(t, mux).URL}
}

// tokensOf is what a login or a refresh sends.
type tokensOf struct {
	Session string `json:"session"`
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Refresh string `json:"refresh_token"`
}

// call makes a request with a bearer token, if it is not empty, and a body of a type.
func (p *phone) call(t *testing.T, want int, method, path, token, kind, body string) (http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != want {
		t.Errorf("%s %s: %d %s, want %d", method, path, res.StatusCode, text, want)
	}
	if cache := res.Header.Get("Cache-Control"); path != "/whoami" && cache != "no-store" {
		t.Errorf("%s %s: Cache-Control %q", method, path, cache)
	}
	return res.Header, string(text)
}

const (
	form    = "application/x-www-form-urlencoded"
	jsonDoc = "application/json; charset=utf-8"
)

func (p *phone) login(t *testing.T, user string) tokensOf {
	t.Helper()
	_, text := p.call(t, 200, "POST", "/login", "", form, "user="+user)
	return readTokens(t, text)
}

func readTokens(t *testing.T, text string) (got tokensOf) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Access == "" || got.Refresh == "" || got.Type != "Bearer" || got.Expires < 1 || got.Session == "" {
		t.Fatalf("%v in %s", err, text)
	}
	return got
}

func (p *phone) refresh(t *testing.T, want int, token string) string {
	t.Helper()
	_, text := p.call(t, want, "POST", "/refresh", "", jsonDoc, `{"refresh_token":"`+token+`"}`)
	return text
}

func TestDeviceLogsOutWithEitherToken(t *testing.T) {
	p := newPhone(t)
	for name, logout := range map[string]func(tokensOf){
		"bearer":  func(g tokensOf) { p.call(t, 204, "POST", "/logout", g.Access, "", "") },
		"refresh": func(g tokensOf) { p.call(t, 204, "POST", "/logout", "", jsonDoc, `{"refresh_token":"`+g.Refresh+`"}`) },
		"form": func(g tokensOf) {
			p.call(t, 204, "POST", "/logout", "", form, url.Values{"refresh_token": {g.Refresh}}.Encode())
		},
		"expired": func(g tokensOf) {
			p.advance(rescind.DefaultAccessLifetime + time.Minute)
			p.call(t, 401, "GET", "/whoami", g.Access, "", "")
			p.call(t, 204, "POST", "/logout", g.Access, "", "")
		},
	} {
		first := p.login(t, "alice")
		next := readTokens(t, p.refresh(t, 200, first.Refresh))
		stays := p.login(t, "alice")
		for _, g := range []tokensOf{first, next} {
			if _, text := p.call(t, 200, "GET", "/whoami", g.Access, "", ""); text != "true alice" {
				t.Errorf("%s: %q", name, text)
			}
		}
		logout(next)
		for _, g := range []tokensOf{first, next} {
			p.call(t, 401, "GET", "/whoami", g.Access, "", "")
			p.refresh(t, 401, g.Refresh)
		}
		p.refresh(t, 200, stays.Refresh)
	}
}

func TestDeviceLogsOutEverywhere(t *testing.T) {
	p := newPhone(t)
	alice, other, bob := p.login(t, "alice"), p.login(t, "alice"), p.login(t, "bob")
	p.call(t, 204, "POST", "/logout-all", alice.Access, "", "")
	for _, g := range []tokensOf{alice, other} {
		p.call(t, 401, "GET", "/whoami", g.Access, "", "")
		p.refresh(t, 401, g.Refresh)
	}
	p.call(t, 401, "POST", "/logout-all", alice.Access, "", "")
	p.call(t, 200, "GET", "/whoami", bob.Access, "", "")
}

// TestNobodyEndsTheDeviceOfAnother: the ids come from users.
func TestNobodyEndsTheDeviceOfAnother(t *testing.T) {
	p := newPhone(t)
	laptop, tablet, bob := p.login(t, "alice"), p.login(t, "alice"), p.login(t, "bob")
	devices := func(want int) string {
		t.Helper()
		_, text := p.call(t, 200, "GET", "/devices", laptop.Access, "", "")
		var views []rescind.View
		if err := json.Unmarshal([]byte(text), &views); err != nil || len(views) != want {
			t.Errorf("%v, %d devices, want %d: %s", err, len(views), want, text)
		}
		return text
	}
	if text := devices(2); strings.Contains(text, bob.Session) || !strings.Contains(text, tablet.Session) {
		t.Errorf("devices of alice: %s", text)
	}
	p.call(t, 404, "DELETE", "/devices/"+tablet.Session, bob.Access, "", "")
	p.call(t, 404, "DELETE", "/devices/nothing", laptop.Access, "", "")
	p.call(t, 404, "DELETE", "/devices/"+strings.Repeat("x", 32), laptop.Access, "", "")
	p.call(t, 401, "DELETE", "/devices/"+tablet.Session, "", "", "")
	p.call(t, 401, "GET", "/devices", "", "", "")
	p.call(t, 200, "GET", "/whoami", tablet.Access, "", "")
	p.call(t, 204, "DELETE", "/devices/"+tablet.Session, laptop.Access, "", "")
	p.call(t, 401, "GET", "/whoami", tablet.Access, "", "")
	p.refresh(t, 401, tablet.Refresh)
	devices(1)
}

func TestDeviceSendsWhatIsNoToken(t *testing.T) {
	p := newPhone(t)
	g := p.login(t, "alice")
	token := `{"refresh_token":"` + g.Refresh + `"}`
	for _, c := range []struct {
		want       int
		kind, body string
	}{
		{401, "", ""}, {401, jsonDoc, "{}"}, {401, jsonDoc, `{"refresh_token":""}`}, {401, form, "x=y"},
		{401, jsonDoc, `{"refresh_token":"a b"}`}, {401, jsonDoc, `{"refresh_token":"x"}`}, {401, jsonDoc, "null"},
		{400, jsonDoc, `{"refresh_token":7}`}, {400, jsonDoc, "[]"}, {400, jsonDoc, "{"}, {400, "", token}, {400, "text/plain", token},
		{400, form, "refresh_token=a&refresh_token=b"}, {400, form, "refresh_token=%zz"},
		{400, jsonDoc, token + strings.Repeat(" ", rescind.MaxToken+1024)},
	} {
		for _, path := range []string{"/refresh", "/logout", "/logout-all"} {
			if header, _ := p.call(t, c.want, "POST", path, "", c.kind, c.body); c.want == 401 && header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s without a challenge", path)
			}
		}
	}
	for _, path := range []string{"/refresh", "/logout", "/logout-all"} {
		p.call(t, 405, "GET", path, g.Access, "", "")
	}
	p.call(t, 401, "POST", "/logout", "x", "", "")
	p.call(t, 500, "POST", "/login", "", form, "user=")
	p.refresh(t, 200, g.Refresh)
}

// TestDeviceKeepsItsTokensInAnOutage: 503 is not 401, and nothing has been lost.
func TestDeviceKeepsItsTokensInAnOutage(t *testing.T) {
	p := newPhone(t)
	g := p.login(t, "alice")
	down := func(err error) {
		t.Helper()
		p.failWith(err)
		defer p.failWith(nil)
		for _, c := range [][3]string{
			{"POST", "/login", ""}, {"POST", "/logout", g.Access}, {"POST", "/logout-all", g.Access}, {"GET", "/whoami", g.Access},
			{"GET", "/devices", g.Access}, {"DELETE", "/devices/" + g.Session, g.Access},
		} {
			if header, _ := p.call(t, 503, c[0], c[1], c[2], form, "user=alice"); header.Get("Retry-After") == "" {
				t.Errorf("%s without Retry-After", c[1])
			}
		}
		p.refresh(t, 503, g.Refresh)
	}
	down(rescind.ErrUnavailable)
	down(errors.Join(rescind.ErrInactive, rescind.ErrUnavailable))
	p.call(t, 200, "GET", "/whoami", g.Access, "", "")
	p.refresh(t, 200, g.Refresh)
}

func TestDeviceAboveTheLimit(t *testing.T) {
	l := newLedger(t)
	tokens := guard.NewTokens(full{l}, guard.TokenOptions{})
	w := httptest.NewRecorder()
	tokens.Login(w, httptest.NewRequest("POST", "/login", nil), rescind.Login{Subject: "alice"})
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "limit") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// full has no place for another session.
type full struct{ *ledger }

func (full) Issue(context.Context, rescind.Login) (rescind.Grant, error) {
	return rescind.Grant{}, rescind.ErrLimit
}
