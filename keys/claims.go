package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rescind/rescind"
)

// ours are the claims that Sign writes, and nbf, which it never does.
var ours = map[string]bool{
	"iss": true, "sub": true, "client_id": true, "aud": true, "scope": true,
	"sid": true, "jti": true, "iat": true, "exp": true, "nbf": true,
}

var (
	errForm    = errors.New("not of the form that its name demands")
	errMissing = errors.New("one is missing")
	errNumber  = errors.New("not a whole number of seconds")
	errObject  = errors.New("not one JSON object")
	errDepth   = errors.New("nested too deeply")
	errString  = errors.New("not a string")
)

// readClaims reads the claims of a token that is authentic. It judges nothing.
func readClaims(payload []byte) (rescind.Claims, error) {
	var c rescind.Claims
	var extra []byte
	err := readObject(payload, func(name, value string) error {
		plain, err := unquote(name)
		if err != nil {
			return err
		}
		switch plain {
		case "iss":
			c.Issuer, err = text(value)
		case "sub":
			c.Subject, err = text(value)
		case "client_id":
			c.Client, err = text(value)
		case "aud":
			c.Audience, err = audience(value)
		case "scope":
			c.Scope, err = text(value)
		case "sid":
			c.Session, err = identifier(value, rescind.ParseSessionID)
		case "jti":
			c.ID, err = identifier(value, rescind.ParseTokenID)
		case "iat":
			c.IssuedAt, err = numericDate(value)
		case "exp":
			c.ExpiresAt, err = numericDate(value)
		case "nbf":
			err = errForm
		default:
			if tooDeep(value) {
				return errDepth
			}
			extra = append(append(append(append(extra, ','), name...), ':'), value...)
		}
		return err
	})
	switch {
	case err != nil:
		return rescind.Claims{}, err
	case c.Issuer == "" || c.Subject == "" || c.Client == "" || c.Audience == nil ||
		c.Session.IsZero() || c.ID == rescind.TokenID{} || c.IssuedAt.IsZero() || c.ExpiresAt.IsZero():
		return rescind.Claims{}, errMissing
	case extra != nil:
		extra[0] = '{'
		c.Extra = append(extra, '}')
	}
	return c, nil
}

// readObject calls visit with the raw name and value of each member of a JSON
// object. It refuses duplicate names at any depth, invalid UTF-8, and anything
// behind the object (RFC 7493).
func readObject(b []byte, visit func(name, value string) error) error {
	// Strings are cut from one copy: the decoder owns its buffer.
	all := string(b)
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	if d.PeekKind() != jsontext.KindBeginObject {
		return errObject
	}
	if _, err := d.ReadToken(); err != nil {
		return errObject
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := readValue(d, all)
		if err != nil {
			return err
		}
		value, err := readValue(d, all)
		if err != nil {
			return err
		}
		if err := visit(name, value); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return errObject
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errObject
	}
	return nil
}

// readValue returns the next value as it stands. Its errors name a place, never
// the text: a decoder's own might quote it.
func readValue(d *jsontext.Decoder, all string) (string, error) {
	v, err := d.ReadValue()
	if err != nil {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return "", jsontext.ErrDuplicateName
		}
		return "", errObject
	}
	end := int(d.InputOffset())
	return all[end-len(v) : end], nil
}

// unquote returns what a JSON string that was read says.
func unquote(raw string) (string, error) {
	if raw[0] != '"' {
		return "", errString
	}
	if !strings.Contains(raw, `\`) {
		return raw[1 : len(raw)-1], nil
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", errString
	}
	return string(b), nil
}

// text is a string that says something.
func text(raw string) (string, error) {
	s, err := unquote(raw)
	if err == nil && s == "" {
		err = errForm
	}
	return s, err
}

// identifier is an id in the one spelling that its String writes.
func identifier[T fmt.Stringer](raw string, parse func(string) (T, error)) (T, error) {
	var none T
	s, err := unquote(raw)
	if err != nil {
		return none, err
	}
	id, err := parse(s)
	if err != nil || id.String() != s {
		return none, errForm
	}
	return id, nil
}

// audience is a string or an array of strings (RFC 7519 section 4.1.3).
func audience(raw string) ([]string, error) {
	if raw[0] != '[' {
		one, err := text(raw)
		return []string{one}, err
	}
	d := jsontext.NewDecoder(strings.NewReader(raw))
	if _, err := d.ReadToken(); err != nil {
		return nil, errForm
	}
	var all []string
	for d.PeekKind() == jsontext.KindString {
		v, err := d.ReadValue()
		if err != nil {
			return nil, errForm
		}
		one, err := text(string(v))
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if d.PeekKind() != jsontext.KindEndArray || len(all) == 0 || len(all) > rescind.MaxAudiences {
		return nil, errForm
	}
	return all, nil
}

// numericDate is a NumericDate (RFC 7519 section 2) as we write them: digits
// only. Fractions, exponents and signs are forms that two readers read apart.
func numericDate(raw string) (time.Time, error) {
	n, err := strconv.ParseUint(raw, 10, 64) // takes no sign; JSON allows no leading zero
	if err != nil || n > lastDate {
		return time.Time{}, errNumber
	}
	return time.Unix(int64(n), 0), nil
}

// tooDeep reports whether a JSON value that was read nests deeper than maxDepth.
func tooDeep(raw string) bool {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
