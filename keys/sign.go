package keys

import (
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rescind/rescind"
)

// lastDate is the end of the year 9999; later times have no date in RFC 3339.
const lastDate = 253402300799

// maxDepth is how deep the values of an application's own claims may nest.
const maxDepth = 32

// Sign implements [rescind.KeyRing]. It signs nothing that Verify would refuse.
func (r *ring) Sign(c *rescind.Claims) (string, error) {
	payload, err := appendClaims(make([]byte, 0, 1024), c)
	if err != nil {
		return "", fmt.Errorf("%w: claims: %w", rescind.ErrInvalid, err)
	}
	return r.signer.sign(payload)
}

// sign makes a compact JWS (RFC 7515 section 7.1).
func (s *signer) sign(payload []byte) (string, error) {
	size := len(s.header) + 1 + rawURL.EncodedLen(len(payload)) + 1 + rawURL.EncodedLen(s.size)
	if size > rescind.MaxToken {
		return "", fmt.Errorf("%w: the token would have %d bytes, the limit is %d", rescind.ErrInvalid, size, rescind.MaxToken)
	}
	b := append(make([]byte, 0, size), s.header...)
	b = rawURL.AppendEncode(append(b, '.'), payload)
	signature, err := s.method.Sign(string(b), s.private)
	if err != nil {
		return "", fmt.Errorf("sign under key %s: %w", s.id, err)
	}
	return string(rawURL.AppendEncode(append(b, '.'), signature)), nil
}

// appendClaims writes the claims in their one order.
func appendClaims(b []byte, c *rescind.Claims) ([]byte, error) {
	w := claimsWriter{b: append(b, '{')}
	if c.Session.IsZero() || c.ID == (rescind.TokenID{}) {
		w.fail(errMissing)
	}
	w.string("iss", c.Issuer)
	w.string("sub", c.Subject)
	w.string("client_id", c.Client)
	w.audience(c.Audience)
	if c.Scope != "" {
		w.string("scope", c.Scope)
	}
	w.string("sid", c.Session.String())
	w.string("jti", c.ID.String())
	w.date("iat", c.IssuedAt)
	w.date("exp", c.ExpiresAt)
	if len(c.Extra) > 0 {
		w.extra(c.Extra)
	}
	return append(w.b, '}'), w.err
}

// claimsWriter writes members and remembers the first mistake.
type claimsWriter struct {
	b   []byte
	err error
}

func (w *claimsWriter) name(name string) {
	if len(w.b) > 1 {
		w.b = append(w.b, ',')
	}
	w.b = append(append(append(w.b, '"'), name...), '"', ':')
}

func (w *claimsWriter) text(name, value string) {
	if value == "" {
		w.fail(fmt.Errorf("%s is empty", name))
	}
	var err error
	if w.b, err = jsontext.AppendQuote(w.b, value); err != nil {
		w.fail(fmt.Errorf("%s: %w", name, err))
	}
}

func (w *claimsWriter) string(name, value string) {
	w.name(name)
	w.text(name, value)
}

func (w *claimsWriter) audience(all []string) {
	if len(all) == 0 || len(all) > rescind.MaxAudiences {
		w.fail(fmt.Errorf("aud has %d members", len(all)))
		return
	}
	if len(all) == 1 {
		w.string("aud", all[0])
		return
	}
	w.name("aud")
	for i, one := range all {
		w.b = append(w.b, "[,"[min(i, 1)])
		w.text("aud", one)
	}
	w.b = append(w.b, ']')
}

func (w *claimsWriter) date(name string, t time.Time) {
	n := t.Unix()
	if n < 0 || n > lastDate {
		w.fail(fmt.Errorf("%s is out of range", name))
	}
	w.name(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

// extra writes the application's own claims, without white space, in their order.
func (w *claimsWriter) extra(object []byte) {
	w.fail(readObject(object, func(name, value string) error {
		plain, err := unquote(name)
		if err != nil {
			return err
		}
		if ours[plain] {
			return fmt.Errorf("%q is not the application's to set", plain)
		}
		if tooDeep(value) {
			return fmt.Errorf("%q is nested too deeply", plain)
		}
		compact := jsontext.Value(value)
		if err := compact.Compact(); err != nil {
			return err
		}
		w.b = append(append(append(append(w.b, ','), name...), ':'), compact...)
		return nil
	}))
}

func (w *claimsWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}
