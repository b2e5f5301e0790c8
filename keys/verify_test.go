package keys

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind"
)

func encode(s string) string { return rawURL.EncodeToString([]byte(s)) }

// forge signs any header and payload with a key of the ring.
func forge(t testing.TB, s *signer, header, payload string) string {
	t.Helper()
	text := encode(header) + "." + encode(payload)
	signature, err := s.method.Sign(text, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + rawURL.EncodeToString(signature)
}

func payloadOf(t testing.TB, c rescind.Claims) string {
	t.Helper()
	b, err := appendClaims(nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func signed(t testing.TB, r *ring, c rescind.Claims) string {
	t.Helper()
	token, err := r.Sign(&c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func refuse(t *testing.T, r *ring, token string, want error) {
	t.Helper()
	c, err := r.Verify(token)
	if !errors.Is(err, want) || !errors.Is(err, rescind.ErrInactive) {
		t.Errorf("got %v, want %v", err, want)
	}
	if !reflect.DeepEqual(c, rescind.Claims{}) {
		t.Errorf("refused, and yet claims came back: %+v", c)
	}
	if err == nil {
		return
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error holds a part of the token: %v", err)
		}
	}
}

func TestSignedClaimsComeBack(t *testing.T) {
	for _, alg := range []string{ES256, EdDSA, RS256} {
		t.Run(alg, func(t *testing.T) {
			r := newRing(t, Options{Algorithm: alg})
			plain := someClaims()
			plain.Scope, plain.Extra = "", nil
			several := someClaims()
			several.Audience = []string{"a", "https://b.example/?x=1&y=<2>", `c"\d`}
			spaced := someClaims()
			spaced.Extra = json.RawMessage(" {\n\"a\" : [ 1, 2.50, 1e3 ] ,\t\"\\u00e9\": \"\\u003c\\/ \u2028 é\" } ")
			compact := spaced
			compact.Extra = json.RawMessage("{\"a\":[1,2.50,1e3],\"\\u00e9\":\"\\u003c\\/ \u2028 é\"}")
			none := someClaims()
			none.Extra = json.RawMessage(`{}`)
			nothing := none
			nothing.Extra = nil
			for _, c := range []struct{ in, out rescind.Claims }{
				{someClaims(), rescind.Claims{}}, {plain, plain}, {several, several}, {spaced, compact}, {none, nothing},
			} {
				if c.out.Issuer == "" {
					c.out = c.in
				}
				got, err := r.Verify(signed(t, r, c.in))
				c.out.Key = r.signer.id
				if err != nil || !reflect.DeepEqual(got, c.out) {
					t.Errorf("got %+v, %v\nwant %+v", got, err, c.out)
				}
			}
		})
	}
}

// TestTokenIsRFC9068 reads a token with two libraries that are not ours, by the
// JWKS alone, and looks at each member.
func TestTokenIsRFC9068(t *testing.T) {
	for _, alg := range []string{ES256, EdDSA, RS256} {
		t.Run(alg, func(t *testing.T) {
			r := newRing(t, Options{Algorithm: alg})
			c := someClaims()
			token := signed(t, r, c)
			var set jose.JSONWebKeySet
			if err := json.Unmarshal(r.JWKS(), &set); err != nil {
				t.Fatal(err)
			}
			parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			header := parsed.Signatures[0].Protected
			if header.KeyID != r.signer.id.String() || header.ExtraHeaders["typ"] != "at+jwt" {
				t.Errorf("header %+v", header)
			}
			jwk := set.Key(header.KeyID)
			if len(jwk) != 1 || jwk[0].Use != "sig" || jwk[0].Algorithm != alg {
				t.Fatalf("JWKS %s", r.JWKS())
			}
			payload, err := parsed.Verify(jwk[0])
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf(`{"iss":"https://rescind.example","sub":"user-4711","client_id":"app","aud":"https://api.example",`+
				`"scope":"read write profile","sid":"%s","jti":"%s","iat":%d,"exp":%d,"tenant":"acme","roles":["admin","billing"],"plan":{"name":"gold"}}`,
				c.Session, c.ID, start.Unix(), start.Unix()+300)
			if string(payload) != want {
				t.Errorf("payload %s\nwant    %s", payload, want)
			}
			if _, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return jwk[0].Key, nil }, jwt.WithoutClaimsValidation()); err != nil {
				t.Error(err)
			}
		})
	}
}

// headerWith returns the header of the ring's current key with other members.
func headerWith(r *ring, members string) string {
	return fmt.Sprintf(`{"typ":"at+jwt","alg":"%s","kid":"%s"%s}`, r.signer.alg, r.signer.id, members)
}

func TestHeaderMayBeWrittenDifferently(t *testing.T) {
	r := newRing(t, Options{})
	payload := payloadOf(t, someClaims())
	for _, h := range []string{
		`{"alg":"ES256","kid":"KID","typ":"at+jwt"}`,
		`{"typ":"AT+JWT","alg":"ES256","kid":"KID"}`,
		`{"typ":"application/at+jwt","alg":"ES256","kid":"KID"}`,
		`{"typ":"Application/At+Jwt","alg":"ES256","kid":"KID"}`,
		` { "typ" : "at+jwt" , "alg" : "ES256" , "kid" : "KID" } `,
		`{"t\u0079p":"at+jwt","alg":"\u0045S256","kid":"KID"}`,
	} {
		token := forge(t, r.signer, strings.ReplaceAll(h, "KID", r.signer.id.String()), payload)
		if _, err := r.Verify(token); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
}

// TestHeaderTricksAreRefused signs each with the right key: it is the header that
// has to fail.
func TestHeaderTricksAreRefused(t *testing.T) {
	r := newRing(t, Options{})
	payload := payloadOf(t, someClaims())
	for _, h := range []string{
		headerWith(r, `,"crit":["exp"],"exp":1`),
		headerWith(r, `,"crit":[]`),
		headerWith(r, `,"b64":false`),
		headerWith(r, `,"b64":true`),
		headerWith(r, `,"zip":"DEF"`),
		headerWith(r, `,"enc":"A128GCM"`),
		headerWith(r, `,"jku":"https://evil.example/jwks.json"`),
		headerWith(r, `,"x5u":"https://evil.example/cert.pem"`),
		headerWith(r, `,"x5c":["MIIB"]`),
		headerWith(r, `,"x5t":"AAAA"`),
		headerWith(r, `,"jwk":{"kty":"EC"}`),
		headerWith(r, `,"jwks":{"keys":[]}`),
		headerWith(r, `,"cty":"JWT"`),
		headerWith(r, `,"alg":"ES256"`), // twice
		headerWith(r, `,"\u0061lg":"ES256"`),
		headerWith(r, `,"kid":"AAAAAAAA"`),
		headerWith(r, `,"typ":"at+jwt"`),
		headerWith(r, "") + " {}",
		headerWith(r, "") + "x",
		"[" + headerWith(r, "") + "]",
		"\xef\xbb\xbf" + headerWith(r, ""),
		headerWith(r, ",\"x\":\"\xff\""),
		headerWith(r, `,"Alg":"ES256"`),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `"JWT"`, 1),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `"jwt"`, 1),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `"secevent+jwt"`, 1),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `"logout+jwt"`, 1),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `" at+jwt"`, 1),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `["at+jwt"]`, 1),
		strings.Replace(headerWith(r, ""), `"at+jwt"`, `null`, 1),
		strings.Replace(headerWith(r, ""), `"typ":"at+jwt",`, ``, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `"es256"`, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `"ES384"`, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `"RS256"`, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `"EdDSA"`, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `"HS256"`, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `""`, 1),
		strings.Replace(headerWith(r, ""), `"ES256"`, `256`, 1),
		strings.Replace(headerWith(r, ""), `"alg":"ES256",`, ``, 1),
		strings.Replace(headerWith(r, ""), fmt.Sprintf(`,"kid":"%s"`, r.signer.id), ``, 1),
		strings.Repeat(" ", maxHeader) + headerWith(r, ""),
		strings.Repeat("[", 700),
		``, `null`, `{}`, `""`, `{`, "\x00",
	} {
		refuse(t, r, forge(t, r.signer, h, payload), rescind.ErrMalformed)
	}
}

func TestKidNamesAKeyAndNothingElse(t *testing.T) {
	r := newRing(t, Options{})
	payload := payloadOf(t, someClaims())
	for _, kid := range []string{
		"../../../../../../dev/null", "/dev/null", "file:///etc/passwd", "' OR '1'='1", "x' UNION SELECT 'k';--",
		"|sleep 5", "https://evil.example/jwks", "", "AAAAAAA", "AAAAAAAAA", "AAAA\\nAAA", "AAAA\\u000aAAA", "AAAAAA\\r\\n",
		"AAAAAAA=", "AAAA AAA", "\\u0000AAAAAAA",
	} {
		header := `{"typ":"at+jwt","alg":"ES256","kid":"` + kid + `"}`
		refuse(t, r, forge(t, r.signer, header, payload), rescind.ErrMalformed)
	}
	for _, kid := range []string{"AAAAAAAA", strings.ToLower(r.signer.id.String()) + "", strings.ToUpper(r.signer.id.String())} {
		if kid == r.signer.id.String() {
			continue
		}
		header := `{"typ":"at+jwt","alg":"ES256","kid":"` + kid + `"}`
		refuse(t, r, forge(t, r.signer, header, payload), rescind.ErrUnknown)
	}
}

// TestAttackTools plays the tricks that jwt_tool automates.
func TestAttackTools(t *testing.T) {
	for _, alg := range []string{ES256, EdDSA, RS256} {
		r := newRing(t, Options{Algorithm: alg})
		payload := payloadOf(t, someClaims())
		good := signed(t, r, someClaims())
		parts := strings.Split(good, ".")
		kid := r.signer.id.String()

		t.Run(alg+"/none in any casing", func(t *testing.T) {
			for i := range 16 {
				none := []byte("none")
				for bit := range none {
					if i>>bit&1 == 1 {
						none[bit] -= 'a' - 'A'
					}
				}
				head := encode(fmt.Sprintf(`{"typ":"at+jwt","alg":"%s","kid":"%s"}`, none, kid)) + "." + encode(payload)
				for _, end := range []string{"", ".", "." + parts[2], ".AA"} {
					refuse(t, r, head+end, rescind.ErrMalformed)
				}
			}
		})
		t.Run(alg+"/null signature", func(t *testing.T) {
			refuse(t, r, parts[0]+"."+parts[1]+".", rescind.ErrMalformed)
			refuse(t, r, parts[0]+"."+parts[1], rescind.ErrMalformed)
			refuse(t, r, parts[0]+".."+parts[2], rescind.ErrMalformed)
			refuse(t, r, "."+parts[1]+"."+parts[2], rescind.ErrMalformed)
			refuse(t, r, "..", rescind.ErrMalformed)
			refuse(t, r, "", rescind.ErrMalformed)
		})
		t.Run(alg+"/changed in one place", func(t *testing.T) {
			for i, part := range parts {
				for at := range part {
					b := []byte(part)
					b[at] = "AB"[b2i(b[at] == 'A')]
					changed := append([]string(nil), parts...)
					changed[i] = string(b)
					refuse(t, r, strings.Join(changed, "."), rescind.ErrInactive)
				}
			}
		})
		t.Run(alg+"/psychic signatures", func(t *testing.T) {
			for _, fill := range []byte{0, 1, 0xff} {
				sig := bytes.Repeat([]byte{fill}, r.signer.size)
				refuse(t, r, parts[0]+"."+parts[1]+"."+rawURL.EncodeToString(sig), rescind.ErrMalformed)
			}
			n := elliptic.P256().Params().N.Bytes()
			for _, sig := range [][]byte{append(append([]byte(nil), n...), n...), append(make([]byte, 32), n...), append(append([]byte(nil), n...), make([]byte, 32)...)} {
				refuse(t, r, parts[0]+"."+parts[1]+"."+rawURL.EncodeToString(sig), rescind.ErrMalformed)
			}
		})
		t.Run(alg+"/HMAC under what is public, or blank", func(t *testing.T) {
			der, err := x509.MarshalPKIXPublicKey(r.signer.public)
			if err != nil {
				t.Fatal(err)
			}
			block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
			for _, secret := range [][]byte{nil, {}, {0}, der, block, bytes.TrimSpace(block), r.JWKS(), []byte("secret"), []byte(kid)} {
				for _, name := range []string{"HS256", alg} {
					text := encode(fmt.Sprintf(`{"typ":"at+jwt","alg":"%s","kid":"%s"}`, name, kid)) + "." + encode(payload)
					h := hmac.New(sha256.New, secret)
					h.Write([]byte(text))
					refuse(t, r, text+"."+rawURL.EncodeToString(h.Sum(nil)), rescind.ErrMalformed)
				}
			}
		})
		t.Run(alg+"/a key of one's own", func(t *testing.T) {
			own := newRing(t, Options{Algorithm: alg})
			var set struct{ Keys []json.RawMessage }
			if err := json.Unmarshal(own.JWKS(), &set); err != nil {
				t.Fatal(err)
			}
			for _, more := range []string{``, `,"jku":"https://evil.example/"`, `,"x5u":"https://evil.example/"`, `,"jwk":` + string(set.Keys[0])} {
				refuse(t, r, forge(t, own.signer, headerWith(r, more), payload), rescind.ErrMalformed)
			}
			refuse(t, r, forge(t, own.signer, headerWith(own, ""), payload), rescind.ErrUnknown)
		})
		t.Run(alg+"/another key of the same ring", func(t *testing.T) {
			for id, other := range r.signers {
				if id != r.signer.id {
					refuse(t, r, forge(t, other, headerWith(r, ""), payload), rescind.ErrMalformed)
				}
			}
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestFormsThatAreNoToken(t *testing.T) {
	r := newRing(t, Options{})
	good := signed(t, r, someClaims())
	parts := strings.Split(good, ".")
	general := fmt.Sprintf(`{"payload":"%s","signatures":[{"protected":"%s","signature":"%s"}]}`, parts[1], parts[0], parts[2])
	flat := fmt.Sprintf(`{"payload":"%s","protected":"%s","signature":"%s"}`, parts[1], parts[0], parts[2])
	for _, token := range []string{
		general, flat,
		" " + good, good + " ", good + "\n", good + "\r\n", good + "\x00", "\ufeff" + good,
		good + "=", parts[0] + "=." + parts[1] + "." + parts[2], parts[0] + "." + parts[1] + "==." + parts[2],
		parts[0][:5] + "\n" + parts[0][5:] + "." + parts[1] + "." + parts[2],
		parts[0] + "." + parts[1][:5] + "\r\n" + parts[1][5:] + "." + parts[2],
		parts[0] + "." + parts[1] + "." + parts[2][:5] + "\n" + parts[2][5:],
		good + ".", "." + good, good + ".AAAA", good + "." + good, parts[0] + "." + parts[2], good + ".AA.AA",
		"Bearer " + good, good + "," + good, `"` + good + `"`,
		good + "A", good + "AAAA", good[:len(good)-1], good[:len(good)-4],
		strings.ReplaceAll(good, "-", "+") + "+", strings.ReplaceAll(good, "_", "/") + "/",
		strings.Repeat("A", 8<<20), strings.Repeat("A", rescind.MaxToken-2) + "..", strings.Repeat(".", rescind.MaxToken),
		good + strings.Repeat("A", rescind.MaxToken),
	} {
		refuse(t, r, token, rescind.ErrMalformed)
	}
}

// TestSplitTakesThreePartsOfBase64url tests the form by itself: what it lets
// through, later steps would refuse too, and none of them is there for that.
func TestSplitTakesThreePartsOfBase64url(t *testing.T) {
	if a, b, err := split("ab.c-_9.Z"); err != nil || a != 2 || b != 7 {
		t.Error(a, b, err)
	}
	for c := range 256 {
		c := byte(c)
		_, _, err := split("a." + string([]byte{c}) + ".b")
		word := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_'
		if (err == nil) != word {
			t.Errorf("byte %#x: %v", c, err)
		}
	}
	for _, token := range []string{"", "a", "a.b", "a.b.c.d", "a.b.c.", "....", strings.Repeat("a", rescind.MaxToken-3) + ".b.c"} {
		if _, _, err := split(token); !errors.Is(err, rescind.ErrMalformed) {
			t.Errorf("%.20q: %v", token, err)
		}
	}
}

// TestLimitsHoldForGenuineTokens signs what is too long, or spelled in two ways.
func TestLimitsHoldForGenuineTokens(t *testing.T) {
	r := newRing(t, Options{})
	good := payloadOf(t, someClaims())
	refuse(t, r, forge(t, r.signer, headerWith(r, ""), strings.TrimSuffix(good, "}")+`,"x":"`+strings.Repeat("x", 13<<10)+`"}`), rescind.ErrMalformed)
	for _, text := range []string{
		r.signer.header + "." + encode(good)[:8] + "\n" + encode(good)[8:],
		r.signer.header[:8] + "\r\n" + r.signer.header[8:] + "." + encode(good),
	} {
		signature, err := r.signer.method.Sign(text, r.signer.private)
		if err != nil {
			t.Fatal(err)
		}
		refuse(t, r, text+"."+rawURL.EncodeToString(signature), rescind.ErrMalformed)
	}
	for _, more := range []string{"AA", "AAAA"} {
		if _, err := r.Verify(forge(t, r.signer, headerWith(r, ""), good) + more); err == nil || !strings.Contains(err.Error(), "of the wrong length") {
			t.Errorf("a longer signature: %v", err)
		}
	}
}

// TestKeyHasOneAlgorithm: a key that says it is for another is not loaded.
func TestKeyHasOneAlgorithm(t *testing.T) {
	secrets := map[string][]byte{}
	for _, alg := range []string{ES256, EdDSA, RS256} {
		secret, err := generate(alg)
		if err != nil {
			t.Fatal(err)
		}
		secrets[alg] = secret
	}
	for name, private := range map[string]func() (any, error){
		"P-384":    func() (any, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"RSA-1024": func() (any, error) { return rsa.GenerateKey(rand.Reader, 1024) },
		"X25519":   func() (any, error) { return ecdh.X25519().GenerateKey(rand.Reader) },
	} {
		k, err := private()
		if err != nil {
			t.Fatal(name, err)
		}
		if secrets[name], err = x509.MarshalPKCS8PrivateKey(k); err != nil {
			t.Fatal(name, err)
		}
	}
	secrets["bytes"] = make([]byte, 32)
	for alg, secret := range secrets {
		for _, claimed := range []string{ES256, EdDSA, RS256, algHMAC, "none", ""} {
			_, err := newSigner(&key{attributes: attributes{Use: rescind.KeyUseSign, Alg: claimed, State: rescind.KeyCurrent}, secret: secret})
			if (err == nil) != (alg == claimed) {
				t.Errorf("%s key for %q: %v", alg, claimed, err)
			}
		}
	}
}

// TestOneSpellingOfAToken changes the bits that base64 leaves unused.
func TestOneSpellingOfAToken(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := newRing(t, Options{})
	good := signed(t, r, someClaims())
	last := strings.IndexByte(alphabet, good[len(good)-1]) // 64 bytes leave 4 unused bits
	for low := 1; low < 16; low++ {
		refuse(t, r, good[:len(good)-1]+string(alphabet[last|low]), rescind.ErrMalformed)
	}
	c := someClaims()
	c.Subject += "x" // leaves unused bits in the payload
	for i := 0; len(payloadOf(t, c))%3 == 0; i++ {
		c.Subject += "x"
	}
	payload := encode(payloadOf(t, c))
	payload = payload[:len(payload)-1] + string(alphabet[strings.IndexByte(alphabet, payload[len(payload)-1])|1])
	signature, err := r.signer.method.Sign(r.signer.header+"."+payload, r.signer.private)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, r, r.signer.header+"."+payload+"."+rawURL.EncodeToString(signature), rescind.ErrMalformed)
}

// TestSecondFormOfASignature: of an ECDSA signature (r, s), (r, n-s) is valid
// too, and the standard accepts it. It is the same token to the ledger, with the
// same session and jti, and ends with them.
func TestSecondFormOfASignature(t *testing.T) {
	r := newRing(t, Options{})
	good := signed(t, r, someClaims())
	parts := strings.Split(good, ".")
	sig, err := rawURL.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(sig[32:]))
	s.FillBytes(sig[32:])
	second := parts[0] + "." + parts[1] + "." + rawURL.EncodeToString(sig)
	if second == good {
		t.Fatal("not another form")
	}
	one, err := r.Verify(good)
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.Verify(second)
	if err != nil || !reflect.DeepEqual(one, two) {
		t.Errorf("got %+v, %v\nwant %+v", two, err, one)
	}
}
