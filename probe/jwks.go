package probe

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// A publicKey is a key that an application publishes.
type publicKey struct {
	id  string
	key any // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// maxKeys is how many keys of a key set are tried.
const maxKeys = 3

// publicKeys reads a JWK set (RFC 7517, section 5). Keys that are no public key of
// a signature are left out; a set without any is an error.
func publicKeys(document []byte) ([]publicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, errors.New("it is no JWK set")
	}
	var keys []publicKey
	for _, text := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(text) != nil || jwk.Use == "enc" {
			continue // of a kind that go-jose does not know, for one
		}
		switch jwk.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			keys = append(keys, publicKey{jwk.KeyID, jwk.Key})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no public key")
	}
	return keys, nil
}

// forToken returns the keys to try for a token, the one that it names first.
func forToken(keys []publicKey, t *jwt) []publicKey {
	kid, _ := t.header["kid"].(string)
	keys = slices.Clone(keys)
	slices.SortStableFunc(keys, func(a, b publicKey) int {
		rank := func(k publicKey) int {
			if k.id == kid {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return keys[:min(len(keys), maxKeys)]
}

// keySetOf is where metadata (RFC 8414, section 2) says that the key set is; nil if
// it is none.
func keySetOf(document []byte) *url.URL {
	var metadata struct {
		KeySet string `json:"jwks_uri"`
	}
	if json.Unmarshal(document, &metadata) != nil || metadata.KeySet == "" {
		return nil
	}
	u, err := url.Parse(metadata.KeySet)
	if err != nil {
		return nil
	}
	return u
}
