package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind"
)

type vectorFile struct {
	NumberOfTests int
	TestGroups    []struct {
		Type    string
		Private json.RawMessage
		Public  json.RawMessage
		Tests   []struct {
			TcID    int
			Comment string
			JWS     string
			Result  string
		}
	}
}

// vectorMethods are our algorithms, and HS256, which is none of them: many
// vectors about the form of a token come with it only, and shall meet our reading
// of the form and not just our list of algorithms.
var vectorMethods = map[string]jwt.SigningMethod{
	ES256: methods[ES256], EdDSA: methods[EdDSA], RS256: methods[RS256],
	"HS256": jwt.SigningMethodHS256,
}

// What we refuse although the vectors call it valid. Vectors of an algorithm
// that we do not have (RS384, RS512, PS256, PS384, PS512, ES512, and a misprinted
// "ES521") are all refused, and the rest is here.
var refusedVectors = map[int]string{
	372: "has a byte outside base64url in its header: that is no token (RFC 8725bis)",
	373: "has a byte outside base64url in its payload: likewise",
}

// What the vectors call invalid although it is, byte for byte, another vector
// that they call valid (C2SP/wycheproof issue 236).
var contradictedVectors = map[int]int{367: 357, 370: 357}

// vectorSigner reads the JWK of a group; nil if it may not sign.
func vectorSigner(t *testing.T, raw json.RawMessage) *signer {
	var jwk struct {
		Alg, Use, Kid string
		KeyOps        []string `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &jwk); err != nil {
		t.Fatal(err)
	}
	if jwk.Use != "" && jwk.Use != "sig" || jwk.KeyOps != nil && !slices.Contains(jwk.KeyOps, "verify") {
		return nil // such a key never comes into a ring: Load takes keys for "sig" only
	}
	var plain map[string]any
	if err := json.Unmarshal(raw, &plain); err != nil {
		t.Fatal(err)
	}
	delete(plain, "alg") // ES521 would not be read
	delete(plain, "key_ops")
	raw, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		t.Fatalf("JWK %s: %v", jwk.Kid, err)
	}
	s := &signer{alg: jwk.Alg, method: vectorMethods[jwk.Alg], public: k.Key}
	switch p := k.Key.(type) {
	case []byte:
		s.size = 32
	case *rsa.PublicKey:
		s.size = p.Size()
	case *ecdsa.PublicKey:
		s.size = 2 * ((p.Curve.Params().BitSize + 7) / 8)
	case ed25519.PublicKey:
		s.size = ed25519.SignatureSize
	default:
		t.Fatalf("JWK %s: %T", jwk.Kid, k.Key)
	}
	return s
}

// TestWycheproofJWS runs every vector of the file through the code that verifies
// our tokens; all that differs is how a key is found for a header, because the
// vectors carry no typ and have kids of other forms.
func TestWycheproofJWS(t *testing.T) {
	b, err := fs.ReadFile(wycheproof.TestVectors, "json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	r := newRing(t, Options{})
	var ran, accepted, unsupported, exceptions int
	valid := map[int]string{}
	for _, g := range file.TestGroups {
		raw := g.Public
		if raw == nil {
			raw = g.Private
		}
		s := vectorSigner(t, raw)
		var jwk struct{ Kid string }
		if err := json.Unmarshal(raw, &jwk); err != nil {
			t.Fatal(err)
		}
		find := func(segment string) (*signer, error) {
			h, err := readHeader(segment)
			switch {
			case err != nil:
				return nil, err
			case s == nil || s.method == nil:
				return nil, rescind.ErrUnknown
			case h.kid != jwk.Kid || h.alg != s.alg:
				return nil, rescind.ErrMalformed
			}
			return s, nil
		}
		for _, v := range g.Tests {
			ran++
			want := v.Result == "valid"
			if want {
				valid[v.TcID] = v.JWS
			}
			switch twin, contradicted := contradictedVectors[v.TcID]; {
			case contradicted:
				if want || valid[twin] != v.JWS {
					t.Errorf("%d does not contradict %d: no exception", v.TcID, twin)
				}
				exceptions++
				want = true
			case refusedVectors[v.TcID] != "":
				if !want {
					t.Errorf("%d is invalid to the vectors too: no exception", v.TcID)
				}
				exceptions++
				want = false
			case want && s.method == nil:
				unsupported++
				want = false
			}
			_, _, err := openCompact(v.JWS, find)
			if (err == nil) != want {
				t.Errorf("%d (%s, %s): %v, want accepted: %v", v.TcID, v.Comment, v.Result, err, want)
			}
			if err == nil {
				accepted++
			} else if !errors.Is(err, rescind.ErrInactive) {
				t.Errorf("%d: %v does not wrap ErrInactive", v.TcID, err)
			}
			// And none of them is a token of ours.
			if _, err := r.Verify(v.JWS); !errors.Is(err, rescind.ErrMalformed) {
				t.Errorf("%d: Verify says %v", v.TcID, err)
			}
		}
	}
	got := fmt.Sprintf("%d vectors: %d accepted, %d of algorithms we lack, %d exceptions", ran, accepted, unsupported, exceptions)
	if want := fmt.Sprintf("%d vectors: 20 accepted, 26 of algorithms we lack, 4 exceptions", file.NumberOfTests); got != want {
		t.Errorf("ran %s; want %s", got, want)
	}
}
