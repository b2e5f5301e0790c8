package rescind

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func confidential(t *testing.T) *Client {
	t.Helper()
	c := &Client{ID: "web", CreatedAt: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	if err := c.SetSecret(NewSecret().Reveal()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientIsKnownByItsSecretOnly(t *testing.T) {
	c := confidential(t)
	secret := NewSecret().Reveal()
	if err := c.SetSecret(secret); err != nil {
		t.Fatal(err)
	}
	if !c.Authentic(secret) {
		t.Error("the client's own secret is refused")
	}
	sum := sha256.Sum256([]byte(secret))
	for _, wrong := range []string{"", secret[1:], secret + "x", strings.ToLower(secret) + "x", NewSecret().Reveal(), string(sum[:])} {
		if c.Authentic(wrong) {
			t.Errorf("%q is accepted", wrong)
		}
	}
	for name, c := range map[string]Client{
		"a public client":               {Public: true},
		"a public client with a hash":   {Public: true, SecretHash: sum[:]},
		"a client without a hash":       {},
		"a client with half a hash":     {SecretHash: sum[:16]},
		"a client with a hash too long": {SecretHash: append(sum[:], 0)},
	} {
		if c.Authentic(secret) || c.Authentic("") {
			t.Errorf("%s is authentic", name)
		}
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	c := confidential(t)
	was := slices.Clone(c.SecretHash)
	for _, bad := range []string{
		"", strings.Repeat("a", MinSecret-1), strings.Repeat("a", 257), strings.Repeat("a", MinSecret) + " ", strings.Repeat("a", MinSecret) + "\n",
		strings.Repeat("a", MinSecret) + "é", strings.Repeat("\x00", MinSecret),
		strings.Repeat("a", MinSecret) + "%", strings.Repeat("a", MinSecret) + "+",
	} {
		if err := c.SetSecret(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error shows the secret: %v", err)
		}
		if !slices.Equal(c.SecretHash, was) {
			t.Fatalf("%q was refused and has changed the hash", bad)
		}
	}
	for _, good := range []string{strings.Repeat("a", MinSecret), strings.Repeat("~", 256)} {
		if err := c.SetSecret(good); err != nil || !c.Authentic(good) {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func TestNewSecretNeedsNoEscaping(t *testing.T) {
	seen, letters := map[Secret]bool{}, map[rune]int{}
	for range 500 {
		s := NewSecret()
		if len(s) != 43 || seen[s] {
			t.Fatalf("a fresh secret has %d characters, seen before: %t", len(s), seen[s])
		}
		seen[s] = true
		for _, r := range s.Reveal() {
			letters[r]++
		}
	}
	if len(letters) != 62 {
		t.Errorf("secrets are made of %d characters, want 62", len(letters))
	}
	for r, n := range letters {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", r) {
			t.Errorf("a secret holds %q", r)
		}
		// 500 * 43 / 62 is 347, and the standard deviation 18.5: 7 of them in each direction.
		if n < 347-130 || n > 347+130 {
			t.Errorf("%q comes %d times of 347", r, n)
		}
	}
}

func TestRoles(t *testing.T) {
	all := []Role{RoleIssue, RoleIntrospect, RoleRevoke, RoleGuard, RoleAdmin}
	for _, mine := range all {
		c := Client{Roles: []Role{mine}}
		for _, asked := range all {
			if got, want := c.Has(asked), mine == asked || mine == RoleAdmin; got != want {
				t.Errorf("a client with role %s has %s: %t", mine, asked, got)
			}
		}
	}
	if c := (&Client{}); c.Has(RoleIntrospect) || c.Has("") {
		t.Error("a client without roles has one")
	}
}

func TestGraceWindow(t *testing.T) {
	for want, c := range map[time.Duration]Client{
		GracePublic:       {Public: true},
		GraceConfidential: {},
		0:                 {Strict: true, Grace: Duration(time.Minute)},
		7 * time.Second:   {Public: true, Grace: Duration(7 * time.Second)},
		MaxGrace:          {Grace: Duration(MaxGrace)},
	} {
		if got := c.Window(); got != want {
			t.Errorf("%+v has a window of %s, want %s", c, got, want)
		}
	}
}

func TestClientRules(t *testing.T) {
	for name, change := range map[string]func(*Client){
		"no id":                    func(c *Client) { c.ID = "" },
		"a long id":                func(c *Client) { c.ID = strings.Repeat("a", 65) },
		"an id with a slash":       func(c *Client) { c.ID = "a/b" },
		"an id with a colon":       func(c *Client) { c.ID = "a:b" },
		"an id with a space":       func(c *Client) { c.ID = "a b" },
		"an id with a line break":  func(c *Client) { c.ID = "a\nb" },
		"an id with a NUL":         func(c *Client) { c.ID = "a\x00" },
		"an id with an umlaut":     func(c *Client) { c.ID = "bücher" },
		"the server's own id":      func(c *Client) { c.ID = ActorSelf },
		"public with a secret":     func(c *Client) { c.Public = true },
		"neither":                  func(c *Client) { c.SecretHash = nil },
		"an unknown role":          func(c *Client) { c.Roles = []Role{RoleIssue, "root"} },
		"an empty role":            func(c *Client) { c.Roles = []Role{""} },
		"public with a role":       func(c *Client) { c.Public, c.SecretHash, c.Roles = true, nil, []Role{RoleIntrospect} },
		"too many audiences":       func(c *Client) { c.Audiences = slices.Repeat([]string{"a"}, 65) },
		"an empty audience":        func(c *Client) { c.Audiences = []string{""} },
		"a long audience":          func(c *Client) { c.Audiences = []string{strings.Repeat("a", MaxAudience+1)} },
		"an audience with a space": func(c *Client) { c.Audiences = []string{"a b"} },
		"an unknown format":        func(c *Client) { c.Format = "JWT" },
		"a negative grace":         func(c *Client) { c.Grace = -1 },
		"a long grace":             func(c *Client) { c.Grace = Duration(MaxGrace + 1) },
		"strict with grace":        func(c *Client) { c.Strict, c.Grace = true, 1 },
		"a long name":              func(c *Client) { c.Name = strings.Repeat("a", 256) },
	} {
		c := confidential(t)
		change(c)
		if err := c.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Client){
		"the least":      func(*Client) {},
		"public":         func(c *Client) { c.Public, c.SecretHash = true, nil },
		"the longest id": func(c *Client) { c.ID = strings.Repeat("Z9._-", 12) + "abcd" },
		"everything": func(c *Client) {
			c.Name, c.Roles, c.Format = strings.Repeat("ü", 127), []Role{RoleIssue, RoleAdmin}, FormatOpaque
			c.Audiences, c.Grace, c.NoLogoutAll = slices.Repeat([]string{strings.Repeat("~", MaxAudience)}, 64), Duration(MaxGrace), true
		},
	} {
		c := confidential(t)
		change(c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Format == "" {
			t.Errorf("%s: the format is left open", name)
		}
		d, err := c.document()
		if err != nil {
			t.Fatal(err)
		}
		if d.Kind != clientKind || d.ID != c.ID || len(d.Value) > 64<<10 {
			t.Errorf("%s: a document of kind %q, id %q and %d bytes", name, d.Kind, d.ID, len(d.Value))
		}
		got, err := parseClient(d)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: stored as %s, read as %+v, %v", name, d.Value, got, err)
		}
	}
	if _, err := parseClient(Document{ID: "web", Value: []byte("{")}); err == nil {
		t.Error("a damaged document is read as a client")
	}
}

func TestDurationIsText(t *testing.T) {
	b, err := json.Marshal(map[string]Duration{"grace": Duration(90 * time.Second)})
	if err != nil || string(b) != `{"grace":"1m30s"}` {
		t.Fatalf("%s, %v", b, err)
	}
	var got map[string]Duration
	if err := json.Unmarshal(b, &got); err != nil || got["grace"] != Duration(90*time.Second) {
		t.Fatalf("%v, %v", got, err)
	}
	for _, bad := range []string{`"10"`, `"ten seconds"`, `10`, `"1e99h"`} {
		if err := json.Unmarshal([]byte(`{"grace":`+bad+`}`), &got); err == nil {
			t.Errorf("%s is read as a duration", bad)
		}
	}
}
