// Package store opens the ledger that a URL names. The stores themselves are in
// the packages below it, one each, and know nothing of each other.
package store

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
	"github.com/rescind/rescind/store/pgstore"
	"github.com/rescind/rescind/store/redisstore"
)

// URL says where a ledger is kept: pebble:PATH, the embedded store in a folder,
// or the URL of a server, which begins with postgres://, redis:// or rediss:// and
// is described with the package's Open. It may hold a password, which is why it
// prints as less than it is.
type URL string

// String leaves out the user, the password and every parameter.
func (u URL) String() string {
	scheme, rest, ok := strings.Cut(string(u), "://")
	switch {
	case u.Embedded(), !ok && !strings.Contains(string(u), "@"):
		return string(u)
	case !ok:
		return "[redacted]"
	}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") { // perhaps a password with a ? in it
		return scheme + "://[redacted]"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return scheme + "://" + rest
}

// GoString is String, so that no verb of fmt prints more.
func (u URL) GoString() string { return u.String() }

// MarshalText is String, in JSON, in YAML and in logs.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Embedded reports whether this process alone has the ledger, in a folder.
func (u URL) Embedded() bool { return u.scheme() == "pebble" }

// Folder is that of an embedded store.
func (u URL) Folder() string { return strings.TrimPrefix(string(u), "pebble:") }

func (u URL) scheme() string {
	scheme, _, _ := strings.Cut(string(u), ":")
	return scheme
}

// Validate is ErrInvalid for what names no kind of store. It does not repeat what
// may be a secret.
func (u URL) Validate() error {
	switch u.scheme() {
	case "pebble":
		if u.Folder() == "" {
			return fmt.Errorf("%w: it is pebble:PATH, as in pebble:./rescind-data", rescind.ErrInvalid)
		}
	case "postgres", "postgresql", "redis", "rediss", "valkey", "valkeys":
	default:
		return fmt.Errorf("%w: it is pebble:PATH, as in pebble:./rescind-data, or a URL that begins with postgres://, redis:// or rediss://", rescind.ErrInvalid)
	}
	return nil
}

// Open opens the ledger, and makes it where there is none. ErrInvalid if the URL
// is wrong or names a server that could lose what it has acknowledged;
// ErrUnavailable if the server does not answer. A nil logger is silence.
func (u URL) Open(log *slog.Logger) (rescind.Store, error) {
	if err := u.Validate(); err != nil {
		return nil, err
	}
	switch u.scheme() {
	case "pebble":
		return opened(pebblestore.Open(u.Folder(), pebblestore.Options{Logger: log}))
	case "postgres", "postgresql":
		s, err := opened(pgstore.Open(string(u), pgstore.Options{Logger: log}))
		return s, u.redact(err)
	default:
		s, err := opened(redisstore.Open(string(u), redisstore.Options{Logger: log}))
		return s, u.redact(err)
	}
}

// opened keeps a nil pointer from becoming a store that is not nil.
func opened[S rescind.Store](s S, err error) (rescind.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// redact takes the URL and its password out of what a driver says.
func (u URL) redact(err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), string(u), u.String())
	if parsed, perr := url.Parse(string(u)); perr == nil {
		secrets := append(parsed.Query()["password"], parsed.Query()["sslpassword"]...)
		if password, ok := parsed.User.Password(); ok {
			secrets = append(secrets, password)
		}
		for _, secret := range secrets {
			if secret != "" {
				text = strings.NewReplacer(secret, "[redacted]", url.QueryEscape(secret), "[redacted]", url.PathEscape(secret), "[redacted]").Replace(text)
			}
		}
	}
	return redacted{text, err}
}

// redacted is an error in other words.
type redacted struct {
	text string
	err  error
}

func (r redacted) Error() string { return r.text }
func (r redacted) Unwrap() error { return r.err }
