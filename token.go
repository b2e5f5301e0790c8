package rescind

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The forms of tokens. Opaque access tokens and refresh tokens carry their own
// MAC, so that a forged one is refused before any look-up, and a genuine one is
// known as such even when its session has been purged.
//
//	refresh token  rsr_ base64url( session 24 | generation 4 | MAC key 6 | salt 16 | MAC 32 )
//	access token   rsa_ base64url( session 24 | token id 16 | MAC key 6 | MAC 32 )
//
// The salt also stands in the session's record and is compared with it: the MAC
// key alone makes no refresh token, and neither does the store alone.
const (
	prefixRefresh = "rsr_"
	prefixAccess  = "rsa_"

	refreshBody = 24 + 4 + 6 + 16
	accessBody  = 24 + 16 + 6
	macSize     = 32

	// MaxToken is the length of the longest token that is looked at.
	MaxToken = 16 << 10
)

// WellFormed reports whether a text can be a token at all: it has the grammar of a
// bearer token (RFC 6750 section 2.1) and not more than MaxToken bytes. What is not
// well-formed is no token of ours, and need not be asked about.
func WellFormed(token string) bool {
	body := strings.TrimRight(token, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return body != "" && len(token) <= MaxToken
}

// MAC labels keep the two kinds of token apart.
const (
	labelRefresh = "rescind refresh token v1\x00"
	labelAccess  = "rescind access token v1\x00"
)

type tokenKind uint8

const (
	kindAccess tokenKind = iota + 1
	kindRefresh
)

// presented is a token that is authentic and not yet judged: it was made with
// our keys. Whether it stands, only the ledger says.
type presented struct {
	kind       tokenKind
	session    SessionID
	id         TokenID // access
	generation uint32  // refresh
	salt       [16]byte
	claims     *Claims // access, JWT only
}

// present reads a token and proves that our keys made it.
func present(ring KeyRing, token string) (presented, error) {
	switch {
	case len(token) > MaxToken:
		return presented{}, ErrMalformed
	case strings.HasPrefix(token, prefixRefresh):
		var body [refreshBody + macSize]byte
		if err := openToken(ring, body[:], labelRefresh, token, 28); err != nil {
			return presented{}, err
		}
		return presented{
			kind:       kindRefresh,
			session:    SessionID(body[:24]),
			generation: binary.BigEndian.Uint32(body[24:28]),
			salt:       [16]byte(body[34:50]),
		}, nil
	case strings.HasPrefix(token, prefixAccess):
		var body [accessBody + macSize]byte
		if err := openToken(ring, body[:], labelAccess, token, 40); err != nil {
			return presented{}, err
		}
		return presented{kind: kindAccess, session: SessionID(body[:24]), id: TokenID(body[24:40])}, nil
	}
	c, err := ring.Verify(token)
	if err != nil {
		return presented{}, err
	}
	return presented{kind: kindAccess, session: c.Session, id: c.ID, claims: &c}, nil
}

// openToken decodes a token with a MAC into body and compares the MAC. The id of
// the MAC key stands at keyAt.
func openToken(ring KeyRing, body []byte, label, token string, keyAt int) error {
	text := token[len(prefixRefresh):]
	if len(text) != rawURL.EncodedLen(len(body)) {
		return ErrMalformed
	}
	var raw [128]byte
	if n, err := rawURL.Decode(body, append(raw[:0], text...)); err != nil || n != len(body) {
		return ErrMalformed // shorter: the decoder skips line breaks
	}
	key := KeyID(body[keyAt : keyAt+6])
	var msg [128]byte
	mac, err := ring.MAC(key, append(append(msg[:0], label...), body[:len(body)-macSize]...))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(mac[:], body[len(body)-macSize:]) != 1 {
		return ErrMalformed
	}
	return nil
}

// refreshToken makes the refresh token of a session's present generation. It
// is the same text every time.
func refreshToken(ring KeyRing, s *Session) (Secret, error) {
	body := make([]byte, 0, refreshBody+macSize)
	body = append(body, s.ID[:]...)
	body = binary.BigEndian.AppendUint32(body, s.Generation)
	body = append(body, s.MACKey[:]...)
	body = append(body, s.Salt[:]...)
	return sealToken(ring, prefixRefresh, labelRefresh, s.MACKey, body)
}

// accessToken makes the access token of an entry in the client's format.
func (a *Authority) accessToken(ring KeyRing, format TokenFormat, s *Session, e *AccessEntry) (Secret, error) {
	if format == FormatOpaque {
		body := make([]byte, 0, accessBody+macSize)
		body = append(body, s.ID[:]...)
		body = append(body, e.ID[:]...)
		body = append(body, s.MACKey[:]...)
		return sealToken(ring, prefixAccess, labelAccess, s.MACKey, body)
	}
	t, err := ring.Sign(&Claims{
		Issuer:    a.issuer,
		Subject:   s.Subject,
		Client:    s.Client,
		Audience:  s.Audience,
		Scope:     s.scopeOf(e),
		Session:   s.ID,
		ID:        e.ID,
		IssuedAt:  e.IssuedAt,
		ExpiresAt: e.ExpiresAt,
		Extra:     s.Claims,
	})
	return Secret(t), err
}

func sealToken(ring KeyRing, prefix, label string, key KeyID, body []byte) (Secret, error) {
	mac, err := ring.MAC(key, append([]byte(label), body...))
	if err != nil {
		return "", err
	}
	return Secret(prefix + rawURL.EncodeToString(append(body, mac[:]...))), nil
}

// agrees reports whether a JWT says exactly what the ledger says of it.
func (a *Authority) agrees(c *Claims, s *Session, e *AccessEntry) bool {
	if c.Issuer != a.issuer || c.Subject != s.Subject || c.Client != s.Client || c.Scope != s.scopeOf(e) ||
		!c.IssuedAt.Equal(e.IssuedAt) || !c.ExpiresAt.Equal(e.ExpiresAt) {
		return false
	}
	return slices.Equal(c.Audience, s.Audience) && bytes.Equal(c.Extra, s.Claims)
}

// read presents a token and looks its session up, under keys at least as new as
// the look-up: a key revoked before the look-up began is seen to be revoked.
func (a *Authority) read(ctx context.Context, token string) (*settings, presented, Snapshot, error) {
	set := a.set.Load()
	for range conflictsMax {
		p, err := present(set.ring, token)
		if err != nil {
			// The key may be one that this node has not heard of yet.
			if !errors.Is(err, ErrUnknown) {
				return set, p, Snapshot{}, err
			}
			newer, lerr := a.latest(ctx)
			if lerr != nil {
				return set, p, Snapshot{}, lerr
			}
			if newer == set {
				return set, p, Snapshot{}, err
			}
			set = newer
			continue
		}
		if err := a.dispel(ctx); err != nil {
			return set, p, Snapshot{}, err
		}
		snap, err := a.store.Lookup(ctx, p.session)
		if err != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				a.doubt.raise() // who comes back may have lost something
			}
			return set, p, snap, unavailable("look-up", err)
		}
		switch {
		case snap.Config == set.version:
			return set, p, snap, nil
		case snap.Config > set.version:
			set, err = a.reload(ctx)
		default: // what was read once is not there any more
			err = a.assure(ctx)
			set = a.set.Load()
		}
		if err != nil {
			return set, p, snap, err
		}
	}
	return set, presented{}, Snapshot{}, fmt.Errorf("%w: the store tells of two configurations by turns", ErrUnavailable)
}

// looksLikeToken reports whether free text holds something in the shape of a
// token, which must not reach the audit log.
func looksLikeToken(s string) bool {
	return strings.Contains(s, prefixRefresh) || strings.Contains(s, prefixAccess) || strings.Contains(s, "eyJ")
}
