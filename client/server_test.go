package client_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/rescindtest"
)

var (
	_ guard.Checker  = (*client.Client)(nil)
	_ guard.Sessions = (*client.Client)(nil)
	_ guard.Ledger   = (*client.Client)(nil)
)

func dial(t testing.TB, s *rescindtest.Server, as rescindtest.Credentials) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Server: s.URL, ID: as.ID, Secret: rescind.Secret(as.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func is(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRemoteIsAsTheAuthorityIs takes one session through its whole life.
func TestRemoteIsAsTheAuthorityIs(t *testing.T) {
	s := rescindtest.Start(t)
	c, ctx := dial(t, s, s.App), t.Context()
	ok(t, c.Ready(ctx))
	before := time.Now().Truncate(time.Second)
	g, err := c.Issue(ctx, rescind.Login{
		Subject: "alice", Scope: "read write", Audience: []string{s.URL, "https://api.example.com"},
		Claims: []byte(`{"plan":"gold","n":[1,2]}`), Device: rescind.Device{Name: "phone"},
		AccessLifetime: time.Minute, SessionLifetime: 3 * time.Hour, IdleTimeout: time.Hour,
	})
	ok(t, err)
	if g.ExpiresIn < 58 || g.ExpiresIn > 60 || g.RefreshTokenTimeout < 3590 || g.AuthorizationEnds < 10790 || g.Scope != "read write" {
		t.Errorf("%+v", g)
	}

	a, err := c.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Scope: "write"})
	ok(t, err)
	local, err := s.Authority.Check(ctx, g.AccessToken.Reveal(), rescind.Want{})
	ok(t, err)
	if a.Session != local.Session || a.Token != local.Token || a.Subject != "alice" || a.Client != "app" || a.Scope != local.Scope ||
		!slices.Equal(a.Audience, local.Audience) || !a.IssuedAt.Equal(local.IssuedAt) || !a.ExpiresAt.Equal(local.ExpiresAt) ||
		string(a.Claims) != `{"n":[1,2],"plan":"gold"}` || a.IssuedAt.Before(before) {
		t.Errorf("remote %+v\nlocal  %+v", a, local)
	}
	for want, w := range map[error]rescind.Want{
		rescind.ErrScope:    {Scope: "read admin"},
		rescind.ErrAudience: {Audience: []string{"https://other.example.com"}},
	} {
		a, err := c.Check(ctx, g.AccessToken.Reveal(), w)
		is(t, "check", err, want)
		if a.Subject != "" {
			t.Errorf("%v comes with %+v", err, a)
		}
	}
	_, err = c.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Audience: []string{"https://api.example.com"}})
	ok(t, err)
	_, err = c.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Audience: []string{"https://other.example.com"}, AnyAudience: true})
	ok(t, err)

	narrow, err := c.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal(), Scope: "read"})
	ok(t, err)
	if narrow.Session != g.Session || narrow.Scope != "read" || narrow.RefreshToken == g.RefreshToken {
		t.Errorf("%+v", narrow)
	}
	again, err := c.Refresh(ctx, rescind.Refresh{Client: "app", Token: g.RefreshToken.Reveal()})
	ok(t, err)
	if again.RefreshToken != narrow.RefreshToken {
		t.Error("two successors")
	}
	_, err = c.Refresh(ctx, rescind.Refresh{Token: again.RefreshToken.Reveal(), Scope: "admin"})
	is(t, "wider scope", err, rescind.ErrScope)
	_, err = c.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal(), Client: "other"})
	is(t, "another client", err, rescind.ErrInvalid)

	v, err := c.Session(ctx, g.Session)
	ok(t, err)
	if v.Subject != "alice" || v.State != rescind.StateActive || len(v.Tokens) != 2 || v.Device.Name != "phone" || v.Generation != 1 {
		t.Errorf("%+v", v)
	}
	receipt, err := c.Logout(ctx, g.AccessToken.Reveal(), false)
	ok(t, err)
	if !receipt.Changed || receipt.Epoch == "" || receipt.Position == 0 || receipt.Session != g.Session {
		t.Errorf("%+v", receipt)
	}
	receipt, err = c.Logout(ctx, narrow.RefreshToken.Reveal(), false)
	if err != nil || receipt.Changed || receipt.Session != g.Session {
		t.Errorf("logout again: %+v %v", receipt, err)
	}
	for _, token := range []rescind.Secret{g.AccessToken, narrow.AccessToken} {
		_, err = c.Check(ctx, token.Reveal(), rescind.Want{})
		is(t, "check after logout", err, rescind.ErrInactive)
	}
	_, err = c.Refresh(ctx, rescind.Refresh{Token: narrow.RefreshToken.Reveal()})
	is(t, "refresh after logout", err, rescind.ErrInactive)
	_, err = c.Logout(ctx, narrow.AccessToken.Reveal(), true)
	is(t, "logout everywhere after logout", err, rescind.ErrInactive)
}

func TestLogoutTakesEveryTokenOfASession(t *testing.T) {
	s := rescindtest.Start(t)
	public := s.AddClient(t, rescind.Client{ID: "spa", Public: true})
	opaque := s.AddClient(t, rescind.Client{ID: "opaque", Format: rescind.FormatOpaque, Roles: []rescind.Role{rescind.RoleIssue, rescind.RoleIntrospect}})
	ctx := t.Context()
	for _, as := range []rescindtest.Credentials{s.App, public, opaque} {
		c := dial(t, s, as)
		for _, all := range []bool{false, true} {
			for name, pick := range map[string]func(rescind.Grant) rescind.Secret{
				"access":  func(g rescind.Grant) rescind.Secret { return g.AccessToken },
				"refresh": func(g rescind.Grant) rescind.Secret { return g.RefreshToken },
			} {
				g := s.Login(t, rescind.Login{Subject: "alice", Client: as.ID})
				other := s.Login(t, rescind.Login{Subject: "alice", Client: as.ID})
				refreshed, err := c.Refresh(ctx, rescind.Refresh{Token: other.RefreshToken.Reveal()})
				ok(t, err)
				_, err = c.Logout(ctx, pick(g).Reveal(), all)
				ok(t, err)
				_, err = s.Authority.Check(ctx, g.AccessToken.Reveal(), rescind.Want{})
				is(t, as.ID+" "+name, err, rescind.ErrInactive)
				_, err = s.Authority.Check(ctx, refreshed.AccessToken.Reveal(), rescind.Want{})
				if (err != nil) != all {
					t.Errorf("%s %s all=%v: the other session: %v", as.ID, name, all, err)
				}
			}
		}
	}
}

// TestRefreshTokenIsNeverAnAccessToken: introspection calls a client's own
// refresh token active, and a check must not.
func TestRefreshTokenIsNeverAnAccessToken(t *testing.T) {
	s := rescindtest.Start(t)
	g := s.Login(t, rescind.Login{Subject: "alice"})
	for _, as := range []rescindtest.Credentials{s.App, s.Admin} {
		_, err := dial(t, s, as).Check(t.Context(), g.RefreshToken.Reveal(), rescind.Want{AnyAudience: true})
		is(t, as.ID, err, rescind.ErrInactive)
	}
}

// TestClaimsCannotPoseAsMembers: a session's own claims stand beside the standard
// members, and names that differ in case alone are other names.
// A server of ours issues no such claims; an older session may have them.
func TestClaimsCannotPoseAsMembers(t *testing.T) {
	const claims = `"ACTIVE":false,"Aud":["x"],"Client_id":"x","Exp":1,"SUB":"mallory","Scope":"admin","Sid":"x"`
	c := pretend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"active":true,"scope":"read","client_id":"app","token_type":"Bearer","sub":"alice","aud":["a"],"exp":2000000000,`+
			`"iat":1900000000,"jti":"AAAAAAAAAAAAAAAAAAAAAA","sid":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",`+claims+`}`)
	})
	a, err := c.Check(t.Context(), token, rescind.Want{})
	if err != nil || a.Subject != "alice" || a.Scope != "read" || a.Client != "app" || a.Session != (rescind.SessionID{4}) || string(a.Claims) != "{"+claims+"}" {
		t.Errorf("%+v %s %v", a, a.Claims, err)
	}
	_, err = c.Check(t.Context(), token, rescind.Want{Scope: "admin"})
	is(t, "scope by claim", err, rescind.ErrScope)
}

func TestRevokeByEverySelector(t *testing.T) {
	s := rescindtest.Start(t)
	admin, ctx := dial(t, s, s.Admin), t.Context()
	shop := s.AddClient(t, rescind.Client{ID: "shop"})
	keys, err := admin.ListKeys(ctx)
	ok(t, err)
	for name, selector := range map[string]func(rescind.Grant) rescind.Selector{
		"token":   func(g rescind.Grant) rescind.Selector { return rescind.Selector{Token: g.AccessToken.Reveal()} },
		"refresh": func(g rescind.Grant) rescind.Selector { return rescind.Selector{Token: g.RefreshToken.Reveal()} },
		"session": func(g rescind.Grant) rescind.Selector { return rescind.Selector{Session: g.Session} },
		"subject": func(g rescind.Grant) rescind.Selector { return rescind.Selector{Subject: "bob"} },
		"client":  func(g rescind.Grant) rescind.Selector { return rescind.Selector{Client: shop.ID} },
		"all":     func(g rescind.Grant) rescind.Selector { return rescind.Selector{All: true} },
		"key": func(g rescind.Grant) rescind.Selector {
			i := slices.IndexFunc(keys, func(k rescind.KeyInfo) bool { return k.Use == rescind.KeyUseMAC && k.State == rescind.KeyCurrent })
			return rescind.Selector{Key: keys[i].ID}
		},
	} {
		g := s.Login(t, rescind.Login{Subject: "bob", Client: shop.ID})
		if name != "key" {
			dry, err := admin.Revoke(ctx, rescind.Revocation{Selector: selector(g), DryRun: true})
			if err != nil || !dry.DryRun || dry.Sessions == nil || *dry.Sessions < 1 {
				t.Errorf("%s: dry run: %+v %v", name, dry, err)
			}
			_, err = s.Authority.Check(ctx, g.AccessToken.Reveal(), rescind.Want{})
			ok(t, err)
		}
		r, err := admin.Revoke(ctx, rescind.Revocation{Selector: selector(g), Reason: "because of " + name})
		if err != nil || !r.Changed {
			t.Errorf("%s: %+v %v", name, r, err)
		}
		_, err = s.Authority.Check(ctx, g.AccessToken.Reveal(), rescind.Want{})
		is(t, name, err, rescind.ErrInactive)
		_, err = s.Authority.Refresh(ctx, rescind.Refresh{Client: shop.ID, Token: g.RefreshToken.Reveal()})
		is(t, name, err, rescind.ErrInactive)
	}
	page, err := admin.Events(ctx, rescind.EventQuery{Subject: "bob", Kind: rescind.EventSessionEnded, Limit: 2})
	if err != nil || len(page.Events) != 2 || page.Events[0].Actor != "admin" {
		t.Errorf("%+v %v", page, err)
	}

	keep, end := s.Login(t, rescind.Login{Subject: "eve"}), s.Login(t, rescind.Login{Subject: "eve"})
	_, err = admin.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "eve", ExceptSession: keep.Session}})
	ok(t, err)
	_, err = s.Authority.Check(ctx, keep.AccessToken.Reveal(), rescind.Want{})
	ok(t, err)
	_, err = s.Authority.Check(ctx, end.AccessToken.Reveal(), rescind.Want{})
	is(t, "all but one", err, rescind.ErrInactive)
}

func TestErrorsMapBack(t *testing.T) {
	s := rescindtest.Start(t, func(set *rescindtest.Settings) { set.Config.MaxSessions = 1 })
	ctx := t.Context()
	c, admin := dial(t, s, s.App), dial(t, s, s.Admin)
	nobody := dial(t, s, rescindtest.Credentials{ID: "app", Secret: rescind.NewSecret().Reveal()})
	other := dial(t, s, s.AddClient(t, rescind.Client{ID: "other", Roles: []rescind.Role{rescind.RoleIssue}}))
	g, err := c.Issue(ctx, rescind.Login{Subject: "alice"})
	ok(t, err)
	at, rt := g.AccessToken.Reveal(), g.RefreshToken.Reveal()

	_, err = c.Issue(ctx, rescind.Login{Subject: "alice"})
	is(t, "one session more", err, rescind.ErrLimit)
	_, err = c.Issue(ctx, rescind.Login{})
	is(t, "no subject", err, rescind.ErrInvalid)
	_, err = c.Issue(ctx, rescind.Login{Subject: "bob", Client: "other"})
	is(t, "another client's login", err, rescind.ErrForbidden)
	_, err = c.Issue(ctx, rescind.Login{Subject: "bob", AccessLifetime: time.Millisecond})
	is(t, "part of a second", err, rescind.ErrInvalid)
	_, err = c.Issue(ctx, rescind.Login{Subject: "bob", Replaces: g.Session})
	is(t, "nothing to replace", err, rescind.ErrNotFound)
	_, err = nobody.Issue(ctx, rescind.Login{Subject: "bob"})
	is(t, "wrong secret", err, rescind.ErrForbidden)

	_, err = nobody.Check(ctx, at, rescind.Want{})
	is(t, "check with a wrong secret", err, rescind.ErrUnavailable)
	_, err = other.Check(ctx, at, rescind.Want{})
	is(t, "check without the role", err, rescind.ErrUnavailable)
	if errors.Is(err, rescind.ErrInactive) {
		t.Error("and says that the token is bad")
	}

	_, err = other.Refresh(ctx, rescind.Refresh{Token: rt})
	is(t, "another client's refresh token", err, rescind.ErrInactive)
	_, err = nobody.Refresh(ctx, rescind.Refresh{Token: rt})
	is(t, "refresh with a wrong secret", err, rescind.ErrForbidden)
	_, err = other.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Token: rt}})
	is(t, "another client's token", err, rescind.ErrForeign)
	_, err = other.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: g.Session}})
	is(t, "another client's session", err, rescind.ErrNotFound)
	_, err = other.Session(ctx, g.Session)
	is(t, "another client's session", err, rescind.ErrNotFound)
	_, err = other.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "alice"}})
	is(t, "subject without the role", err, rescind.ErrForbidden)
	_, err = c.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{All: true}})
	is(t, "all without the role", err, rescind.ErrForbidden)
	_, err = c.Revoke(ctx, rescind.Revocation{})
	is(t, "no selector", err, rescind.ErrInvalid)
	_, err = c.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: g.Session}, OwnerSubject: "alice"})
	is(t, "an owner", err, rescind.ErrInvalid)
	_, err = c.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Token: "rsr_forged"}})
	is(t, "a forged token", err, rescind.ErrInactive)
	_, err = c.EndSession(ctx, g.Session, "bob")
	is(t, "another subject's session", err, rescind.ErrNotFound)
	_, err = c.Logout(ctx, "rsr_forged", false)
	is(t, "logout by a forged token", err, rescind.ErrInactive)
	_, err = c.Logout(ctx, "forged", false)
	is(t, "logout by a forged token", err, rescind.ErrInactive)
	_, _, err = admin.AddClient(ctx, rescind.Client{ID: "app"}, "", false)
	is(t, "a client that is there", err, rescind.ErrConflict)
	_, err = admin.RemoveClient(ctx, "nobody")
	is(t, "no such client", err, rescind.ErrNotFound)
	_, err = c.Clients(ctx)
	is(t, "clients without the role", err, rescind.ErrForbidden)
	_, err = c.Events(ctx, rescind.EventQuery{})
	is(t, "events without the role", err, rescind.ErrForbidden)
	_, err = admin.Sessions(ctx, rescind.SessionQuery{State: "odd"})
	is(t, "an odd state", err, rescind.ErrInvalid)
	is(t, "backup without the role", c.Backup(ctx, io.Discard), rescind.ErrForbidden)

	// What cannot be a token is not sent.
	for _, token := range []string{"", "a b", "a\x00b", "a\r\nb", "é", string(bytes.Repeat([]byte("a"), rescind.MaxToken+1))} {
		_, err1 := c.Check(ctx, token, rescind.Want{})
		_, err2 := c.Refresh(ctx, rescind.Refresh{Token: token})
		_, err3 := c.Logout(ctx, token, false)
		for _, err := range []error{err1, err2, err3} {
			is(t, fmt.Sprintf("%.9q", token), err, rescind.ErrMalformed)
		}
	}
	_, err = c.Check(ctx, at, rescind.Want{})
	ok(t, err)
}

func TestListsAndAdministration(t *testing.T) {
	s := rescindtest.Start(t)
	admin, ctx := dial(t, s, s.Admin), t.Context()

	made, secret, err := admin.AddClient(ctx, rescind.Client{ID: "shop", Name: "Shop", Roles: []rescind.Role{rescind.RoleIssue}, Grace: rescind.Duration(5 * time.Second)}, "", false)
	if err != nil || made.ID != "shop" || made.Window() != 5*time.Second || len(secret) < rescind.MinSecret || made.SecretHash != nil {
		t.Fatalf("%+v %v", made, err)
	}
	shop := dial(t, s, rescindtest.Credentials{ID: "shop", Secret: secret.Reveal()})
	for range 5 {
		_, err := shop.Issue(ctx, rescind.Login{Subject: "alice"})
		ok(t, err)
	}
	chosen := rescind.NewSecret()
	_, secret, err = admin.AddClient(ctx, rescind.Client{ID: "shop"}, chosen, true)
	if err != nil || secret != chosen {
		t.Errorf("replace: %v", err)
	}
	_, secret, err = admin.AddClient(ctx, rescind.Client{ID: "spa", Public: true}, "", false)
	if err != nil || secret != "" {
		t.Errorf("public: %v", err)
	}
	clients, err := admin.Clients(ctx)
	if err != nil || len(clients) != 4 {
		t.Errorf("%v %v", clients, err)
	}

	var ids []rescind.SessionID
	q := rescind.SessionQuery{Subject: "alice", Client: "shop", State: rescind.StateActive, Limit: 2}
	for {
		page, err := admin.Sessions(ctx, q)
		ok(t, err)
		for _, v := range page.Sessions {
			ids = append(ids, v.ID)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if len(ids) != 5 {
		t.Errorf("%d sessions", len(ids))
	}
	if r, err := admin.EndSession(ctx, ids[0], "alice"); err != nil || !r.Changed {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := admin.EndSession(ctx, ids[0], ""); err != nil || r.Changed {
		t.Errorf("%+v %v", r, err)
	}
	events, err := admin.Events(ctx, rescind.EventQuery{Session: ids[0].String(), Since: time.Now().Add(-time.Minute), Until: time.Now().Add(time.Minute)})
	if err != nil || len(events.Events) != 2 || events.Events[0].Kind != rescind.EventSessionEnded {
		t.Errorf("%+v %v", events, err)
	}
	events, err = admin.Events(ctx, rescind.EventQuery{Until: time.Now().Add(-time.Minute)})
	if err != nil || len(events.Events) != 0 {
		t.Errorf("%+v %v", events, err)
	}
	keys, err := admin.RotateKey(ctx, rescind.KeyUseMAC)
	ok(t, err)
	listed, err := admin.ListKeys(ctx)
	if err != nil || len(keys) != len(listed) {
		t.Errorf("%v %v %v", keys, listed, err)
	}
	if _, err := admin.RotateKey(ctx, "odd"); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("%v", err)
	}
	sum, err := admin.Erase(ctx, "alice")
	if err != nil || sum.Sessions != 5 || sum.Events < 5 {
		t.Errorf("%+v %v", sum, err)
	}
	if _, err := admin.Session(ctx, ids[1]); !errors.Is(err, rescind.ErrNotFound) {
		t.Errorf("%v", err)
	}
	r, err := admin.RemoveClient(ctx, "shop")
	if err != nil || !r.Changed {
		t.Errorf("%+v %v", r, err)
	}

	if _, can := s.Store.(rescind.Backuper); !can {
		is(t, "a store that leaves backups to its database", admin.Backup(ctx, io.Discard), rescind.ErrInvalid)
		return
	}
	var archive bytes.Buffer
	ok(t, admin.Backup(ctx, &archive))
	files := 0
	for tr := tar.NewReader(&archive); ; files++ {
		if _, err := tr.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if files == 0 {
		t.Error("an empty archive")
	}
	is(t, "a full disk", admin.Backup(ctx, fullDisk{}), errFull)
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }
