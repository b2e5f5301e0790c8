package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
)

// The two clients that a first start makes.
const (
	adminID = "admin"
	appID   = rescind.DefaultClient
)

// places are the files that a person has to know of.
type places struct {
	MasterKey   string `json:"master_key_file,omitempty"`
	AdminSecret string `json:"admin_secret_file,omitempty"`
	AppSecret   string `json:"app_secret_file,omitempty"`
}

// master returns the master key of an open store. A store without keys gets a
// new one; for one that has them the old one is needed, and a new one would only
// hide that it is gone.
func (c *config) master(ctx context.Context, store rescind.Store) (keys.Master, error) {
	if c.masterKey != "" {
		m, err := keys.ParseMaster(c.masterKey.Reveal())
		if err != nil {
			return m, usagef("RESCIND_MASTER_KEY: %w", err)
		}
		return m, nil
	}
	stored, err := store.Config(ctx)
	if err != nil {
		return keys.Master{}, fmt.Errorf("%w: store: %w", rescind.ErrUnavailable, err)
	}
	if len(stored.Documents) == 0 && c.Store.Embedded() {
		if err := privateFolder(filepath.Dir(c.MasterKeyFile)); err != nil {
			return keys.Master{}, refusedf("master key: %w\nChoose another place for it by --master-key-file, or give the key itself in RESCIND_MASTER_KEY", err)
		}
		m, _, err := keys.LoadOrCreateMaster(c.MasterKeyFile)
		if err != nil {
			return m, refused(err)
		}
		return m, nil
	}
	m, err := keys.LoadMaster(c.MasterKeyFile)
	if errors.Is(err, fs.ErrNotExist) && len(stored.Documents) == 0 {
		return m, refusedf("there is no master key at %s: make one that all nodes share, as in: head -c 32 /dev/urandom | base64 > %[1]s", c.MasterKeyFile)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return m, refusedf(`the store %s has keys, but their master key is not at %s
Without it nothing in the store can be used. Put the file back from the copy you kept, or name its place by
--master-key-file, or give the key itself in RESCIND_MASTER_KEY. If it is lost for good, every session is: move
the data folder away and start anew`, c.Store, c.MasterKeyFile)
	}
	if err != nil {
		return m, refused(err)
	}
	return m, nil
}

// checkSecrets reads what there is of the secrets, before anything is made for
// which they are needed.
func (c *config) checkSecrets(env func(string) (string, bool)) error {
	if c.masterKey != "" {
		if _, err := keys.ParseMaster(c.masterKey.Reveal()); err != nil {
			return usagef("RESCIND_MASTER_KEY: %w", err)
		}
	}
	fits := func(place string, secret rescind.Secret) error {
		if err := new(rescind.Client).SetSecret(secret.Reveal()); err != nil {
			return usagef("%s: %w", place, err)
		}
		return nil
	}
	if c.appSecret != "" { // its file matters at the first start only
		if err := fits("RESCIND_APP_SECRET", c.appSecret); err != nil {
			return err
		}
	}
	secret, err := c.adminSecret, error(nil)
	if secret == "" {
		secret, err = readSecret(c.AdminSecretFile)
	}
	switch {
	case err == nil:
		if err := fits(or(c.AdminSecretFile, "RESCIND_ADMIN_SECRET"), secret); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist): // else it is made, or not needed
		return refusedf("secret of the client %s: %w", adminID, err)
	}
	for _, d := range c.Clients {
		if d.Public {
			continue
		}
		secret, err := d.secret(env)
		if err != nil {
			return err
		}
		if err := fits(fmt.Sprintf("clients: %q", d.ID), secret); err != nil {
			return err
		}
	}
	return nil
}

// settleClients makes admin and, where there was no admin yet, app, and brings
// the declared clients to what is declared. Nothing is written where nothing
// differs.
func (c *config) settleClients(ctx context.Context, a *rescind.Authority, env func(string) (string, bool)) (places, error) {
	var err error
	for range nodesAtOnce {
		if err = c.settleOnce(ctx, a, env); !errors.Is(err, rescind.ErrConflict) {
			break // else another node, which starts on the same new store, was faster
		}
	}
	if err != nil {
		return places{}, err
	}
	// Only what is there: a secret may be kept in a better place, and beside a
	// backup there is none.
	return places{MasterKey: c.MasterKeyFile, AdminSecret: existing(c.AdminSecretFile), AppSecret: existing(c.AppSecretFile)}, nil
}

// nodesAtOnce bounds how often a node gives way to others that start with it.
const nodesAtOnce = 20

func (c *config) settleOnce(ctx context.Context, a *rescind.Authority, env func(string) (string, bool)) error {
	for _, d := range c.Clients {
		if err := settleDeclared(ctx, a, d, env); err != nil {
			return err
		}
	}
	admin, err := lookUp(ctx, a, adminID)
	if err != nil {
		return err
	}
	if admin == nil {
		// This is the first start, or what is left of one. Admin comes last: while it
		// is not there, this is repeated.
		if err := c.firstApp(ctx, a); err != nil {
			return err
		}
	}
	return c.settleAdmin(ctx, a, admin)
}

// existing returns path if there is something, else "".
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// firstApp makes the client that the quickstarts use.
func (c *config) firstApp(ctx context.Context, a *rescind.Authority) error {
	app, err := lookUp(ctx, a, appID)
	if err != nil || app != nil {
		return err
	}
	secret := c.appSecret
	switch {
	case secret != "":
	case c.AppSecretFile == "":
		return nil // on a shared store, where nobody has given it one
	case c.Store.Embedded():
		secret, err = obtainSecret(c.AppSecretFile)
	default:
		secret, err = readSecret(c.AppSecretFile)
	}
	if err != nil {
		return refusedf("secret of the client %s: %w\nMake its place writable, or declare the client %s in the configuration", appID, err, appID)
	}
	app = &rescind.Client{
		ID: appID, Name: "Application", Format: rescind.FormatJWT,
		Roles: []rescind.Role{rescind.RoleIssue, rescind.RoleIntrospect, rescind.RoleRevoke, rescind.RoleGuard},
	}
	if err := app.SetSecret(secret.Reveal()); err != nil {
		return usagef("%s: %w", or(c.AppSecretFile, "RESCIND_APP_SECRET"), err)
	}
	_, err = a.AddClient(ctx, *app, false, rescind.ActorSelf)
	return err
}

// settleAdmin gives admin the secret that its file or the environment holds. If
// the file has been taken away later, the secret that is stored stays in force:
// somebody may keep it in a better place.
func (c *config) settleAdmin(ctx context.Context, a *rescind.Authority, admin *rescind.Client) error {
	secret, err := c.adminSecret, error(nil)
	switch {
	case secret != "":
	case admin == nil && c.Store.Embedded():
		secret, err = obtainSecret(c.AdminSecretFile)
	case admin == nil:
		secret, err = readSecret(c.AdminSecretFile)
	default:
		if secret, err = readSecret(c.AdminSecretFile); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return refusedf("secret of the client %s: %w", adminID, err)
	}
	if admin != nil && admin.Authentic(secret.Reveal()) {
		return nil
	}
	next := rescind.Client{ID: adminID, Name: "Administrator", Format: rescind.FormatJWT}
	if admin != nil {
		next = *admin
	}
	next.Public, next.Roles = false, []rescind.Role{
		rescind.RoleIssue, rescind.RoleIntrospect, rescind.RoleRevoke, rescind.RoleGuard, rescind.RoleAdmin,
	}
	if err := next.SetSecret(secret.Reveal()); err != nil {
		return usagef("%s: %w", or(c.AdminSecretFile, "RESCIND_ADMIN_SECRET"), err)
	}
	_, err = a.AddClient(ctx, next, admin != nil, rescind.ActorSelf)
	return err
}

// settleDeclared adds a client of the configuration, or changes the one that is
// there if it differs.
func settleDeclared(ctx context.Context, a *rescind.Authority, d declared, env func(string) (string, bool)) error {
	want := d.client()
	if !d.Public {
		secret, err := d.secret(env)
		if err != nil {
			return err
		}
		if err := want.SetSecret(secret.Reveal()); err != nil {
			return usagef("clients: %q: %w", d.ID, err)
		}
	}
	have, err := lookUp(ctx, a, d.ID)
	if err != nil {
		return err
	}
	if have != nil && same(*have, want) {
		return nil
	}
	if _, err := a.AddClient(ctx, want, true, rescind.ActorSelf); err != nil {
		if errors.Is(err, rescind.ErrInvalid) {
			return usagef("clients: %q: %w", d.ID, err)
		}
		return err
	}
	return nil
}

func (d *declared) secret(env func(string) (string, bool)) (rescind.Secret, error) {
	if d.SecretEnv != "" {
		text, _ := env(d.SecretEnv)
		if text == "" {
			return "", usagef("clients: %q: secret_env names %s, which is not set", d.ID, d.SecretEnv)
		}
		return rescind.Secret(text), nil
	}
	secret, err := readSecret(d.SecretFile)
	if err != nil {
		return "", usagef("clients: %q: %w", d.ID, err)
	}
	return secret, nil
}

// same compares two clients, their age apart. Empty lists and no lists are one.
func same(a, b rescind.Client) bool {
	if !bytes.Equal(a.SecretHash, b.SecretHash) || len(a.Roles)+len(b.Roles) > 0 && !reflect.DeepEqual(a.Roles, b.Roles) ||
		len(a.Audiences)+len(b.Audiences) > 0 && !reflect.DeepEqual(a.Audiences, b.Audiences) ||
		len(a.IssuesFor)+len(b.IssuesFor) > 0 && !reflect.DeepEqual(a.IssuesFor, b.IssuesFor) {
		return false
	}
	a.SecretHash, a.Roles, a.Audiences, a.IssuesFor, a.CreatedAt = b.SecretHash, b.Roles, b.Audiences, b.IssuesFor, b.CreatedAt
	return reflect.DeepEqual(a, b)
}

// lookUp returns nil where there is no such client.
func lookUp(ctx context.Context, a *rescind.Authority, id string) (*rescind.Client, error) {
	c, err := a.Client(ctx, id)
	if errors.Is(err, rescind.ErrNotFound) {
		return nil, nil
	}
	return c, err
}
