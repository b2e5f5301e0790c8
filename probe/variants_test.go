package probe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"
)

// signed is a token that another implementation has signed.
func signed(t *testing.T, method gojwt.SigningMethod, key any) string {
	t.Helper()
	token, err := gojwt.NewWithClaims(method, gojwt.MapClaims{"sub": "ada", "jti": "a"}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func verifies(token string, key any, options ...gojwt.ParserOption) bool {
	parsed, err := gojwt.Parse(token, func(*gojwt.Token) (any, error) { return key, nil }, options...)
	return err == nil && parsed.Valid
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSecondFormOfAnECDSASignatureVerifies(t *testing.T) {
	for _, c := range []struct {
		method *gojwt.SigningMethodECDSA
		curve  elliptic.Curve
	}{{gojwt.SigningMethodES256, elliptic.P256()}, {gojwt.SigningMethodES384, elliptic.P384()}, {gojwt.SigningMethodES512, elliptic.P521()}} {
		key := ecKey(t, c.curve)
		for range 20 {
			token := signed(t, c.method, key)
			read := readJWT(token)
			second := secondSignature(read.alg(), read.signature())
			if second == "" || second == read.parts[2] {
				t.Fatalf("%s: no second form of %s", c.method.Name, token)
			}
			if !verifies(read.with(second), key.Public()) {
				t.Errorf("%s: the second form does not verify: %s", c.method.Name, read.with(second))
			}
			third := readJWT(read.with(second))
			if back := secondSignature(third.alg(), third.signature()); back != read.parts[2] {
				t.Errorf("%s: the second form of the second is not the first", c.method.Name)
			}
		}
	}
	// A curve that Go does not have: that s and its second form add up to n can be
	// looked up in SEC 2, and an s beyond n has none.
	if secondSignature("ES256K", make([]byte, 64)) != "" || secondSignature("ES256", make([]byte, 63)) != "" || secondSignature("RS256", make([]byte, 64)) != "" {
		t.Error("a second form of what is no signature")
	}
	beyond := slices.Repeat([]byte{0xff}, 64)
	if secondSignature("ES256K", beyond) != "" || secondSignature("ES256", beyond) != "" {
		t.Error("a second form of a signature out of range")
	}
	one := append(make([]byte, 63), 1)
	if want := strings.Repeat("00", 32) + "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140"; secondSignature("ES256K", one) != fromHex(t, want) {
		t.Error("ES256K")
	}
}

func fromHex(t *testing.T, text string) string {
	t.Helper()
	bytes := make([]byte, len(text)/2)
	const digits = "0123456789abcdef"
	for i := range bytes {
		bytes[i] = byte(strings.IndexByte(digits, text[2*i])<<4 | strings.IndexByte(digits, text[2*i+1]))
	}
	return base64.RawURLEncoding.EncodeToString(bytes)
}

func TestVariantsDecodeToTheSameSignature(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method gojwt.SigningMethod
		key    any
		least  []string
	}{
		{gojwt.SigningMethodHS256, []byte("secret"), []string{"unused bits of its base64 set", "its base64 padded"}},
		{gojwt.SigningMethodHS512, []byte("secret"), []string{"unused bits of its base64 set", "its base64 padded"}},
		{gojwt.SigningMethodRS256, rsaKey, []string{"unused bits of its base64 set", "its base64 padded"}},
		{gojwt.SigningMethodEdDSA, edKey, []string{"unused bits of its base64 set"}},
		{gojwt.SigningMethodES256, ecKey(t, elliptic.P256()), []string{"the second form of its ECDSA signature"}},
	} {
		token := signed(t, c.method, c.key)
		old := readJWT(token).signature()
		verifyKey := c.key
		if pair, ok := c.key.(crypto.Signer); ok {
			verifyKey = pair.Public()
		}
		var names []string
		for _, v := range variants(token) {
			names = append(names, v.name)
			signature := v.text[strings.LastIndexByte(v.text, '.')+1:]
			lenient := strings.NewReplacer("+", "-", "/", "_", "=", "", "~", "").Replace(signature)
			decoded, err := base64.RawURLEncoding.DecodeString(lenient)
			if err != nil {
				t.Errorf("%s, %s: %v", c.method.Alg(), v.name, err)
			}
			same := string(decoded) == string(old)
			if second := v.name == "the second form of its ECDSA signature"; same == second {
				t.Errorf("%s, %s: same signature: %v", c.method.Alg(), v.name, same)
			}
			if v.text == token || !strings.HasPrefix(v.text, token[:strings.LastIndexByte(token, '.')+1]) {
				t.Errorf("%s, %s: %s", c.method.Alg(), v.name, v.text)
			}
		}
		// Go's decoder takes set unused bits as they are.
		i := slices.Index(names, "unused bits of its base64 set")
		if i < 0 || !verifies(variants(token)[i].text, verifyKey) {
			t.Errorf("%s: unused bits: not accepted", c.method.Alg())
		}
		for _, name := range c.least {
			if !slices.Contains(names, name) {
				t.Errorf("%s: no variant %q among %q", c.method.Alg(), name, names)
			}
		}
	}
}

func TestOpaqueTokensHaveFewVariants(t *testing.T) {
	for token, want := range map[string]string{
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf6": "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6",
		"F81D4FAE7DEC11D0A76500A0C91E6BF6":     "f81d4fae7dec11d0a76500a0c91e6bf6",
		"0123456789012345678":                  "", // digits have no case
		"abc":                                  "", // too short to be a token
		"xyzxyzxyzxyzxyzxyz":                   "",
		"":                                     "",
	} {
		var got string
		if all := variants(token); len(all) > 0 {
			got = all[0].text
		}
		if got != want {
			t.Errorf("%q: %q", token, got)
		}
	}
}

func TestHeaderAndCookieVariants(t *testing.T) {
	texts := func(all []variant) string {
		var b []string
		for _, v := range all {
			b = append(b, v.text)
		}
		return strings.Join(b, "|")
	}
	for _, c := range []struct{ got, want string }{
		{texts(headerVariants("Bearer abc")), "bearer abc|BEARER abc|Bearer  abc|Bearer\tabc|Bearer abc x"},
		{texts(headerVariants("bearer abc")), "BEARER abc|bearer  abc|bearer\tabc|bearer abc x"},
		{texts(headerVariants("abc")), ""},
		{texts(headerVariants("Bearer ")), ""},
		{texts(cookieVariants("abc")), `ab%63|"abc"`},
		{texts(cookieVariants("s%3Aabc%2F")), `"s%3Aabc%2F"`},
		{texts(cookieVariants(`"abc"`)), ""},
		{texts(cookieVariants("")), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
