package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rescind/rescind"
)

// TestClaimsOfWrongFormAreRefused signs each with the right key and header.
func TestClaimsOfWrongFormAreRefused(t *testing.T) {
	r := newRing(t, Options{})
	c := someClaims()
	good := payloadOf(t, c)
	with := func(name, value string) string {
		return strings.TrimSuffix(good, "}") + fmt.Sprintf(`,"%s":%s}`, name, value)
	}
	instead := func(name, value string) string {
		var all map[string]json.RawMessage
		if err := json.Unmarshal([]byte(good), &all); err != nil {
			t.Fatal(err)
		}
		if all[name] = json.RawMessage(value); value == "" {
			delete(all, name)
		}
		b := []byte{}
		for n, v := range all {
			b = append(b, fmt.Sprintf(`,"%s":%s`, n, v)...)
		}
		b[0] = '{'
		return string(append(b, '}'))
	}
	if _, err := r.Verify(forge(t, r.signer, headerWith(r, ""), instead("scope", `"other"`))); err != nil {
		t.Fatalf("the test's own forging does not work: %v", err)
	}
	bad := []string{
		``, `null`, `[]`, `"x"`, `1`, `{}`, `{`, good[:len(good)-1], good + "}", good + " {}", good + "\x00", "\xef\xbb\xbf" + good, "[" + good + "]",
		with("nbf", "0"), with("nbf", `"x"`), with("x", "tru"), with("x", "01"), with("x", "\"\xc3\x28\""), with("x", `"\ud800"`), with("\xff", "1"),
		with("sub", `"other"`), with(`s\u0075b`, `"other"`), with("tenant", `"other"`), with("x", `{"a":1,"a":2}`), with("x", `[{"a":1,"\u0061":2}]`),
		with("x", strings.Repeat("[", maxDepth+1)+strings.Repeat("]", maxDepth+1)), with("x", strings.Repeat(`{"a":`, maxDepth+1)+"1"+strings.Repeat("}", maxDepth+1)),
		instead("aud", `[]`), instead("aud", `[1]`), instead("aud", `["a",null]`), instead("aud", `[["a"]]`), instead("aud", `{"a":1}`), instead("aud", `["a",""]`),
		instead("aud", `["1","2","3","4","5","6","7","8","9"]`),
		instead("sid", `"short"`), instead("sid", `"`+strings.Repeat("A", 32)+`"`), instead("sid", `"\nB`+strings.Repeat("A", 30)+`"`), instead("sid", `"`+c.Session.String()+`="`),
		instead("jti", `"short"`), instead("jti", `"`+strings.Repeat("A", 22)+`"`), instead("jti", `"\r\nB`+strings.Repeat("A", 19)+`"`),
	}
	for _, name := range []string{"iss", "sub", "client_id", "aud", "sid", "jti"} {
		for _, value := range []string{``, `null`, `1`, `true`, `""`, `{}`} {
			bad = append(bad, instead(name, value))
		}
	}
	for _, value := range []string{`null`, `1`, `""`, `["read"]`} {
		bad = append(bad, instead("scope", value))
	}
	for _, name := range []string{"iat", "exp"} {
		for _, value := range []string{
			``, `null`, `true`, `"1793534400"`, `1793534400.0`, `1793534400.5`, `1.7935344e9`, `1793534400e0`, `-1`, `-0`, `253402300800`,
			`9007199254740993`, `18446744073709551617`, `1e400`, `99999999999999999999999999`, `[1793534400]`, `{}`,
		} {
			bad = append(bad, instead(name, value))
		}
	}
	for _, payload := range bad {
		t.Run("", func(t *testing.T) {
			refuse(t, r, forge(t, r.signer, headerWith(r, ""), payload), rescind.ErrMalformed)
			if t.Failed() {
				t.Logf("%q", payload)
			}
		})
	}
	deep := strings.Repeat("[", maxDepth) + `"[[[[\"[[[["` + strings.Repeat("]", maxDepth)
	if _, err := r.Verify(forge(t, r.signer, headerWith(r, ""), with("x", deep))); err != nil {
		t.Errorf("%d deep: %v", maxDepth, err)
	}
}

// TestSignRefusesWhatVerifyWould: no key of ours stands under a token that is
// none, whatever the application asks for.
func TestSignRefusesWhatVerifyWould(t *testing.T) {
	r := newRing(t, Options{})
	for name, change := range map[string]func(*rescind.Claims){
		"no issuer":       func(c *rescind.Claims) { c.Issuer = "" },
		"no subject":      func(c *rescind.Claims) { c.Subject = "" },
		"no client":       func(c *rescind.Claims) { c.Client = "" },
		"no audience":     func(c *rescind.Claims) { c.Audience = nil },
		"empty audience":  func(c *rescind.Claims) { c.Audience = []string{"a", ""} },
		"many audiences":  func(c *rescind.Claims) { c.Audience = strings.Split("a b c d e f g h i", " ") },
		"no session":      func(c *rescind.Claims) { c.Session = rescind.SessionID{} },
		"no id":           func(c *rescind.Claims) { c.ID = rescind.TokenID{} },
		"no time":         func(c *rescind.Claims) { c.IssuedAt = c.IssuedAt.AddDate(-3000, 0, 0) },
		"late time":       func(c *rescind.Claims) { c.ExpiresAt = c.ExpiresAt.AddDate(8000, 0, 0) },
		"invalid UTF-8":   func(c *rescind.Claims) { c.Subject = "\xff" },
		"array":           func(c *rescind.Claims) { c.Extra = json.RawMessage(`["a"]`) },
		"not JSON":        func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"a":}`) },
		"two objects":     func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"a":1}{"b":1}`) },
		"break out":       func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"a":1},"sub":"root"`) },
		"duplicate":       func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"a":1,"a":2}`) },
		"deep duplicate":  func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"a":{"b":1,"b":2}}`) },
		"our name":        func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"sub":"root"}`) },
		"our name hidden": func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"\u0073ub":"root"}`) },
		"nbf":             func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"nbf":1}`) },
		"bad text":        func(c *rescind.Claims) { c.Extra = json.RawMessage("{\"a\":\"\xff\"}") },
		"deep": func(c *rescind.Claims) {
			c.Extra = json.RawMessage(`{"a":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`)
		},
		"large": func(c *rescind.Claims) { c.Extra = json.RawMessage(`{"a":"` + strings.Repeat("x", 13<<10) + `"}`) },
	} {
		c := someClaims()
		change(&c)
		if token, err := r.Sign(&c); !errors.Is(err, rescind.ErrInvalid) || token != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
