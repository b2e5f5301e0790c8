package httpapi_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/rescindtest"
)

func TestSessionIsCreatedListedShownAndEnded(t *testing.T) {
	h := start(t)
	a := h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"alice","audience":"https://shop","scope":"read  write read",
		"claims":{"tier":"gold"},"device":{"name":"phone","user_agent":"x","ip":"192.0.2.1"},"expires_in":60,"session_expires_in":3600,"idle_timeout":600}`)).want(t, 201)
	a.notStored(t)
	g := grantOf(t, a)
	if g.TokenType != "Bearer" || g.ExpiresIn < 58 || g.ExpiresIn > 60 || g.RefreshTokenTimeout < 598 || g.RefreshTokenTimeout > 600 || g.AuthorizationEnds < 3598 || g.Scope != "read write" {
		t.Fatalf("%+v", g)
	}
	for _, secret := range []rescind.Secret{g.AccessToken, g.RefreshToken} {
		if len(secret) < 40 {
			t.Fatal("a token is redacted on its way to its client")
		}
	}
	show := h.do("GET", "/v1/sessions/"+g.Session.String(), basic(h.App)).want(t, 200)
	var v rescind.View
	show.into(t, &v)
	if v.State != "active" || v.Subject != "alice" || v.Client != "app" || v.Device.Name != "phone" || string(v.Claims) != `{"tier":"gold"}` || len(v.Tokens) != 1 {
		t.Fatalf("%+v", v)
	}
	var page rescind.SessionPage
	list := h.do("GET", "/v1/sessions?subject=alice&state=active", basic(h.App)).want(t, 200)
	list.into(t, &page)
	if len(page.Sessions) != 1 || page.Sessions[0].ID != g.Session {
		t.Fatalf("%+v", page)
	}
	for _, text := range []string{show.body, list.body} {
		if strings.Contains(text, g.AccessToken.Reveal()) || strings.Contains(text, g.RefreshToken.Reveal()) {
			t.Fatal("a list or a view holds a token")
		}
	}
	var receipt rescind.Receipt
	h.do("DELETE", "/v1/sessions/"+g.Session.String()+"?subject=alice", basic(h.App)).want(t, 200).into(t, &receipt)
	if !receipt.Changed || receipt.Position == 0 || receipt.Epoch == "" || receipt.Session != g.Session {
		t.Fatalf("%+v", receipt)
	}
	h.do("DELETE", "/v1/sessions/"+g.Session.String(), basic(h.App)).want(t, 200).into(t, &receipt)
	if receipt.Changed {
		t.Fatal("ended twice")
	}
	h.do("GET", "/v1/sessions/"+g.Session.String(), basic(h.App)).want(t, 200).into(t, &v)
	if v.State != "ended" || v.EndReason != rescind.ReasonRevoked {
		t.Fatalf("%+v", v)
	}
}

func TestListsGoOnWhereThePageBeforeEnded(t *testing.T) {
	h := start(t)
	want := map[rescind.SessionID]bool{}
	for range 5 {
		want[h.Login(t, rescind.Login{Subject: "alice"}).Session] = true
	}
	h.Login(t, rescind.Login{Subject: "bob"})
	for after, n := "", 0; ; n++ {
		var page rescind.SessionPage
		h.do("GET", "/v1/sessions?subject=alice&limit=2&after="+after, basic(h.App)).want(t, 200).into(t, &page)
		for _, v := range page.Sessions {
			if !want[v.ID] {
				t.Fatalf("%s is listed twice, or nobody's", v.ID)
			}
			delete(want, v.ID)
		}
		if after = page.Next; after == "" {
			break
		}
		if n > 5 {
			t.Fatal("no end")
		}
	}
	if len(want) != 0 {
		t.Fatalf("%d are missing", len(want))
	}
	// Events too, newest first.
	seen := 0
	for after := ""; ; {
		var page rescind.EventPage
		h.do("GET", "/v1/events?kind=session.created&client_id=app&since=2020-01-01T00:00:00Z&until=2200-01-01T00:00:00%2B02:00&limit=4&after="+after, basic(h.Admin)).want(t, 200).into(t, &page)
		seen += len(page.Events)
		if after = page.Next; after == "" {
			break
		}
	}
	if seen != 6 {
		t.Fatalf("%d events", seen)
	}
	if a := h.do("GET", "/v1/events?subject=nobody", basic(h.Admin)).want(t, 200); a.body != `{"events":[]}` {
		t.Fatal(a.body)
	}
}

func TestRevocationSelectors(t *testing.T) {
	h := start(t)
	login := func() rescind.Grant { return h.Login(t, rescind.Login{Subject: "alice"}) }
	post := func(text string, status int) rescind.Receipt {
		t.Helper()
		var r rescind.Receipt
		h.do("POST", "/v1/revocations", basic(h.Admin), jsonText(text)).want(t, status).into(t, &r)
		return r
	}
	kept, ended := login(), login()
	if r := post(`{"subject":"alice","dry_run":true}`, 200); r.Sessions == nil || *r.Sessions != 2 || r.Changed || !r.Session.IsZero() {
		t.Fatalf("%+v", r)
	}
	// A token does not show its session; the receipt names it.
	if r := post(`{"token":"`+ended.RefreshToken.Reveal()+`","dry_run":true}`, 200); r.Sessions == nil || *r.Sessions != 1 || r.Session != ended.Session {
		t.Fatalf("%+v", r)
	}
	h.do("GET", "/forward-auth", bearer(ended.AccessToken)).want(t, 200)
	post(`{"subject":"alice","except_session":"`+kept.Session.String()+`"}`, 200)
	h.do("GET", "/forward-auth", bearer(kept.AccessToken)).want(t, 200)
	h.do("GET", "/forward-auth", bearer(ended.AccessToken)).want(t, 401)
	// 202 is the same receipt, and the same certainty.
	if r := post(`{"subject":"alice","wait":false}`, 202); !r.Changed {
		t.Fatalf("%+v", r)
	}
	h.do("GET", "/forward-auth", bearer(kept.AccessToken)).want(t, 401)
	post(`{"subject":"alice","wait":true}`, 200)
}

func TestLogout(t *testing.T) {
	h := start(t)
	h.AddClient(t, rescind.Client{ID: "kiosk", NoLogoutAll: true})
	g := h.Login(t, rescind.Login{Subject: "alice"})
	for range 2 { // ended already is as good
		h.do("POST", "/v1/logout", bearer(g.AccessToken)).want(t, 200)
		h.do("POST", "/v1/logout", jsonText(`{"refresh_token":"`+g.RefreshToken.Reveal()+`"}`)).want(t, 200)
		h.do("POST", "/v1/logout", bearer(g.RefreshToken), jsonText(`{}`)).want(t, 200)
	}
	h.do("POST", "/v1/logout").problem(t, 401, "invalid_token").challenge(t, "Bearer ")
	if c := h.do("POST", "/v1/logout").header.Get("WWW-Authenticate"); strings.Contains(c, "error") {
		t.Fatalf("an error code for who has sent nothing: %s", c)
	}
	kiosk := h.Login(t, rescind.Login{Subject: "alice", Client: "kiosk"})
	h.do("POST", "/v1/logout", bearer(kiosk.AccessToken), jsonText(`{"all":true}`)).problem(t, 403, "forbidden")
	h.do("GET", "/forward-auth", bearer(kiosk.AccessToken)).want(t, 200)
	h.do("POST", "/v1/logout", bearer(kiosk.AccessToken)).want(t, 200)
}

func TestExpiredTokenStillLogsOut(t *testing.T) {
	c := newClock()
	h := start(t, func(s *rescindtest.Settings) { s.Now = c.now })
	g := h.Login(t, rescind.Login{Subject: "alice"})
	c.add(2 * rescind.DefaultAccessLifetime)
	h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 401)
	h.do("POST", "/v1/logout", bearer(g.AccessToken), jsonText(`{"all":true}`)).problem(t, 401, "invalid_token")
	h.do("POST", "/v1/logout", bearer(g.AccessToken)).want(t, 200)
	h.refresh(g.RefreshToken.Reveal(), h.App).oauthError(t, 400, "invalid_grant")
}

// A monitor's questions keep nobody logged in; a service's do.
func TestTouchFalseIsNoActivity(t *testing.T) {
	for touch, alive := range map[string]bool{"true": true, "false": false} {
		c := newClock()
		h := start(t, func(s *rescindtest.Settings) { s.Now = c.now })
		g := h.Login(t, rescind.Login{Subject: "alice", AccessLifetime: rescind.MaxAccessLifetime, IdleTimeout: rescind.MaxAccessLifetime / 4})
		for range 3 {
			c.add(rescind.MaxAccessLifetime / 8)
			h.do("POST", "/oauth/introspect", basic(h.App), form("token", g.AccessToken.Reveal(), "touch", touch)).want(t, 200)
		}
		got := h.introspect(g.AccessToken.Reveal(), h.App).want(t, 200).member(t, "active")
		if got != alive {
			t.Errorf("touch=%s: active %v", touch, got)
		}
	}
}

func TestConcurrentSessionsAreLimited(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.Config.MaxSessions = 1 })
	h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"alice"}`)).want(t, 201)
	h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"alice"}`)).problem(t, 409, "limit")
}

func TestClientsAreManaged(t *testing.T) {
	h := start(t)
	var made struct {
		Client rescind.Client
		Secret string `json:"client_secret"`
	}
	a := h.do("POST", "/v1/clients", basic(h.Admin), jsonText(`{"id":"shop","name":"Shop","roles":["issue"],"access_token_format":"opaque","grace":"20s"}`)).want(t, 201)
	a.into(t, &made)
	if made.Client.ID != "shop" || made.Client.CreatedAt.IsZero() || made.Client.Format != rescind.FormatOpaque || len(made.Secret) < rescind.MinSecret {
		t.Fatal(a.body)
	}
	shop := rescindtest.Credentials{ID: "shop", Secret: made.Secret}
	h.do("GET", "/v1/sessions", basic(shop)).want(t, 200)
	list := h.do("GET", "/v1/clients", basic(h.Admin)).want(t, 200)
	for _, text := range []string{a.body, list.body} {
		if strings.Contains(text, "hash") {
			t.Fatal("the hash of a secret is shown")
		}
	}
	if strings.Contains(list.body, "client_secret") {
		t.Fatal("a secret is shown again")
	}
	// A chosen secret is not echoed; the old one is dead.
	chosen := strings.Repeat("s", 40)
	if a := h.do("POST", "/v1/clients", basic(h.Admin), jsonText(`{"id":"shop","replace":true,"roles":["issue"],"secret":"`+chosen+`"}`)).want(t, 201); strings.Contains(a.body, chosen) {
		t.Fatal("the secret is echoed")
	}
	h.do("GET", "/v1/sessions", basic(shop)).want(t, 401)
	shop.Secret = chosen
	h.do("GET", "/v1/sessions", basic(shop)).want(t, 200)
	if a := h.do("POST", "/v1/clients", basic(h.Admin), jsonText(`{"id":"spa","public":true}`)).want(t, 201); strings.Contains(a.body, "client_secret") {
		t.Fatal("a public client has a secret")
	}
	g := h.Login(t, rescind.Login{Subject: "alice", Client: "shop"})
	h.do("DELETE", "/v1/clients/shop", basic(h.Admin)).want(t, 200)
	h.do("GET", "/v1/sessions", basic(shop)).want(t, 401)
	h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 401)
	h.do("DELETE", "/v1/clients/shop", basic(h.Admin)).problem(t, 404, "not_found")
}

func TestKeysRotate(t *testing.T) {
	h := start(t)
	var list struct{ Keys []rescind.KeyInfo }
	h.do("GET", "/v1/keys", basic(h.Admin)).want(t, 200).into(t, &list)
	n := len(list.Keys)
	for _, use := range []string{"sig", "mac"} {
		h.do("POST", "/v1/keys/rotate", basic(h.Admin), jsonText(`{"use":"`+use+`"}`)).want(t, 200).into(t, &list)
		if len(list.Keys) < n {
			t.Fatalf("%d keys after rotating %s, %d before", len(list.Keys), use, n)
		}
	}
}

func TestErasureForgets(t *testing.T) {
	h := start(t)
	g := h.Login(t, rescind.Login{Subject: "alice"})
	h.Login(t, rescind.Login{Subject: "bob"})
	var sum struct{ Sessions, Events int }
	h.do("POST", "/v1/erasures", basic(h.Admin), jsonText(`{"subject":"alice"}`)).want(t, 200).into(t, &sum)
	if sum.Sessions != 1 || sum.Events < 2 {
		t.Fatalf("%+v", sum)
	}
	if a := h.do("GET", "/v1/events", basic(h.Admin)).want(t, 200); strings.Contains(a.body, "alice") || !strings.Contains(a.body, "bob") {
		t.Fatal("not forgotten, or forgotten too much")
	}
	h.do("GET", "/v1/sessions/"+g.Session.String(), basic(h.App)).want(t, 404)
	h.do("POST", "/v1/logout", bearer(g.AccessToken)).want(t, 200) // genuine, and gone
}

func TestBackupIsWholeOrCut(t *testing.T) {
	var o outage
	h := start(t, o.wrap)
	a := h.do("GET", "/v1/backup", basic(h.Admin)).want(t, 200)
	if a.header.Get("Content-Type") != "application/x-tar" {
		t.Fatal(a.header)
	}
	a.notStored(t)
	files := 0
	for tr := tar.NewReader(strings.NewReader(a.body)); ; files++ {
		if _, err := tr.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if files == 0 {
		t.Fatal("an empty archive")
	}
	// One that fails half-way does not look like a short one that succeeded.
	o.cut.Store(true)
	r, err := http.NewRequest("GET", h.URL+"/v1/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	basic(h.Admin)(r)
	res, err := direct.Do(r)
	if err == nil {
		defer res.Body.Close()
		var b []byte
		if b, err = io.ReadAll(res.Body); err == nil {
			t.Fatalf("a cut backup ends like a whole one, after %d bytes", len(bytes.TrimSpace(b)))
		}
	}
}

// TestBackendIssuesForItsPublicClientOnly: a single-page application cannot log
// anybody in, and its backend need not be an admin for that.
func TestBackendIssuesForItsPublicClientOnly(t *testing.T) {
	h := start(t)
	admin := basic(h.Admin)
	h.do("POST", "/v1/clients", admin, jsonText(`{"id":"spa","public":true}`)).want(t, 201)
	h.do("POST", "/v1/clients", admin, jsonText(`{"id":"other-spa","public":true}`)).want(t, 201)
	for _, bad := range []string{
		`{"id":"x","issues_for":["spa"]}`,
		`{"id":"x","public":true,"issues_for":["spa"]}`,
		`{"id":"x","roles":["issue"],"issues_for":["s p a"]}`,
	} {
		h.do("POST", "/v1/clients", admin, jsonText(bad)).want(t, 400)
	}
	var made struct {
		Secret string `json:"client_secret"`
	}
	h.do("POST", "/v1/clients", admin, jsonText(`{"id":"backend","roles":["issue"],"issues_for":["spa"]}`)).want(t, 201).into(t, &made)
	backend := basic(rescindtest.Credentials{ID: "backend", Secret: made.Secret})

	g := grantOf(t, h.do("POST", "/v1/sessions", backend, jsonText(`{"subject":"alice","client_id":"spa"}`)).want(t, 201))
	h.do("GET", "/v1/sessions/"+g.Session.String(), backend).want(t, 200)
	h.do("GET", "/v1/sessions?client_id=spa&subject=alice", backend).want(t, 200)
	h.do("POST", "/oauth/token", form("grant_type", "refresh_token", "client_id", "spa", "refresh_token", g.RefreshToken.Reveal())).want(t, 200)

	h.do("POST", "/v1/sessions", backend, jsonText(`{"subject":"alice","client_id":"other-spa"}`)).want(t, 403)
	h.do("POST", "/v1/sessions", backend, jsonText(`{"subject":"alice","client_id":"app"}`)).want(t, 403)
	h.do("GET", "/v1/sessions?client_id=app", backend).want(t, 403)
	h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"alice","client_id":"spa"}`)).want(t, 403)
}
