package main

import (
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
)

// openStore opens a ledger, and says in terms of exit codes why it cannot.
func openStore(url store.URL, log *slog.Logger) (rescind.Store, error) {
	s, err := url.Open(log)
	switch {
	case err == nil:
		return s, nil
	case url.Embedded():
		return nil, refusedf("store: %w", err)
	case errors.Is(err, rescind.ErrInvalid):
		return nil, usagef("store %s: %w", url, err)
	}
	return nil, unavailablef("store %s: %w", url, err)
}

// completeStore finds the places of the secrets: beside the folder of an embedded
// store, and where a shared one is, only where somebody has put them, because
// every node needs the same.
func (c *config) completeStore() error {
	if err := c.Store.Validate(); err != nil {
		return usagef("store: %w", err)
	}
	if !c.Store.Embedded() {
		if c.masterKey == "" && c.MasterKeyFile == "" {
			return usagef("master_key_file: nodes that share a store share its master key: give each the same, by --master-key-file or RESCIND_MASTER_KEY, as in: head -c 32 /dev/urandom | base64")
		}
		if c.adminSecret == "" && c.AdminSecretFile == "" {
			return usagef("admin_secret_file: nodes that share a store share the secret of the client %s: give each the same, 32 to 256 characters, by --admin-secret-file or RESCIND_ADMIN_SECRET", adminID)
		}
		c.WitnessFile = or(c.WitnessFile, "rescind.witness")
		return nil
	}
	keys := filepath.Clean(c.Store.Folder()) + ".keys"
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
		if inside, err := within(c.Store.Folder(), f.path); err != nil {
			return usagef("%s: %w", f.key, err)
		} else if inside {
			return usagef("%s: %s lies in the data folder, %s: choose a place outside", f.key, f.path, f.why)
		}
	}
	return nil
}
