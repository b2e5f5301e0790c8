package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind"
)

// The algorithms of signing keys (RFC 7518 section 3.1, RFC 8037). A key has
// exactly one. EdDSA is Ed25519; RS256 keys have 2048 bits.
const (
	ES256 = "ES256"
	EdDSA = "EdDSA"
	RS256 = "RS256"
)

// algHMAC is what MAC and tag keys are shown with.
const algHMAC = "HS256"

const rsaBits = 2048

// methods is what signing keys may be used with. "none" is not among them.
var methods = map[string]jwt.SigningMethod{
	ES256: jwt.SigningMethodES256,
	EdDSA: jwt.SigningMethodEdDSA,
	RS256: jwt.SigningMethodRS256,
}

// generate makes the secret part of a key: PKCS #8 for a signing key, 32 random
// bytes for the others.
func generate(alg string) ([]byte, error) {
	var private any
	var err error
	switch alg {
	case algHMAC:
		b := make([]byte, 32)
		_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
		return b, nil
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("no such algorithm: %s", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("generate %s key: %w", alg, err)
	}
	return x509.MarshalPKCS8PrivateKey(private)
}

// signer is a signing key, ready for use. Of a revoked one only the first fields
// are set.
type signer struct {
	id      rescind.KeyID
	alg     string
	header  string // the first segment of every token signed here
	revoked bool
	method  jwt.SigningMethod
	private crypto.Signer
	public  crypto.PublicKey
	size    int // of a signature, in bytes
}

// newSigner reads what generate made. The key must be one of its algorithm: a
// key that could be used under two would let one be passed off as the other.
func newSigner(from *key) (*signer, error) {
	s := &signer{
		id: from.id, alg: from.Alg, revoked: from.State == rescind.KeyRevoked, method: methods[from.Alg],
		header: rawURL.EncodeToString([]byte(`{"typ":"at+jwt","alg":"` + from.Alg + `","kid":"` + from.id.String() + `"}`)),
	}
	if s.revoked {
		return s, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(from.secret)
	if err != nil {
		return nil, fmt.Errorf("not a private key: %w", err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("not a signing key: %T", parsed)
	}
	s.private, s.public = private, private.Public()
	s.size, err = signatureSize(s.alg, s.public)
	return s, err
}

// signatureSize returns the one length a signature under a key has, and refuses
// a key that is not of the algorithm.
func signatureSize(alg string, public crypto.PublicKey) (int, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if alg == ES256 && k.Curve == elliptic.P256() {
			return 64, nil
		}
	case ed25519.PublicKey:
		if alg == EdDSA {
			return ed25519.SignatureSize, nil
		}
	case *rsa.PublicKey:
		if alg == RS256 && k.N.BitLen() >= rsaBits {
			return k.Size(), nil
		}
	}
	return 0, fmt.Errorf("not a key for %s: %T", alg, public)
}

// jwks returns the JSON Web Key Set of the public parts of keys.
func jwks(signers []*signer) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, s := range signers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.public, KeyID: s.id.String(), Algorithm: s.alg, Use: "sig"})
	}
	return json.Marshal(set)
}
