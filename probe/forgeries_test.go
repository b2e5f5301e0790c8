package probe

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"
)

func TestForgeriesPassTheVerifiersTheyAreFor(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	token := signed(t, gojwt.SigningMethodES256, key)
	read := readJWT(token)

	unsigned, err := read.withoutAlgorithm()
	if err != nil {
		t.Fatal(err)
	}
	if !verifies(unsigned[0].text, gojwt.UnsafeAllowNoneSignatureType) || !strings.HasSuffix(unsigned[0].text, ".") {
		t.Errorf("alg none: %s", unsigned[0].text)
	}

	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	confused, err := read.withPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if !verifies(confused[0].text, block) || !verifies(confused[1].text, block[:len(block)-1]) || !verifies(confused[2].text, der) {
		t.Error("HS256 with the public key does not verify")
	}

	own, err := read.withOwnKey()
	if err != nil {
		t.Fatal(err)
	}
	if !verifies(own[0].text, []byte{}) {
		t.Error("HS256 with an empty secret does not verify")
	}
	jwk, err := json.Marshal(readJWT(own[1].text).header["jwk"])
	if err != nil {
		t.Fatal(err)
	}
	keys, err := publicKeys([]byte(`{"keys":[` + string(jwk) + `]}`))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if !verifies(own[1].text, keys[0].key) {
		t.Error("the token does not verify under the key that it brings along")
	}

	stripped, err := read.withoutSignature()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(append(append(unsigned, confused...), own...), stripped...) {
		if verifies(f.text, key.Public()) || f.text == token {
			t.Errorf("%s verifies under the true key", f.name)
		}
		if claims := readJWT(f.text); claims != nil && claims.text("sub") != "ada" {
			t.Errorf("%s has other claims: %v", f.name, claims.claims)
		}
	}
}
