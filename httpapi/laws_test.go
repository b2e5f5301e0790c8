package httpapi_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
	"github.com/rescind/rescind/store/storetest"
)

// Every way to end access, against every way to use it.
func TestRevokedTokenNeverPassesAgain(t *testing.T) {
	h := start(t)
	shop := h.AddClient(t, rescind.Client{ID: "shop", Format: rescind.FormatOpaque, Roles: []rescind.Role{rescind.RoleIssue, rescind.RoleIntrospect}})
	key := func() string {
		var list struct{ Keys []rescind.KeyInfo }
		h.do("GET", "/v1/keys", basic(h.Admin)).want(t, 200).into(t, &list)
		for _, k := range list.Keys {
			if k.Use == rescind.KeyUseMAC && k.State == rescind.KeyCurrent {
				return k.ID.String()
			}
		}
		t.Fatal("no current MAC key")
		return ""
	}
	revoke := func(selector string) func(rescind.Grant) answer {
		return func(rescind.Grant) answer { return h.do("POST", "/v1/revocations", basic(h.Admin), jsonText(selector)) }
	}
	for name, end := range map[string]func(g rescind.Grant) answer{
		"logout by bearer": func(g rescind.Grant) answer { return h.do("POST", "/v1/logout", bearer(g.AccessToken)) },
		"logout by refresh token": func(g rescind.Grant) answer {
			return h.do("POST", "/v1/logout", jsonText(`{"refresh_token":"`+g.RefreshToken.Reveal()+`"}`))
		},
		"logout everywhere": func(g rescind.Grant) answer {
			return h.do("POST", "/v1/logout", bearer(g.AccessToken), jsonText(`{"all":true}`))
		},
		"logout everywhere by refresh token": func(g rescind.Grant) answer {
			return h.do("POST", "/v1/logout", jsonText(`{"all":true,"refresh_token":"`+g.RefreshToken.Reveal()+`"}`))
		},
		"revoke access token": func(g rescind.Grant) answer {
			return h.do("POST", "/oauth/revoke", basic(shop), form("token", g.AccessToken.Reveal()))
		},
		"revoke refresh token": func(g rescind.Grant) answer {
			return h.do("POST", "/oauth/revoke", basic(shop), form("token", g.RefreshToken.Reveal()))
		},
		"delete": func(g rescind.Grant) answer { return h.do("DELETE", "/v1/sessions/"+g.Session.String(), basic(shop)) },
		"token": func(g rescind.Grant) answer {
			return h.do("POST", "/v1/revocations", basic(shop), jsonText(`{"token":"`+g.AccessToken.Reveal()+`"}`))
		},
		"session": func(g rescind.Grant) answer {
			return h.do("POST", "/v1/revocations", basic(shop), jsonText(`{"session":"`+g.Session.String()+`"}`))
		},
		"subject": revoke(`{"subject":"alice","reason":"lost phone"}`),
		"client":  revoke(`{"client":"shop"}`),
		"all":     revoke(`{"all":true}`),
		"key":     func(g rescind.Grant) answer { return revoke(`{"key":"` + key() + `"}`)(g) },
		"erasure": func(rescind.Grant) answer {
			return h.do("POST", "/v1/erasures", basic(h.Admin), jsonText(`{"subject":"alice"}`))
		},
		"replaced": func(g rescind.Grant) answer {
			return h.do("POST", "/v1/sessions", basic(shop), jsonText(`{"subject":"alice","replaces":"`+g.Session.String()+`"}`))
		},
		"end of its client": func(g rescind.Grant) answer {
			a := h.do("DELETE", "/v1/clients/shop", basic(h.Admin))
			shop = h.AddClient(t, rescind.Client{ID: "shop", Format: rescind.FormatOpaque, Roles: []rescind.Role{rescind.RoleIssue, rescind.RoleIntrospect}})
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			g := h.Login(t, rescind.Login{Subject: "alice", Client: "shop"})
			access, refresh := g.AccessToken.Reveal(), g.RefreshToken.Reveal()
			h.do("GET", "/forward-auth", bearer(access)).want(t, 200)
			if a := end(g); a.status != 200 && a.status != 201 {
				t.Fatalf("not ended: %d %s", a.status, a.body)
			}
			for range 2 {
				h.do("GET", "/forward-auth", bearer(access)).want(t, 401).challenge(t, `error="invalid_token"`)
				for _, token := range []string{access, refresh} {
					for _, by := range []rescindtest.Credentials{shop, h.Admin} {
						if a := h.introspect(token, by).want(t, 200); a.body != `{"active":false}` {
							t.Fatalf("it passes: %s", a.body)
						}
					}
				}
				h.refresh(refresh, shop).oauthError(t, 400, "invalid_grant")
				h.do("POST", "/v1/logout", bearer(access), jsonText(`{"all":true}`)).problem(t, 401, "invalid_token")
			}
		})
	}
	h.t = t
}

// What a store does not answer is 503 everywhere, and says nothing about tokens.
func TestUnavailableIsNeverAStatementAboutAToken(t *testing.T) {
	var o outage
	h := start(t, o.wrap)
	g := h.Login(t, rescind.Login{Subject: "alice"})
	good, refresh := g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	session := g.Session.String()
	calls := map[string]func() answer{
		"introspect":         func() answer { return h.introspect(good, h.App) },
		"introspect refresh": func() answer { return h.introspect(refresh, h.App) },
		"refresh":            func() answer { return h.refresh(refresh, h.App) },
		"revoke":             func() answer { return h.do("POST", "/oauth/revoke", basic(h.App), form("token", good)) },
		"revoke rubbish":     func() answer { return h.do("POST", "/oauth/revoke", basic(h.App), form("token", "x")) },
		"wrong secret": func() answer {
			return h.do("POST", "/oauth/introspect", basic(rescindtest.Credentials{ID: "app", Secret: "x"}), form("token", good))
		},
		"public client": func() answer { return h.do("POST", "/oauth/revoke", form("client_id", "x", "token", good)) },
		"jwks":          func() answer { return h.do("GET", "/.well-known/jwks.json") },
		"login":         func() answer { return h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"alice"}`)) },
		"list":          func() answer { return h.do("GET", "/v1/sessions", basic(h.App)) },
		"show":          func() answer { return h.do("GET", "/v1/sessions/"+session, basic(h.App)) },
		"end":           func() answer { return h.do("DELETE", "/v1/sessions/"+session, basic(h.App)) },
		"revocation":    func() answer { return h.do("POST", "/v1/revocations", basic(h.App), jsonText(`{"subject":"alice"}`)) },
		"logout":        func() answer { return h.do("POST", "/v1/logout", bearer(good)) },
		"logout all":    func() answer { return h.do("POST", "/v1/logout", bearer(good), jsonText(`{"all":true}`)) },
		"events":        func() answer { return h.do("GET", "/v1/events", basic(h.Admin)) },
		"keys":          func() answer { return h.do("GET", "/v1/keys", basic(h.Admin)) },
		"rotate":        func() answer { return h.do("POST", "/v1/keys/rotate", basic(h.Admin), jsonText(`{"use":"mac"}`)) },
		"clients":       func() answer { return h.do("GET", "/v1/clients", basic(h.Admin)) },
		"add client":    func() answer { return h.do("POST", "/v1/clients", basic(h.Admin), jsonText(`{"id":"x"}`)) },
		"remove client": func() answer { return h.do("DELETE", "/v1/clients/x", basic(h.Admin)) },
		"erase":         func() answer { return h.do("POST", "/v1/erasures", basic(h.Admin), jsonText(`{"subject":"alice"}`)) },
		"backup":        func() answer { return h.do("GET", "/v1/backup", basic(h.Admin)) },
		"ready":         func() answer { return h.do("GET", "/readyz") },
		"forward-auth":  func() answer { return h.do("GET", "/forward-auth/x", bearer(good)) },
	}
	check := func(t *testing.T, a answer) {
		t.Helper()
		a.want(t, 503)
		if a.header.Get("Retry-After") == "" {
			t.Fatal("no Retry-After")
		}
		if strings.Contains(a.body, "active") || a.header.Get("WWW-Authenticate") != "" {
			t.Fatalf("a statement about the token: %s", a.body)
		}
		a.notStored(t)
	}
	o.down()
	for name, call := range calls {
		t.Run(name, func(t *testing.T) { h.t = t; check(t, call()) })
	}
	h.t = t
	h.do("GET", "/healthz").want(t, 200) // the process is alive all the same
	o.up()
	// Nothing was lost by it.
	h.refresh(refresh, h.App).want(t, 200)
	h.do("GET", "/forward-auth", bearer(good)).want(t, 200)

	// One method at a time, done or not done: an answer that is no 503 is true.
	for _, method := range storetest.Methods() {
		for _, fault := range []storetest.Fault{storetest.FailBefore, storetest.FailAfter} {
			g := h.Login(t, rescind.Login{Subject: "bob"})
			o.Follow(storetest.Always(method, fault))
			a, f := h.introspect(g.AccessToken.Reveal(), h.App), h.do("GET", "/forward-auth", bearer(g.AccessToken))
			out := h.do("POST", "/v1/logout", bearer(g.AccessToken))
			o.up()
			if a.status != 503 && a.member(t, "active") != true {
				t.Errorf("%s: a good token is called bad: %d %s", method, a.status, a.body)
			}
			if f.status != 503 && f.status != 200 {
				t.Errorf("%s: a good token is refused: %d", method, f.status)
			}
			if out.status == 200 {
				h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 401)
			} else if out.status != 503 {
				t.Errorf("%s: logout answers %d", method, out.status)
			}
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Law 6: no log line, error, metric, trace or event holds a token, wherever in a
// request it stood.
func TestNoTraceOfATokenStays(t *testing.T) {
	var log lines
	var o outage
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h := start(t, o.wrap, func(s *rescindtest.Settings) {
		s.Config.Logger = logger
		s.HTTP = httpapi.Options{
			Logger: logger, TracerProvider: provider, RateLimit: httpapi.RateLimit{Failures: -1},
			Rules: map[string]httpapi.Rule{"cookie": {Cookie: "at"}},
		}
	})
	g := h.Login(t, rescind.Login{Subject: "alice"})
	dead := h.Login(t, rescind.Login{Subject: "alice"})
	h.do("POST", "/v1/logout", bearer(dead.AccessToken)).want(t, 200)
	forged := flip(g.AccessToken.Reveal())
	tokens := []string{g.AccessToken.Reveal(), g.RefreshToken.Reveal(), dead.AccessToken.Reveal(), dead.RefreshToken.Reveal(), forged}

	var answers []string
	everything := func() {
		for _, token := range tokens {
			for _, a := range []answer{
				h.introspect(token, h.App),
				h.do("POST", "/oauth/introspect", basic(h.App), form("token", token, "token", token)),
				h.do("POST", "/oauth/introspect?token="+token, basic(h.App)),
				h.do("POST", "/oauth/"+token, basic(h.App)),
				h.do("GET", "/v1/sessions/"+token, basic(h.App)),
				h.do("DELETE", "/v1/clients/"+token, basic(h.Admin)),
				h.do("GET", "/v1/sessions?subject="+token, basic(h.App)),
				h.do("GET", "/v1/sessions?"+token+"=1", basic(h.App)),
				h.do("GET", "/v1/events?after="+token, basic(h.Admin)),
				h.do("GET", "/forward-auth/"+token+"?access_token="+token, bearer(token)),
				h.do("GET", "/forward-rules/"+token),
				h.do("POST", "/forward-rules/cookie/", header("Cookie", "at="+token)),
				h.do("POST", "/v1/revocations", basic(h.App), jsonText(`{"subject":"alice","reason":"`+token+`"}`)),
				h.do("POST", "/v1/revocations", basic(h.App), jsonText(`{"`+token+`":1}`)),
				h.do("POST", "/v1/revocations", basic(h.App), jsonText(`{"session":"`+token+`"}`)),
				h.do("POST", "/v1/revocations", basic(h.App), jsonText(`{"wait":"`+token+`"}`)),
				h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"x","audience":["`+token+`","`+token+`"]}`)),
				h.do("POST", "/v1/logout", bearer(token), jsonText(`{"refresh_token":"`+token+`"}`)),
				h.do("POST", "/oauth/token", form("client_id", token, "client_secret", token, "grant_type", token)),
				h.do("POST", "/oauth/token", basic(h.App), form("grant_type", "refresh_token", "refresh_token", g.RefreshToken.Reveal(), "scope", `"`+token)),
			} {
				answers = append(answers, a.body+strings.Join(a.header.Values("WWW-Authenticate"), ""))
			}
		}
	}
	everything()
	o.down()
	// The first of an outage is the one that is logged.
	h.do("GET", "/forward-auth/"+forged+"?access_token="+forged, bearer(g.AccessToken)).want(t, 503)
	everything()
	o.up()

	page, err := h.Authority.Events(t.Context(), rescind.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	events, err := json.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	var traced strings.Builder
	for _, s := range spans.GetSpans() {
		traced.WriteString(s.Name)
		for _, a := range s.Attributes {
			traced.WriteString(string(a.Key) + "=" + a.Value.String() + " ")
		}
	}
	if traced.Len() == 0 || log.String() == "" {
		t.Fatal("nothing was traced or logged: this test sees nothing")
	}
	for place, text := range map[string]string{
		"log": log.String(), "events": string(events), "traces": traced.String(),
		"metrics": h.do("GET", "/metrics").want(t, 200).body, "answers": strings.Join(answers, "\n"),
	} {
		for _, secret := range append(tokens, h.App.Secret, h.Admin.Secret) {
			if strings.Contains(text, secret) {
				t.Errorf("the %s hold a token or a secret", place)
			}
			// Nor a part that would do: the signature or MAC is at the end.
			if end := secret[len(secret)-24:]; strings.Contains(text, end) {
				t.Errorf("the %s hold the end of a token or a secret", place)
			}
		}
	}
}

// A panic is a 500, logged once; to a gateway it is one more reason for 503.
func TestPanicIsAnsweredAndLogged(t *testing.T) {
	var log lines
	var o outage
	h := start(t, o.wrap, func(s *rescindtest.Settings) { s.HTTP.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	g := h.Login(t, rescind.Login{Subject: "alice"})
	o.Follow(func(string, int) storetest.Fault { panic("planted") })
	h.do("GET", "/v1/sessions", basic(h.App)).problem(t, 500, "internal")
	if n := strings.Count(log.String(), "request failed"); n != 1 {
		t.Fatalf("%d lines in the log:\n%s", n, log.String())
	}
	h.introspect(g.AccessToken.Reveal(), h.App).oauthError(t, 500, "server_error")
	h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 503)
}
