package probe

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func compact(header, claims, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(claims)) + "." + encode([]byte(signature))
}

func TestJWTIsReadWithoutItsKey(t *testing.T) {
	token := readJWT(compact(`{"alg":"HS256","kid":"k"}`, `{"exp":1700000000.5,"iat":1.6e9,"jti":"a","n":12345678901234567890}`, "x"))
	if token == nil {
		t.Fatal("not read")
	}
	if token.alg() != "HS256" || token.text("jti") != "a" || token.text("n") != "" || string(token.signature()) != "x" {
		t.Fatalf("%+v", token)
	}
	if at, ok := token.time("exp"); !ok || !at.Equal(time.Unix(1700000000, 5e8)) {
		t.Fatal(at, ok)
	}
	if at, ok := token.time("iat"); !ok || at.Unix() != 1600000000 {
		t.Fatal(at, ok)
	}
	for _, claim := range []string{"nbf", "jti", "n"} {
		if at, ok := token.time(claim); ok {
			t.Errorf("%s is %v", claim, at)
		}
	}
}

func TestWhatIsNoJWTIsNotRead(t *testing.T) {
	good := compact(`{"alg":"HS256"}`, `{}`, "x")
	for name, token := range map[string]string{
		"empty":           "",
		"opaque":          "3f0c1f3e9d9b4b",
		"two parts":       good[:strings.LastIndex(good, ".")],
		"five parts":      good + ".e30.e30",
		"header no JSON":  compact(`alg`, `{}`, "x"),
		"header null":     compact(`null`, `{}`, "x"),
		"header twice":    compact(`{"alg":"a"}{}`, `{}`, "x"),
		"claims an array": compact(`{"alg":"a"}`, `[]`, "x"),
		"without alg":     compact(`{}`, `{}`, "x"),
		"padded":          good + "==",
		"too long":        compact(`{"alg":"HS256"}`, `{"a":"`+strings.Repeat("a", maxJWT)+`"}`, "x"),
	} {
		if readJWT(token) != nil {
			t.Errorf("%s: read", name)
		}
	}
	if readJWT(good) == nil {
		t.Error("the good one is not read")
	}
}

func FuzzReadJWT(f *testing.F) {
	f.Add(compact(`{"alg":"ES256"}`, `{"exp":1}`, strings.Repeat("s", 64)))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		read := readJWT(token)
		if read == nil {
			return
		}
		if read.with(read.parts[2]) != token {
			t.Errorf("%q is read as %q", token, read.with(read.parts[2]))
		}
		read.time("exp")
		for _, v := range variants(token) {
			if v.text == token || v.name == "" {
				t.Errorf("%q is a variant of itself", token)
			}
		}
		for _, forge := range []func() ([]forgery, error){read.withoutAlgorithm, read.withoutSignature, read.withOwnKey} {
			if all, err := forge(); err != nil || len(all) == 0 {
				t.Errorf("%q: %v", token, err)
			}
		}
	})
}
