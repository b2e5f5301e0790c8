package main

import (
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
	"github.com/rescind/rescind/store/pgstore"
	"github.com/rescind/rescind/store/redisstore"
)

// storeURL says where a ledger is kept. It may hold a password, which is why it
// prints as less than it is.
type storeURL string

// String leaves out the user, the password and every parameter.
func (u storeURL) String() string {
	scheme, rest, ok := strings.Cut(string(u), "://")
	if !ok || u.scheme() == "pebble" {
		return string(u)
	}
	rest, _, _ = strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return scheme + "://" + rest
}

// MarshalYAML prints what a person may see.
func (u storeURL) MarshalYAML() (any, error) { return u.String(), nil }

func (u storeURL) scheme() string {
	scheme, _, _ := strings.Cut(string(u), ":")
	return scheme
}

// folder is that of an embedded store.
func (u storeURL) folder() string { return strings.TrimPrefix(string(u), "pebble:") }

func (u storeURL) embedded() bool { return u.scheme() == "pebble" }

// complete refuses what names no store, without repeating what may be a secret.
func (u storeURL) complete() error {
	switch u.scheme() {
	case "pebble":
		if u.folder() == "" {
			return usagef("store: it is pebble:PATH, as in pebble:./rescind-data")
		}
	case "postgres", "postgresql", "redis", "rediss", "valkey", "valkeys":
	default:
		return usagef("store: it is pebble:PATH, as in pebble:./rescind-data, or a URL that begins with postgres://, redis:// or rediss://")
	}
	return nil
}

// open opens the ledger, or makes it where there is none.
func (u storeURL) open(log *slog.Logger) (rescind.Store, error) {
	var store rescind.Store
	var err error
	switch u.scheme() {
	case "pebble":
		store, err = asStore(pebblestore.Open(u.folder(), pebblestore.Options{Logger: log}))
	case "postgres", "postgresql":
		store, err = asStore(pgstore.Open(string(u), pgstore.Options{Logger: log}))
	default:
		store, err = asStore(redisstore.Open(string(u), redisstore.Options{Logger: log}))
	}
	switch {
	case err == nil:
		return store, nil
	case errors.Is(err, rescind.ErrUnavailable) && !u.embedded():
		return nil, u.redact(err)
	case errors.Is(err, rescind.ErrInvalid) && !u.embedded():
		return nil, usagef("store %s: %w", u, u.redact(err))
	}
	return nil, refusedf("store: %w", err)
}

// asStore keeps a nil pointer from becoming a store that is not nil.
func asStore[S rescind.Store](s S, err error) (rescind.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// redact takes a URL's password out of what a driver says.
func (u storeURL) redact(err error) error {
	parsed, perr := url.Parse(string(u))
	text := strings.ReplaceAll(err.Error(), string(u), u.String())
	if perr == nil && parsed.User != nil {
		if password, ok := parsed.User.Password(); ok && password != "" {
			text = strings.ReplaceAll(text, password, "[redacted]")
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

// completeStore finds the places of the secrets: beside the folder of an embedded
// store, and where a shared one is, only where somebody has put them, because
// every node needs the same.
func (c *config) completeStore() error {
	if err := c.Store.complete(); err != nil {
		return err
	}
	if !c.Store.embedded() {
		if c.masterKey == "" && c.MasterKeyFile == "" {
			return usagef("master_key_file: nodes that share a store share its master key: give each the same, by --master-key-file or RESCIND_MASTER_KEY, as in: head -c 32 /dev/urandom | base64")
		}
		if c.adminSecret == "" && c.AdminSecretFile == "" {
			return usagef("admin_secret_file: nodes that share a store share the secret of the client %s: give each the same, 32 to 256 characters, by --admin-secret-file or RESCIND_ADMIN_SECRET", adminID)
		}
		c.WitnessFile = or(c.WitnessFile, "rescind.witness")
		return nil
	}
	keys := filepath.Clean(c.Store.folder()) + ".keys"
	c.WitnessFile = or(c.WitnessFile, filepath.Join(keys, "witness.json"))
	if c.masterKey == "" {
		c.MasterKeyFile = or(c.MasterKeyFile, filepath.Join(keys, "master.key"))
	}
	if c.adminSecret == "" {
		c.AdminSecretFile = or(c.AdminSecretFile, filepath.Join(keys, "admin.secret"))
	}
	if c.appSecret == "" {
		c.AppSecretFile = or(c.AppSecretFile, filepath.Join(keys, "app.secret"))
	}
	for _, f := range []struct{ key, path, why string }{
		{"master_key_file", c.MasterKeyFile, "where a copy of the data would hold it"},
		{"witness_file", c.WitnessFile, "with which it would be put back"},
	} {
		if f.path == "" {
			continue
		}
		if inside, err := within(c.Store.folder(), f.path); err != nil {
			return usagef("%s: %w", f.key, err)
		} else if inside {
			return usagef("%s: %s lies in the data folder, %s: choose a place outside", f.key, f.path, f.why)
		}
	}
	return nil
}
