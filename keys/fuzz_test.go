package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/rescind/rescind"
)

// same checks what holds of every accepted token: its claims, signed again, come
// back the same, and another reader of JSON finds the same in it.
func same(t *testing.T, r *ring, token string, c rescind.Claims) {
	t.Helper()
	again, err := r.Sign(&c)
	if err != nil {
		t.Fatalf("accepted, and not signed again: %v\n%+v", err, c)
	}
	back, err := r.Verify(again)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Fatalf("signed again: %v\n%+v\n%+v", err, back, c)
	}
	payload, err := rawURL.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(payload, &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": c.Issuer, "sub": c.Subject, "client_id": c.Client, "sid": c.Session.String(), "jti": c.ID.String(),
		"iat": float64(c.IssuedAt.Unix()), "exp": float64(c.ExpiresAt.Unix()),
	} {
		var got any
		if err := json.Unmarshal(all[name], &got); err != nil || got != want {
			t.Fatalf("%s is %v, read as %v, %v", name, got, want, err)
		}
		delete(all, name)
	}
	delete(all, "aud")
	delete(all, "scope")
	extra := map[string]json.RawMessage{}
	if c.Extra != nil {
		if err := json.Unmarshal(c.Extra, &extra); err != nil {
			t.Fatal(err)
		}
	}
	if len(extra) != len(all) || all["nbf"] != nil {
		t.Fatalf("own claims %v, read as %v", all, extra)
	}
}

func FuzzVerify(f *testing.F) {
	r := newRing(f, Options{Algorithm: EdDSA})
	good := signed(f, r, someClaims())
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		"", ".", "..", "...", good, good + "=", good[:len(good)-1], parts[0] + ".." + parts[2], parts[0] + "." + parts[1] + ".",
		encode(`{"alg":"none"}`) + "." + parts[1] + ".", "{" + good + "}", strings.Repeat("A", 300), good + "\x00", good + "\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := r.Verify(token)
		if err == nil {
			same(t, r, token, c)
		} else if !errors.Is(err, rescind.ErrMalformed) && !errors.Is(err, rescind.ErrUnknown) {
			t.Fatal(err)
		}
	})
}

// FuzzClaims signs any payload, because hardly a fuzzer finds a signature.
func FuzzClaims(f *testing.F) {
	r := newRing(f, Options{Algorithm: EdDSA})
	c := someClaims()
	f.Add(payloadOf(f, c))
	c.Audience = []string{"a", "b"}
	f.Add(payloadOf(f, c))
	f.Add(strings.Replace(payloadOf(f, c), `"sub"`, `"s\u0075b"`, 1))
	f.Add(strings.Replace(payloadOf(f, c), `"tenant":`, `"nbf":1,"tenant":`, 1))
	f.Add(strings.Replace(payloadOf(f, c), `"tenant":`, `"x" : [1e400, {"é":"\ud83d\ude00\/"}], "tenant":`, 1))
	f.Add(strings.Replace(payloadOf(f, c), `"scope":"read`, `"scope":"\u0000`, 1))
	f.Fuzz(func(t *testing.T, payload string) {
		if len(payload) > 8<<10 {
			return // beyond the length of a token
		}
		token := forge(t, r.signer, headerWith(r, ""), payload)
		c, err := r.Verify(token)
		if err == nil {
			// White space and escapes of the application's own claims are kept by Verify
			// and normalised by Sign; a token of ours has no white space.
			if compact, err := r.Sign(&c); err == nil {
				if c, err = r.Verify(compact); err != nil {
					t.Fatal(err)
				}
			}
			same(t, r, token, c)
		} else if !errors.Is(err, rescind.ErrMalformed) {
			t.Fatal(err)
		}
	})
}

// FuzzHeader signs under any header.
func FuzzHeader(f *testing.F) {
	r := newRing(f, Options{Algorithm: EdDSA})
	payload := payloadOf(f, someClaims())
	f.Add(headerWith(r, ""))
	f.Add(headerWith(r, `,"crit":["b64"],"b64":false`))
	f.Add(`{"alg":"none"}`)
	f.Add(strings.Replace(headerWith(r, ""), "alg", `\u0061lg`, 1))
	f.Add(strings.Replace(headerWith(r, ""), "at+jwt", "Application/AT+jwt", 1))
	f.Fuzz(func(t *testing.T, header string) {
		if len(header) > 2*maxHeader {
			return
		}
		// A fuzzer's own kid would always be unknown.
		header = strings.ReplaceAll(header, "KID", r.signer.id.String())
		c, err := r.Verify(forge(t, r.signer, header, payload))
		if err != nil {
			if !errors.Is(err, rescind.ErrMalformed) && !errors.Is(err, rescind.ErrUnknown) {
				t.Fatal(err)
			}
			return
		}
		var all map[string]string
		if err := json.Unmarshal([]byte(header), &all); err != nil {
			t.Fatalf("%q: %v", header, err)
		}
		all["typ"] = strings.TrimPrefix(strings.ToLower(all["typ"]), "application/")
		if want := fmt.Sprint(map[string]string{"alg": EdDSA, "kid": c.Key.String(), "typ": "at+jwt"}); fmt.Sprint(all) != want {
			t.Fatalf("accepted under %q", header)
		}
	})
}
