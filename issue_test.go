package rescind_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/storetest"
)

func TestIssueRefusesWhatItCannotKeep(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 256)
	for name, l := range map[string]rescind.Login{
		"no subject":         {},
		"long subject":       {Subject: long},
		"space in subject":   {Subject: "a b"},
		"NUL in subject":     {Subject: "a\x00b"},
		"unicode subject":    {Subject: "ålice"},
		"long audience":      {Subject: "a", Audience: []string{long}},
		"empty audience":     {Subject: "a", Audience: []string{""}},
		"double audience":    {Subject: "a", Audience: []string{"x", "x"}},
		"nine audiences":     {Subject: "a", Audience: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		"quote in scope":     {Subject: "a", Scope: `re"ad`},
		"long scope":         {Subject: "a", Scope: strings.Repeat("ab ", 400)},
		"claims no object":   {Subject: "a", Claims: json.RawMessage(`[1]`)},
		"claims no JSON":     {Subject: "a", Claims: json.RawMessage(`{"a":`)},
		"claims and more":    {Subject: "a", Claims: json.RawMessage(`{} {}`)},
		"registered claim":   {Subject: "a", Claims: json.RawMessage(`{"exp":1}`)},
		"escaped registered": {Subject: "a", Claims: json.RawMessage(`{"\u0065xp":1}`)},
		"cased registered":   {Subject: "a", Claims: json.RawMessage(`{"Scope":"admin"}`)},
		"double claim":       {Subject: "a", Claims: json.RawMessage(`{"a":1,"a":2}`)},
		"deep double claim":  {Subject: "a", Claims: json.RawMessage(`{"b":[{"a":1,"a":2}]}`)},
		"deep claims":        {Subject: "a", Claims: json.RawMessage(`{"a":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`)},
		"long claims":        {Subject: "a", Claims: json.RawMessage(`{"a":"` + strings.Repeat("x", 4096) + `"}`)},
		"claims no UTF-8":    {Subject: "a", Claims: json.RawMessage("{\"a\":\"\xff\"}")},
		"long access":        {Subject: "a", AccessLifetime: 25 * time.Hour},
		"short access":       {Subject: "a", AccessLifetime: time.Millisecond},
		"negative access":    {Subject: "a", AccessLifetime: -time.Hour},
		"long session":       {Subject: "a", SessionLifetime: 401 * 24 * time.Hour},
		"negative idle":      {Subject: "a", IdleTimeout: -time.Second},
	} {
		if _, err := w.Issue(context.Background(), l); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Issue(context.Background(), rescind.Login{Subject: "a", Client: "nobody"}); !errors.Is(err, rescind.ErrNotFound) {
		t.Errorf("unknown client: %v", err)
	}
	page, err := w.Sessions(context.Background(), rescind.SessionQuery{})
	if err != nil || len(page.Sessions) != 0 {
		t.Errorf("something was recorded: %+v %v", page, err)
	}
}

func TestIssueKeepsWhatItWasGiven(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	g, err := w.Issue(ctx, rescind.Login{
		Subject: "user|42@example", Audience: []string{"notes", "mail"}, Scope: " write  read write ",
		Claims: json.RawMessage(`{ "plan": "gold", "<tag>": [1, 2.50, "é\u0000"] }`),
		Device: rescind.Device{Name: "Phone 📱", UserAgent: strings.Repeat("é", 400), IP: "\xff::1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Audience: []string{"mail"}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Subject != "user|42@example" || a.Scope != "write read" || string(a.Claims) != `{"plan":"gold","<tag>":[1,2.50,"é\u0000"]}` || !slices.Equal(a.Audience, []string{"notes", "mail"}) {
		t.Errorf("%+v", a)
	}
	v, err := w.Session(ctx, g.Session)
	if err != nil {
		t.Fatal(err)
	}
	if v.Device.Name != "Phone 📱" || len(v.Device.UserAgent) != 512 || v.Device.IP != "\uFFFD::1" {
		t.Errorf("%+v", v.Device)
	}
	b, err := json.Marshal(v)
	if err != nil || strings.Contains(string(b), g.AccessToken.Reveal()) || strings.Contains(string(b), g.RefreshToken.Reveal()) {
		t.Errorf("a view holds a token: %v", err)
	}
}

func TestLimitOfConcurrentSessions(t *testing.T) {
	ctx := context.Background()
	t.Run("refuse", func(t *testing.T) {
		w := newWorld(t, func(c *rescind.Config) { c.MaxSessions = 3 })
		errs := make([]error, 32)
		grants := make([]rescind.Grant, 32)
		together(32, func(i int) { grants[i], errs[i] = w.Issue(ctx, rescind.Login{Subject: "alice"}) })
		var live []rescind.Grant
		for i, err := range errs {
			if err == nil {
				live = append(live, grants[i])
			} else if !errors.Is(err, rescind.ErrLimit) {
				t.Errorf("login: %v", err)
			}
		}
		if len(live) != 3 {
			t.Fatalf("%d logins of 32 passed a limit of 3", len(live))
		}
		w.login("bob", "app")
		if _, err := w.Logout(ctx, live[0].AccessToken.Reveal(), false); err != nil {
			t.Fatal(err)
		}
		w.login("alice", "app")
		if _, err := w.Issue(ctx, rescind.Login{Subject: "alice", Replaces: live[1].Session}); err != nil {
			t.Fatalf("replacing one adds none: %v", err)
		}
		w.dead("app", live[:2]...)
		w.alive(live[2].AccessToken)
	})
	t.Run("end oldest", func(t *testing.T) {
		w := newWorld(t, func(c *rescind.Config) { c.MaxSessions = 2; c.LimitPolicy = rescind.LimitEndOldest })
		var all []rescind.Grant
		for range 5 {
			w.clock.Advance(time.Second)
			all = append(all, w.login("alice", "app"))
		}
		w.dead("app", all[:3]...)
		w.alive(all[3].AccessToken)
		w.alive(all[4].AccessToken)
	})
}

func TestReplacesOnlyOnesOwn(t *testing.T) {
	w := newWorld(t)
	w.client(rescind.Client{ID: "other"})
	g := w.login("alice", "app")
	for _, l := range []rescind.Login{
		{Subject: "bob", Replaces: g.Session},
		{Subject: "alice", Client: "other", Replaces: g.Session},
		{Subject: "alice", Replaces: rescind.NewSessionID(g.Session.Tag())},
	} {
		if _, err := w.Issue(context.Background(), l); !errors.Is(err, rescind.ErrNotFound) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	w.alive(g.AccessToken)
}

func TestListsComeInPages(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	want := map[rescind.SessionID]bool{}
	for i := range 57 {
		g := w.login(fmt.Sprintf("user%d", i%3), "app")
		if i%3 == 0 {
			want[g.Session] = true
		}
		if i%2 == 0 {
			if _, err := w.Logout(ctx, g.AccessToken.Reveal(), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := map[rescind.SessionID]bool{}
	active := 0
	for q := (rescind.SessionQuery{Subject: "user0", Limit: 4}); ; {
		page, err := w.Sessions(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Sessions {
			if !want[v.ID] || seen[v.ID] {
				t.Fatalf("unexpected %+v", v)
			}
			seen[v.ID] = true
			if v.State == rescind.StateActive {
				active++
			}
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if len(seen) != 19 {
		t.Errorf("%d of 19 listed", len(seen))
	}
	page, err := w.Sessions(ctx, rescind.SessionQuery{Subject: "user0", State: rescind.StateActive})
	if err != nil || len(page.Sessions) != active || page.Next != "" {
		t.Errorf("%d active ones, not %d: %v", len(page.Sessions), active, err)
	}
	for _, q := range []rescind.SessionQuery{{Limit: -1}, {Limit: 1001}, {After: "../etc"}, {State: "dead"}, {Subject: "a b"}} {
		if _, err := w.Sessions(ctx, q); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestDryRunEndsNothing(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	var grants []rescind.Grant
	for range 5 {
		grants = append(grants, w.login("alice", "app"))
	}
	w.login("bob", "app")
	if _, err := w.Logout(ctx, grants[0].AccessToken.Reveal(), false); err != nil {
		t.Fatal(err)
	}
	for want, sel := range map[int]rescind.Selector{
		4: {Subject: "alice"},
		3: {Subject: "alice", ExceptSession: grants[1].Session},
		5: {All: true},
		1: {Session: grants[2].Session},
		0: {Token: grants[0].AccessToken.Reveal()},
	} {
		r, err := w.Revoke(ctx, rescind.Revocation{Selector: sel, DryRun: true})
		if err != nil || r.Sessions == nil || *r.Sessions != want || r.Truncated || !r.DryRun {
			t.Errorf("%+v: %+v %v", sel, r, err)
		}
	}
	for _, g := range grants[1:] {
		w.alive(g.AccessToken)
	}
}

func TestRevocationNamesExactlyOneThing(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice", "app")
	for _, r := range []rescind.Revocation{
		{},
		{Selector: rescind.Selector{Subject: "alice", All: true}},
		{Selector: rescind.Selector{All: true, ExceptSession: g.Session}},
		{Selector: rescind.Selector{Subject: "a b"}},
		{Selector: rescind.Selector{All: true}, Reason: strings.Repeat("x", 256)},
		{Selector: rescind.Selector{All: true}, Reason: "because of " + g.RefreshToken.Reveal()},
	} {
		if _, err := w.Revoke(context.Background(), r); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	w.alive(g.AccessToken)
}

func TestEveryChangeIsAnEventWithoutTokens(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.client(rescind.Client{ID: "extra"})
	g := w.login("alice", "app")
	next := w.mustRefresh("app", g.RefreshToken)
	h := w.login("alice", "app")
	if _, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: h.Session}, Actor: "admin", Reason: "lost phone"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Logout(ctx, next.AccessToken.Reveal(), true); err != nil {
		t.Fatal(err)
	}
	if err := w.RotateKey(ctx, rescind.KeyUseMAC, "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RemoveClient(ctx, "extra", "admin"); err != nil {
		t.Fatal(err)
	}
	page, err := w.Events(ctx, rescind.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range page.Events {
		kinds = append(kinds, string(e.Kind))
		if e.At.IsZero() || e.Actor == "" || e.ID == "" {
			t.Errorf("incomplete: %+v", e)
		}
		if e.Session == h.Session.String() && e.Kind == rescind.EventSessionEnded && (e.Actor != "admin" || e.Detail != "lost phone" || e.Subject != "alice" || e.Client != "app") {
			t.Errorf("who, what, why: %+v", e)
		}
	}
	for _, k := range []rescind.EventKind{
		rescind.EventSessionCreated, rescind.EventSessionRefreshed, rescind.EventSessionEnded, rescind.EventSubjectEnded,
		rescind.EventClientAdded, rescind.EventClientRemoved, rescind.EventClientEnded, rescind.EventKeyCreated, rescind.EventKeyRotated,
	} {
		if !slices.Contains(kinds, string(k)) {
			t.Errorf("no %s in %v", k, kinds)
		}
	}
	text, err := json.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []rescind.Secret{g.AccessToken, g.RefreshToken, next.AccessToken, next.RefreshToken, h.AccessToken} {
		if strings.Contains(string(text), s.Reveal()) {
			t.Error("an event holds a token")
		}
	}
}

func TestErasureForgetsAndStaysDead(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	g := w.login("alice", "app")
	bob := w.login("bob", "app")
	n, err := w.Erase(ctx, "alice", "admin")
	if err != nil || n.Sessions != 1 {
		t.Fatalf("%+v %v", n, err)
	}
	w.dead("app", g)
	w.alive(bob.AccessToken)
	page, err := w.Events(ctx, rescind.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	erased := false
	for _, e := range page.Events {
		if e.Subject == "alice" || e.Session == g.Session.String() {
			t.Errorf("remembered: %+v", e)
		}
		erased = erased || e.Kind == rescind.EventSubjectErased
	}
	if !erased {
		t.Error("that somebody was erased is not recorded")
	}
}

func TestUpkeepForgetsOnlyWhatIsPastItsRetention(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	ended, live := w.login("alice", "app"), w.login("bob", "app")
	if _, err := w.Logout(ctx, ended.AccessToken.Reveal(), false); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	w.clock.Advance(89 * day)
	if n, err := w.Upkeep(ctx); err != nil || n.Sessions != 0 {
		t.Fatalf("%+v %v", n, err)
	}
	w.clock.Advance(2 * day)
	if n, err := w.Upkeep(ctx); err != nil || n.Sessions != 1 || n.Events == 0 {
		t.Fatalf("ended 91 days ago: %+v %v", n, err)
	}
	if _, err := w.Session(ctx, live.Session); err != nil {
		t.Fatal("expired 61 days ago:", err)
	}
	w.clock.Advance(60 * day)
	if n, err := w.Upkeep(ctx); err != nil || n.Sessions != 1 {
		t.Fatalf("expired 121 days ago: %+v %v", n, err)
	}
	w.dead("app", ended, live)
}

func TestAnotherIssuerIsRefused(t *testing.T) {
	w := newWorld(t)
	conf := w.conf
	conf.Issuer = "https://other.example"
	if a, err := rescind.New(context.Background(), conf); !errors.Is(err, rescind.ErrInvalid) || !strings.Contains(err.Error(), issuer) {
		t.Fatalf("%v %v", a, err)
	}
	for _, bad := range []string{"", "login.example", "/x", "https://a.example?x", "https://a.example#x", "https://u:p@a.example"} {
		conf.Issuer = bad
		if _, err := rescind.New(context.Background(), conf); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("issuer %q: %v", bad, err)
		}
	}
}

func TestRemovedClientIsNobody(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.client(rescind.Client{ID: "c", Roles: []rescind.Role{rescind.RoleIssue}})
	if c, err := w.Authenticate(ctx, "c", clientSecret); err != nil || !c.Has(rescind.RoleIssue) || c.Has(rescind.RoleAdmin) {
		t.Fatalf("%v %v", c, err)
	}
	for _, bad := range []string{"", clientSecret[1:], clientSecret + "x"} {
		if _, err := w.Authenticate(ctx, "c", bad); !errors.Is(err, rescind.ErrForbidden) {
			t.Errorf("secret %q: %v", bad, err)
		}
	}
	if _, err := w.RemoveClient(ctx, "c", "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(ctx, "c", clientSecret); !errors.Is(err, rescind.ErrForbidden) {
		t.Errorf("removed client: %v", err)
	}
	w.client(rescind.Client{ID: "p", Public: true})
	if _, err := w.Authenticate(ctx, "p", ""); !errors.Is(err, rescind.ErrForbidden) {
		t.Errorf("a public client has nothing to authenticate with: %v", err)
	}
}

// TestLastAdminStays: over HTTP nobody could make another one.
func TestLastAdminStays(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	admin := func(id string) rescind.Client {
		return rescind.Client{ID: id, Roles: []rescind.Role{rescind.RoleAdmin}}
	}
	remove := func(id string) error { _, err := w.RemoveClient(ctx, id, "test"); return err }
	demote := func(id string) error {
		_, err := w.AddClient(ctx, rescind.Client{ID: id, Public: true}, true, "test")
		return err
	}
	// Where there is no admin, none is missed.
	w.client(rescind.Client{ID: "shop"})
	if err := remove("shop"); err != nil {
		t.Fatal(err)
	}
	w.client(admin("one"))
	w.client(rescind.Client{ID: "shop"})
	for name, do := range map[string]func(string) error{"remove": remove, "demote": demote} {
		if err := do("one"); !errors.Is(err, rescind.ErrConflict) {
			t.Errorf("%s the last admin: %v", name, err)
		}
		if c, err := w.Authenticate(ctx, "one", clientSecret); err != nil || !c.Has(rescind.RoleAdmin) {
			t.Fatalf("%s: %+v, %v", name, c, err)
		}
		if err := do("shop"); err != nil {
			t.Errorf("%s another client: %v", name, err)
		}
		w.client(admin("two"))
		if err := do("one"); err != nil {
			t.Errorf("%s one admin of two: %v", name, err)
		}
		w.client(admin("one")) // and change one that stays admin
		if err := remove("two"); err != nil {
			t.Fatal(err)
		}
		w.client(admin("one"))
		w.client(rescind.Client{ID: "shop"})
	}
}

// TestErrorsHoldNoToken puts tokens where something else belongs.
func TestErrorsHoldNoToken(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	g := w.login("alice", "app")
	for _, secret := range []rescind.Secret{g.AccessToken, g.RefreshToken} {
		token := secret.Reveal()
		short := token[:100]
		claims, err := json.Marshal(map[string]int{short: 1})
		if err != nil {
			t.Fatal(err)
		}
		double := json.RawMessage(strings.Replace(string(claims), "}", ","+string(claims[1:]), 1))
		issue := func(l rescind.Login) error { _, err := w.Issue(ctx, l); return err }
		add := func(c rescind.Client) error {
			c.Public = true
			_, err := w.AddClient(ctx, c, false, "test")
			return err
		}
		revoke := func(r rescind.Revocation) error { _, err := w.Revoke(ctx, r); return err }
		client := func(_ any, err error) error { return err }
		for name, err := range map[string]error{
			"client of a login":     issue(rescind.Login{Subject: "x", Client: token}),
			"long subject":          issue(rescind.Login{Subject: token + token + token}),
			"scope":                 issue(rescind.Login{Subject: "x", Scope: `"` + token}),
			"double audience":       issue(rescind.Login{Subject: "x", Audience: []string{short, short}}),
			"double claim":          issue(rescind.Login{Subject: "x", Claims: double}),
			"claims":                issue(rescind.Login{Subject: "x", Claims: json.RawMessage(token)}),
			"role":                  add(rescind.Client{ID: "x", Roles: []rescind.Role{rescind.Role(token)}}),
			"format":                add(rescind.Client{ID: "x", Format: rescind.TokenFormat(token)}),
			"id of a client":        add(rescind.Client{ID: token}),
			"client of a refresh":   client(w.Refresh(ctx, rescind.Refresh{Client: token, Token: token})),
			"scope of a refresh":    client(w.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal(), Scope: token})),
			"client to show":        client(w.Client(ctx, token)),
			"client to remove":      client(w.RemoveClient(ctx, token, "test")),
			"client to be":          client(w.Authenticate(ctx, token, token)),
			"client to log out":     revoke(rescind.Revocation{Selector: rescind.Selector{Client: token}}),
			"reason":                revoke(rescind.Revocation{Selector: rescind.Selector{All: true}, Reason: token[:200%len(token)]}),
			"cursor":                client(w.Sessions(ctx, rescind.SessionQuery{After: token})),
			"state":                 client(w.Sessions(ctx, rescind.SessionQuery{State: token})),
			"cursor of the log":     client(w.Events(ctx, rescind.EventQuery{After: token})),
			"key use":               w.RotateKey(ctx, rescind.KeyUse(token), "test"),
			"token of another form": client(w.Check(ctx, "x"+token, rescind.Want{})),
		} {
			if err == nil {
				t.Errorf("%s: no error, the test tests nothing", name)
			} else if strings.Contains(err.Error(), token[8:40]) {
				t.Errorf("%s: the error holds the token: %v", name, err)
			}
		}
	}
}

// TestTokensLiveForWholeSeconds: the ledger holds what the JWT says, however it
// keeps its times.
func TestTokensLiveForWholeSeconds(t *testing.T) {
	w := newWorld(t, func(c *rescind.Config) {
		c.Store = storetest.NewOracle(newClock().Now).Store // which rounds nothing
		c.AccessLifetime = 2500 * time.Millisecond
	})
	w.client(forms[1])
	for _, client := range []string{"app", forms[1].ID} {
		g := w.login("alice", client)
		w.alive(g.AccessToken)
		if g.ExpiresIn != 2 {
			t.Errorf("%s: lives for %d s", client, g.ExpiresIn)
		}
	}
}

// TestClientsAtTheLimitCanStillBeChanged: a leaked secret can be replaced however
// many clients there are.
func TestClientsAtTheLimitCanStillBeChanged(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	cfg, err := w.store.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	change := rescind.Change{Expect: cfg.Version}
	for i := range 10_000 {
		id := fmt.Sprint("client-", i)
		change.Documents = append(change.Documents, rescind.Document{Kind: "client", ID: id, Value: []byte(`{"id":"` + id + `","public":true}`)})
	}
	if _, err := w.store.Configure(ctx, change); err != nil {
		t.Fatal(err)
	}
	add := func(id string) error {
		_, err := w.AddClient(ctx, rescind.Client{ID: id, Public: true}, true, "test")
		return err
	}
	if err := add("one-more"); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("one more: %v", err)
	}
	if err := add("client-7"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

// TestLimitDoesNotLockOutWhoLogsInOften: what a subject has left behind does not
// count against it, however much it is.
func TestLimitDoesNotLockOutWhoLogsInOften(t *testing.T) {
	w := newWorld(t)
	w.client(forms[1])
	together(64, func(int) {
		for range 50 {
			g, err := w.Issue(context.Background(), rescind.Login{Subject: "machine", Client: forms[1].ID})
			if err == nil {
				_, err = w.Logout(context.Background(), g.AccessToken.Reveal(), false)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	w.conf.MaxSessions, w.conf.LimitPolicy = 2, rescind.LimitEndOldest
	w.start()
	var last [2]rescind.Grant
	for i := range 4 {
		w.clock.Advance(time.Millisecond)
		last[i%2] = w.login("machine", forms[1].ID)
	}
	w.alive(last[0].AccessToken)
	w.alive(last[1].AccessToken)
	page, err := w.Sessions(context.Background(), rescind.SessionQuery{Subject: "machine", State: rescind.StateActive})
	if err != nil || len(page.Sessions) != 2 {
		t.Errorf("%d live sessions, %v", len(page.Sessions), err)
	}
}

// TestWhatIsHandedOutCannotChangeWhatIsInForce: a client that was read is the
// reader's own.
func TestWhatIsHandedOutCannotChangeWhatIsInForce(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.client(rescind.Client{ID: "c", Roles: []rescind.Role{rescind.RoleIntrospect}, Audiences: []string{"notes"}})
	one, err := w.Client(ctx, "c")
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.Clients(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(all, one) {
		c.Roles[0], c.Audiences[0], c.SecretHash[0], c.Strict = rescind.RoleAdmin, "bank", c.SecretHash[0]+1, true
	}
	c, err := w.Authenticate(ctx, "c", clientSecret)
	if err != nil || c.Has(rescind.RoleAdmin) || c.Audiences[0] != "notes" || c.Strict {
		t.Errorf("%+v, %v", c, err)
	}
}
