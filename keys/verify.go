package keys

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rescind/rescind"
)

// maxHeader is the length of the longest first segment that is read; ours have
// about 70 bytes.
const maxHeader = 1024

// Verify implements [rescind.KeyRing] by RFC 9068 section 4 and RFC 8725bis:
// compact form only; one algorithm per key; no key but the ring's own, whatever
// the token names or brings along; nothing in it is read before it is authentic
// but the header, and that only to find the key. A claim it knows must be well
// formed, exp and iat whole numbers, and nbf absent, because Sign writes none.
// No error holds any part of the token.
func (r *ring) Verify(token string) (rescind.Claims, error) {
	payload, s, err := openCompact(token, r.find)
	if err != nil {
		return rescind.Claims{}, err
	}
	c, err := readClaims(payload)
	if err != nil {
		return rescind.Claims{}, malformed("claims", err)
	}
	c.Key = s.id
	return c, nil
}

// find chooses the key for a header. Nearly every token has one of the headers
// that the ring's keys write; the others are read.
func (r *ring) find(segment string) (*signer, error) {
	s := r.headers[segment]
	if s == nil {
		var err error
		if s, err = r.findBy(segment); err != nil {
			return nil, err
		}
	}
	if s.revoked {
		return nil, rescind.ErrRevoked
	}
	return s, nil
}

// findBy reads a header that is not one that the ring's keys write.
func (r *ring) findBy(segment string) (*signer, error) {
	h, err := readHeader(segment)
	if err != nil {
		return nil, err
	}
	// RFC 9068 section 4: the media type, with or without its prefix; media types
	// are compared without case (RFC 7515 section 4.1.9).
	if !strings.EqualFold(h.typ, "at+jwt") && !strings.EqualFold(h.typ, "application/at+jwt") {
		return nil, malformed("typ", errors.New("not that of an access token"))
	}
	id, err := rescind.ParseKeyID(h.kid)
	if err != nil || id.String() != h.kid {
		return nil, malformed("kid", errors.New("not one of ours"))
	}
	s := r.signers[id]
	if s == nil {
		return nil, rescind.ErrUnknown
	}
	if s.alg != h.alg {
		return nil, malformed("alg", errors.New("not that of the key"))
	}
	return s, nil
}

// openCompact reads a compact JWS and verifies its signature under the key that
// find chooses by its header. Only what this returns without error is authentic.
func openCompact(token string, find func(header string) (*signer, error)) ([]byte, *signer, error) {
	first, second, err := split(token)
	if err != nil {
		return nil, nil, err
	}
	s, err := find(token[:first])
	if err != nil {
		return nil, nil, err
	}
	encoded := token[second+1:]
	if len(encoded) != rawURL.EncodedLen(s.size) {
		return nil, nil, malformed("signature", errors.New("of the wrong length"))
	}
	signature, err := rawURL.DecodeString(encoded)
	if err != nil {
		return nil, nil, malformed("signature", errors.New("not base64url"))
	}
	if err := s.method.Verify(token[:second], signature, s.public); err != nil {
		return nil, nil, malformed("signature", errors.New("not by the key"))
	}
	payload, err := rawURL.DecodeString(token[first+1 : second])
	if err != nil {
		return nil, nil, malformed("payload", errors.New("not base64url"))
	}
	return payload, s, nil
}

// split finds the two dots of a token. A single byte that is neither a dot nor
// of base64url makes it none (RFC 8725bis): padding, white space and the JSON
// serializations have no chance.
func split(token string) (first, second int, err error) {
	if len(token) > rescind.MaxToken {
		return 0, 0, malformed("token", errors.New("too long"))
	}
	first, second = -1, -1
	for i := range len(token) {
		switch c := token[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c != '.':
			return 0, 0, malformed("token", errors.New("has bytes that no token has"))
		case first < 0:
			first = i
		case second < 0:
			second = i
		default:
			return 0, 0, malformed("token", errors.New("not of three parts"))
		}
	}
	if second < 0 {
		return 0, 0, malformed("token", errors.New("not of three parts"))
	}
	return first, second, nil
}

// header is all that the header of one of our tokens may hold.
type header struct {
	alg, kid, typ string
}

// readHeader reads the first segment. It refuses every other member: we write
// none, and what they would ask for (keys by jwk, jku, x5u, x5c; crit, b64, zip,
// enc) is nothing we do.
func readHeader(segment string) (header, error) {
	if len(segment) > maxHeader {
		return header{}, malformed("header", errors.New("too long"))
	}
	b, err := rawURL.DecodeString(segment)
	if err != nil {
		return header{}, malformed("header", errors.New("not base64url"))
	}
	var h header
	err = readObject(b, func(name, value string) error {
		name, err := unquote(name)
		if err != nil {
			return err
		}
		switch name {
		case "alg":
			h.alg, err = unquote(value)
		case "kid":
			h.kid, err = unquote(value)
		case "typ":
			h.typ, err = unquote(value)
		default:
			err = errors.New("has a member that no token of ours has")
		}
		return err
	})
	if err != nil {
		return header{}, malformed("header", err)
	}
	return h, nil
}

// malformed says what is wrong, never what stood there.
func malformed(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", rescind.ErrMalformed, what, err)
}
