package keys

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

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

// fixedRing has the same keys in every process, so that what one worker finds is
// a token to the others too.
func fixedRing(f *testing.F) *ring {
	k, err := New(newMaster([masterSize]byte{1}), Options{Algorithm: EdDSA})
	if err != nil {
		f.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	c := &config{}
	for i, one := range []*key{
		{attributes: attributes{Use: rescind.KeyUseTag, Alg: algHMAC}, secret: make([]byte, 32)},
		{attributes: attributes{Use: rescind.KeyUseMAC, Alg: algHMAC}, secret: make([]byte, 32)},
		{attributes: attributes{Use: rescind.KeyUseSign, Alg: EdDSA}, secret: secret},
	} {
		one.id, one.State, one.Created, one.Since = rescind.KeyID{byte(i)}, rescind.KeyCurrent, start, start
		d, err := k.seal(one)
		if err != nil {
			f.Fatal(err)
		}
		c.Documents = append(c.Documents, d)
	}
	return c.load(f, k)
}

func fixedClaims() rescind.Claims {
	c := someClaims()
	c.Session, c.ID = rescind.SessionID{1}, rescind.TokenID{1}
	return c
}

func FuzzVerify(f *testing.F) {
	r := fixedRing(f)
	good := signed(f, r, fixedClaims())
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
	r := fixedRing(f)
	c := fixedClaims()
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
			if c.Extra != nil { // Sign writes no white space
				extra := jsontext.Value(c.Extra)
				if err := extra.Compact(); err != nil {
					t.Fatal(err)
				}
				c.Extra = json.RawMessage(extra)
			}
			same(t, r, token, c)
		} else if !errors.Is(err, rescind.ErrMalformed) {
			t.Fatal(err)
		}
	})
}

// FuzzHeader signs under any header.
func FuzzHeader(f *testing.F) {
	r := fixedRing(f)
	payload := payloadOf(f, fixedClaims())
	f.Add(headerWith(r, ""))
	f.Add(`{"kid":"KID","alg":"EdDSA","typ":"at+jwt"}`)
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
