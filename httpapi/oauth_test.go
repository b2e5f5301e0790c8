package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

func TestTokenEndpointRotates(t *testing.T) {
	h := start(t)
	g := h.Login(t, rescind.Login{Subject: "alice", Scope: "read write"})
	a := h.refresh(g.RefreshToken.Reveal(), h.App).want(t, 200)
	a.notStored(t)
	if a.header.Get("Pragma") != "no-cache" {
		t.Fatal("RFC 6749 section 5.1 wants Pragma: no-cache")
	}
	next := grantOf(t, a)
	if next.TokenType != "Bearer" || next.Scope != "read write" || next.ExpiresIn <= 0 || next.RefreshToken == g.RefreshToken {
		t.Fatalf("not a rotation: %+v", next)
	}
	// A retry in the grace window gets the same successor.
	if again := grantOf(t, h.refresh(g.RefreshToken.Reveal(), h.App).want(t, 200)); again.RefreshToken != next.RefreshToken {
		t.Fatal("a retry got another successor")
	}
	// A scope narrows one access token, and never widens.
	narrow := grantOf(t, h.do("POST", "/oauth/token", basic(h.App),
		form("grant_type", "refresh_token", "refresh_token", next.RefreshToken.Reveal(), "scope", "read")).want(t, 200))
	if narrow.Scope != "read" {
		t.Fatalf("scope %q", narrow.Scope)
	}
	for _, scope := range []string{"admin", "read admin", `"`, "\x00"} {
		h.do("POST", "/oauth/token", basic(h.App),
			form("grant_type", "refresh_token", "refresh_token", narrow.RefreshToken.Reveal(), "scope", scope)).oauthError(t, 400, "invalid_scope")
	}
}

func TestReuseEndsTheSession(t *testing.T) {
	h := start(t)
	strict := h.AddClient(t, rescind.Client{ID: "strict", Strict: true, Roles: []rescind.Role{rescind.RoleIntrospect}})
	g := h.Login(t, rescind.Login{Subject: "alice", Client: "strict"})
	next := grantOf(t, h.refresh(g.RefreshToken.Reveal(), strict).want(t, 200))
	h.refresh(g.RefreshToken.Reveal(), strict).oauthError(t, 400, "invalid_grant")
	h.refresh(next.RefreshToken.Reveal(), strict).oauthError(t, 400, "invalid_grant")
	if a := h.introspect(next.AccessToken.Reveal(), strict); a.body != `{"active":false}` {
		t.Fatalf("the access token lives on: %s", a.body)
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	h := start(t)
	other := h.AddClient(t, rescind.Client{ID: "other"})
	public := h.AddClient(t, rescind.Client{ID: "spa", Public: true})
	g := h.Login(t, rescind.Login{Subject: "alice"})
	token := g.RefreshToken.Reveal()
	for _, c := range []struct {
		name   string
		edits  []edit
		status int
		word   string
	}{
		{"no grant type", []edit{basic(h.App), form("refresh_token", token)}, 400, "invalid_request"},
		{"empty grant type", []edit{basic(h.App), form("grant_type", "", "refresh_token", token)}, 400, "invalid_request"},
		{"other grant type", []edit{basic(h.App), form("grant_type", "password", "refresh_token", token)}, 400, "unsupported_grant_type"},
		{"no token", []edit{basic(h.App), form("grant_type", "refresh_token")}, 400, "invalid_request"},
		{"another client's token", []edit{basic(other), form("grant_type", "refresh_token", "refresh_token", token)}, 400, "invalid_grant"},
		{"a public client's claim", []edit{form("client_id", public.ID, "grant_type", "refresh_token", "refresh_token", token)}, 400, "invalid_grant"},
		{"a confidential client without secret", []edit{form("client_id", "app", "grant_type", "refresh_token", "refresh_token", token)}, 401, "invalid_client"},
		{"access token as refresh token", []edit{basic(h.App), form("grant_type", "refresh_token", "refresh_token", g.AccessToken.Reveal())}, 400, "invalid_grant"},
		{"truncated token", []edit{basic(h.App), form("grant_type", "refresh_token", "refresh_token", token[:len(token)-1])}, 400, "invalid_grant"},
		{"flipped token", []edit{basic(h.App), form("grant_type", "refresh_token", "refresh_token", flip(token))}, 400, "invalid_grant"},
		{"NUL in the token", []edit{basic(h.App), form("grant_type", "refresh_token", "refresh_token", token+"\x00")}, 400, "invalid_grant"},
		{"long token", []edit{basic(h.App), form("grant_type", "refresh_token", "refresh_token", strings.Repeat("a", 20<<10))}, 400, "invalid_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{h.Server, t}
			h.do("POST", "/oauth/token", c.edits...).oauthError(t, c.status, c.word)
		})
	}
	// None of this has cost the session anything.
	h.refresh(token, h.App).want(t, 200)
}

// flip changes a character in the middle of a token.
func flip(token string) string {
	b := []byte(token)
	if i := len(b) / 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestIntrospectionSaysWhatTheLedgerSays(t *testing.T) {
	for _, format := range []rescind.TokenFormat{rescind.FormatJWT, rescind.FormatOpaque} {
		t.Run(string(format), func(t *testing.T) {
			h := start(t)
			h.AddClient(t, rescind.Client{ID: "shop", Format: format})
			g := h.Login(t, rescind.Login{
				Subject: `a"b\c`, Client: "shop", Scope: "read write",
				Claims: json.RawMessage(`{ "tier": "gold", "tags": ["x", "<y>"] }`),
			})
			a := h.introspect(g.AccessToken.Reveal(), h.App).want(t, 200)
			a.notStored(t)
			var got map[string]any
			a.into(t, &got)
			for name, want := range map[string]any{
				"active": true, "scope": "read write", "client_id": "shop", "token_type": "Bearer",
				"sub": `a"b\c`, "iss": h.URL, "sid": g.Session.String(), "tier": "gold",
			} {
				if got[name] != want {
					t.Errorf("%s: %v, want %v", name, got[name], want)
				}
			}
			if aud, _ := got["aud"].([]any); len(aud) != 1 || aud[0] != h.URL {
				t.Errorf("aud: %v", got["aud"])
			}
			if got["exp"].(float64)-got["iat"].(float64) != 300 || len(got["jti"].(string)) != 22 {
				t.Errorf("exp, iat or jti: %v", got)
			}

			// A refresh token is active to its own client and to admins alone, and
			// has no token_type.
			h.AddClient(t, rescind.Client{ID: "shop", Format: format})
			own := h.AddClient(t, rescind.Client{ID: "shop", Format: format, Roles: []rescind.Role{rescind.RoleIntrospect}})
			for _, by := range []rescindtest.Credentials{own, h.Admin} {
				a := h.introspect(g.RefreshToken.Reveal(), by)
				if a.member(t, "active") != true || a.member(t, "token_type") != nil || a.member(t, "jti") != nil {
					t.Errorf("refresh token, asked by %s: %s", by.ID, a.body)
				}
			}
			if a := h.introspect(g.RefreshToken.Reveal(), h.App); a.body != `{"active":false}` {
				t.Errorf("another client's refresh token: %s", a.body)
			}
		})
	}
}

func TestIntrospectionHidesOtherAudiences(t *testing.T) {
	h := start(t)
	shop := h.AddClient(t, rescind.Client{ID: "shop", Audiences: []string{"https://shop"}, Roles: []rescind.Role{rescind.RoleIntrospect}})
	g := h.Login(t, rescind.Login{Subject: "alice", Audience: []string{"https://bank"}})
	for _, by := range []rescindtest.Credentials{shop, h.App} {
		if a := h.introspect(g.AccessToken.Reveal(), by).want(t, 200); a.body != `{"active":false}` {
			t.Errorf("%s sees %s", by.ID, a.body)
		}
	}
	if a := h.introspect(g.AccessToken.Reveal(), h.Admin); a.member(t, "active") != true {
		t.Errorf("admin sees %s", a.body)
	}
}

func TestRevocationEndpoint(t *testing.T) {
	h := start(t)
	mine := h.AddClient(t, rescind.Client{ID: "mine"})
	h.AddClient(t, rescind.Client{ID: "spa", Public: true})
	foreign := h.Login(t, rescind.Login{Subject: "alice"})

	// RFC 7009 section 2.2: an invalid token is no error.
	for _, token := range []string{"x", "rsr_x", "\x00", strings.Repeat("a", 20<<10), flip(foreign.AccessToken.Reveal())} {
		if a := h.do("POST", "/oauth/revoke", basic(mine), form("token", token)).want(t, 200); a.body != "" {
			t.Fatalf("body %q", a.body)
		}
	}
	// Another client's token is refused and lives on.
	for _, token := range []rescind.Secret{foreign.AccessToken, foreign.RefreshToken} {
		h.do("POST", "/oauth/revoke", basic(mine), form("token", token.Reveal())).oauthError(t, 400, "invalid_grant")
		h.do("POST", "/oauth/revoke", form("client_id", "spa", "token", token.Reveal())).oauthError(t, 400, "invalid_grant")
	}
	if a := h.introspect(foreign.AccessToken.Reveal(), h.App); a.member(t, "active") != true {
		t.Fatal("a foreign client ended it")
	}
	// Hints are ignored, wrong ones and unknown ones; either token ends the session.
	for _, hint := range []string{"", "access_token", "refresh_token", "id_token", "x"} {
		for _, first := range []bool{true, false} {
			g := h.Login(t, rescind.Login{Subject: "alice", Client: "mine"})
			token := g.RefreshToken
			if first {
				token = g.AccessToken
			}
			h.do("POST", "/oauth/revoke", basic(mine), form("token", token.Reveal(), "token_type_hint", hint)).want(t, 200)
			if a := h.introspect(g.AccessToken.Reveal(), h.App); a.body != `{"active":false}` {
				t.Fatalf("hint %q: %s", hint, a.body)
			}
		}
	}
	// A public client ends its own.
	g := h.Login(t, rescind.Login{Subject: "alice", Client: "spa"})
	h.do("POST", "/oauth/revoke", form("client_id", "spa", "token", g.RefreshToken.Reveal())).want(t, 200)
	if a := h.introspect(g.AccessToken.Reveal(), h.App); a.body != `{"active":false}` {
		t.Fatal("a public client could not end its own session")
	}
	// The role revoke ends any.
	h.do("POST", "/oauth/revoke", basic(h.App), form("token", foreign.AccessToken.Reveal())).want(t, 200)
}

func TestClientAuthentication(t *testing.T) {
	h := start(t)
	// RFC 6749 section 2.3.1 encodes both parts; who forgets it is understood too.
	const secret = "p~4ss:w!ord/&=1234567890-1234567890"
	odd := rescind.Client{ID: "odd", Roles: []rescind.Role{rescind.RoleIntrospect}}
	if err := odd.SetSecret(secret); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Authority.AddClient(t.Context(), odd, false, ""); err != nil {
		t.Fatal(err)
	}
	cred := rescindtest.Credentials{ID: "odd", Secret: secret}
	raw := func(id, secret string) edit { return func(r *http.Request) { r.SetBasicAuth(id, secret) } }
	for _, c := range []struct {
		name   string
		edits  []edit
		status int
		word   string
	}{
		{"basic, form-encoded", []edit{basic(cred), form("token", "x")}, 200, ""},
		{"basic, not encoded", []edit{raw("odd", secret), form("token", "x")}, 200, ""},
		{"in the form", []edit{form("token", "x", "client_id", "odd", "client_secret", secret)}, 200, ""},
		{"basic and the same id in the form", []edit{basic(cred), form("token", "x", "client_id", "odd")}, 200, ""},
		{"basic and another id in the form", []edit{basic(cred), form("token", "x", "client_id", "app")}, 400, "invalid_request"},
		{"two ways at once", []edit{basic(cred), form("token", "x", "client_id", "odd", "client_secret", secret)}, 400, "invalid_request"},
		{"two ways at once, one wrong", []edit{basic(cred), form("token", "x", "client_secret", "no")}, 400, "invalid_request"},
		{"two headers", []edit{header("Authorization", "Basic b2RkOng=", "Basic b2RkOnk="), form("token", "x")}, 400, "invalid_request"},
		{"nothing", []edit{form("token", "x")}, 401, "invalid_client"},
		{"id alone", []edit{form("token", "x", "client_id", "odd")}, 401, "invalid_client"},
		{"secret alone", []edit{form("token", "x", "client_secret", secret)}, 400, "invalid_request"},
		{"wrong secret", []edit{raw("odd", "wrong"), form("token", "x")}, 401, "invalid_client"},
		{"wrong secret in the form", []edit{form("token", "x", "client_id", "odd", "client_secret", "wrong")}, 401, "invalid_client"},
		{"unknown client", []edit{raw("nobody", secret), form("token", "x")}, 401, "invalid_client"},
		{"empty secret", []edit{raw("odd", ""), form("token", "x")}, 401, "invalid_client"},
		{"NUL", []edit{raw("odd%00", secret), form("token", "x")}, 401, "invalid_client"},
		{"no base64", []edit{header("Authorization", "Basic !!!"), form("token", "x")}, 401, "invalid_client"},
		{"no colon", []edit{header("Authorization", "Basic b2Rk"), form("token", "x")}, 401, "invalid_client"},
		{"other scheme", []edit{header("Authorization", "Digest b2Rk"), form("token", "x")}, 401, "invalid_client"},
		{"a bearer token", []edit{bearer("x"), form("token", "x")}, 401, "invalid_client"},
		{"an assertion", []edit{form("token", "x", "client_id", "odd", "client_assertion", "x", "client_assertion_type", "y")}, 401, "invalid_client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{h.Server, t}
			a := h.do("POST", "/oauth/introspect", c.edits...)
			if c.word == "" {
				a.want(t, c.status)
				return
			}
			a.oauthError(t, c.status, c.word)
			if c.status == 401 {
				a.challenge(t, "Basic ")
			}
		})
	}
	// /v1 takes Basic only.
	h.do("GET", "/v1/sessions", basic(h.App)).want(t, 200)
	h.do("GET", "/v1/sessions").problem(t, 401, "invalid_client").challenge(t, "Basic ")
	h.do("GET", "/v1/sessions?client_id=app&client_secret="+url.QueryEscape(h.App.Secret)).problem(t, 400, "invalid_request")
}

func TestPublicClientsActOnTheirOwn(t *testing.T) {
	h := start(t)
	h.AddClient(t, rescind.Client{ID: "spa", Public: true})
	g := h.Login(t, rescind.Login{Subject: "alice", Client: "spa"})
	next := grantOf(t, h.do("POST", "/oauth/token", form("client_id", "spa", "grant_type", "refresh_token", "refresh_token", g.RefreshToken.Reveal())).want(t, 200))
	// It can prove nothing, so it cannot ask about tokens.
	h.do("POST", "/oauth/introspect", form("client_id", "spa", "token", next.AccessToken.Reveal())).oauthError(t, 401, "invalid_client")
	// A secret of a public client is a wrong one.
	h.do("POST", "/oauth/token", form("client_id", "spa", "client_secret", "x", "grant_type", "refresh_token", "refresh_token", next.RefreshToken.Reveal())).oauthError(t, 401, "invalid_client")
	h.do("POST", "/v1/logout", bearer(next.AccessToken)).want(t, 200)
	h.do("POST", "/oauth/token", form("client_id", "spa", "grant_type", "refresh_token", "refresh_token", next.RefreshToken.Reveal())).oauthError(t, 400, "invalid_grant")
}

func TestMetadataIsOfRFC8414(t *testing.T) {
	for _, c := range []struct{ issuer, path, base string }{
		{"", "", ""},
		{"https://login.example.com", "", "https://login.example.com"},
		{"https://login.example.com/", "", "https://login.example.com"},
		{"https://example.com/auth/one", "/auth/one", "https://example.com/auth/one"},
		{"https://example.com/auth/", "/auth", "https://example.com/auth"},
	} {
		t.Run(c.issuer, func(t *testing.T) {
			h := start(t, func(s *rescindtest.Settings) {
				if c.issuer != "" {
					s.Config.Issuer = c.issuer
				}
			})
			issuer, base := c.issuer, c.base
			if issuer == "" {
				issuer, base = h.URL, h.URL
			}
			// The suite's description knows only the path without an issuer's.
			a := h.do("GET", "/.well-known/oauth-authorization-server").want(t, 200)
			if c.path != "" {
				res, err := direct.Get(h.URL + "/.well-known/oauth-authorization-server" + c.path)
				if err != nil {
					t.Fatal(err)
				}
				if res.Body.Close(); res.StatusCode != 200 {
					t.Fatalf("status %d behind the issuer's path", res.StatusCode)
				}
			}
			want := `{"issuer":"` + issuer + `","token_endpoint":"` + base + `/oauth/token",` +
				`"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","none"],` +
				`"revocation_endpoint":"` + base + `/oauth/revoke",` +
				`"revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","none"],` +
				`"introspection_endpoint":"` + base + `/oauth/introspect",` +
				`"introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"],` +
				`"jwks_uri":"` + base + `/.well-known/jwks.json","grant_types_supported":["refresh_token"],"response_types_supported":[]}`
			if a.body != want {
				t.Fatalf("metadata\n%s\nwant\n%s", a.body, want)
			}
		})
	}
}

func TestJWKSHoldsPublicPartsOnly(t *testing.T) {
	h := start(t)
	a := h.do("GET", "/.well-known/jwks.json").want(t, 200)
	if cc := a.header.Get("Cache-Control"); cc != "public, max-age=300" {
		t.Errorf("Cache-Control %q", cc)
	}
	var set struct{ Keys []map[string]any }
	a.into(t, &set)
	if len(set.Keys) == 0 {
		t.Fatal("no keys")
	}
	for _, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[private] != nil {
				t.Fatalf("a private member %s", private)
			}
		}
	}
}

func TestOptionsThatContradictThemselvesAreRefused(t *testing.T) {
	h := start(t)
	for name, o := range map[string]httpapi.Options{
		"rule name":          {Rules: map[string]httpapi.Rule{"a/b": {}}},
		"rule scope":         {Rules: map[string]httpapi.Rule{"a": {Scope: `a"b`}}},
		"rule cookie":        {Rules: map[string]httpapi.Rule{"a": {Cookie: "a b"}}},
		"rule audience":      {Rules: map[string]httpapi.Rule{"a": {Audience: []string{""}}}},
		"any origin":         {CORSOrigins: []string{"*"}},
		"null origin":        {CORSOrigins: []string{"null"}},
		"origin with a path": {CORSOrigins: []string{"https://a.example/"}},
		"origin in capitals": {CORSOrigins: []string{"https://A.example"}},
		"origin pattern":     {CORSOrigins: []string{"https://*.example"}},
		"negative window":    {RateLimit: httpapi.RateLimit{Window: -1}},
		"negative time-out":  {BodyTimeout: -1},
	} {
		if _, err := httpapi.New(h.Authority, o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := httpapi.New(nil, httpapi.Options{}); err == nil {
		t.Error("no Authority is accepted")
	}
}
