package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
)

func (c *cli) clientCommand() *cobra.Command {
	group := &cobra.Command{
		Use:   "client",
		Short: "Add, list and remove clients: the applications that talk to the server",
		Example: `  rescind client add shop --role issue --role introspect --write-secret shop.secret
  rescind client add shop-app --public
  rescind client list
  rescind client remove shop`,
	}
	group.AddCommand(c.clientAdd(), c.clientList(), c.clientRemove())
	return group
}

func (c *cli) clientAdd() *cobra.Command {
	var n rescind.Client
	var roles []string
	var format, secretFile, writeFile string
	var grace time.Duration
	var replace bool
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "Register a client and make its secret, which is shown once",
		Long: `Register a client. Unless it is public, it has a secret: one from --secret-file, or a new one,
which is printed once, or written to a new file by --write-secret, and cannot be had again.

With --replace the settings of a client that is there become exactly these, its sessions stay, and
it gets a new secret.`,
		Example: `  rescind client add shop --role issue --role introspect --write-secret shop.secret
  rescind client add shop-app --name "Shop on the phone" --public
  rescind client add shop-backend --role issue --issues-for shop-app --write-secret backend.secret
  rescind client add gateway --role guard --audience https://api.example.com
  rescind client add shop --role issue --role introspect --replace`,
		Args: exactly("ID"),
	}
	flags := cmd.Flags()
	flags.StringVar(&n.Name, "name", "", "its name, for people")
	flags.BoolVar(&n.Public, "public", false, "it has no secret, as an application on the user's device; it may end and refresh its own tokens only")
	flags.StringSliceVar(&roles, "role", nil, "what it may: issue, introspect, revoke, guard, admin; may be repeated")
	flags.StringSliceVar(&n.Audiences, "audience", nil, "audience whose tokens it may check; may be repeated (default: the server's)")
	flags.StringSliceVar(&n.IssuesFor, "issues-for", nil, "public client for which it may log users in, with the role issue; may be repeated")
	flags.StringVar(&format, "format", "", "form of its access tokens: jwt or opaque (default jwt)")
	flags.BoolVar(&n.Strict, "strict", false, "a refresh token serves once, also when the reply was lost")
	flags.DurationVar(&grace, "grace", 0, "how long a repeated refresh gets the same reply (default 10s for public clients, else 60s)")
	flags.BoolVar(&n.NoLogoutAll, "no-logout-all", false, "its users may not log out everywhere")
	flags.BoolVar(&replace, "replace", false, "change the client that has this id")
	flags.StringVar(&secretFile, "secret-file", "", "take its secret from this file, 32 to 256 characters")
	flags.StringVar(&writeFile, "write-secret", "", "write its new secret to this new file, for its owner only, instead of printing it")
	c.complete(cmd, "role", "issue", "introspect", "revoke", "guard", "admin")
	c.complete(cmd, "format", string(rescind.FormatJWT), string(rescind.FormatOpaque))
	c.overServer(cmd, brief, func(r *remoteCall) (err error) {
		n.ID, n.Format, n.Grace = r.args[0], rescind.TokenFormat(format), rescind.Duration(grace)
		for _, role := range roles {
			n.Roles = append(n.Roles, rescind.Role(role))
		}
		if secretFile != "" && writeFile != "" {
			return usagef("--secret-file gives a secret and --write-secret takes one: use one of them")
		}
		if n.Public && (secretFile != "" || writeFile != "") {
			return usagef("a public client has no secret")
		}
		var secret rescind.Secret
		if secretFile != "" {
			if secret, err = readSecret(secretFile); err != nil {
				return usagef("--secret-file: %w", err)
			}
		}
		if writeFile != "" {
			// Found out now rather than when the secret is there and has no place.
			if _, err := os.Lstat(writeFile); !errors.Is(err, fs.ErrNotExist) {
				return refusedf("--write-secret: %s is there already: name a new file", writeFile)
			}
		}
		added, secret, err := r.client.AddClient(r.ctx, n, secret, replace)
		if err != nil {
			return err
		}
		if writeFile != "" {
			if err := writeSecret(writeFile, secret); err != nil {
				return refusedf("the client %s was added, but its secret could not be written: %w\nGet a new one with rescind client add %s … --replace", n.ID, err, n.ID)
			}
			secret = ""
		}
		if secretFile != "" {
			secret = ""
		}
		if c.out.json {
			return c.out.emit(struct {
				Client       rescind.Client `json:"client"`
				ClientSecret rescind.Secret `json:"client_secret,omitempty"`
				SecretFile   string         `json:"secret_file,omitempty"`
			}{added, secret, writeFile})
		}
		if secret != "" {
			c.out.note("the secret of %s follows; it is shown this once", n.ID)
			return c.out.printf("%s\n", secret.Reveal())
		}
		return c.out.printf("added %s\n", clean(n.ID))
	})
	return cmd
}

func (c *cli) clientList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the clients; never a secret",
		Example: "  rescind client list\n  rescind client list --json",
		Args:    exactly(),
	}
	c.overServer(cmd, brief, func(r *remoteCall) error {
		all, err := r.client.Clients(r.ctx)
		if err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(map[string]any{"clients": all})
		}
		rows := make([][]string, 0, len(all))
		for _, one := range all {
			kind := "confidential"
			if one.Public {
				kind = "public"
			}
			var roles []string
			for _, role := range one.Roles {
				roles = append(roles, string(role))
			}
			rows = append(rows, []string{
				one.ID, kind, strings.Join(roles, " "), string(one.Format), one.Window().String(), strings.Join(one.Audiences, " "), one.Name,
			})
		}
		return c.out.table([]string{"CLIENT", "KIND", "ROLES", "TOKENS", "GRACE", "AUDIENCES", "NAME"}, rows, -1)
	})
	return cmd
}

func (c *cli) clientRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove ID",
		Short:   "Remove a client and end its sessions",
		Example: "  rescind revoke --client shop --dry-run     how many sessions that would end\n  rescind client remove shop",
		Args:    exactly("ID"),
	}
	c.overServer(cmd, brief, func(r *remoteCall) error {
		receipt, err := r.client.RemoveClient(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(receipt)
		}
		return c.out.printf("removed %s; its sessions have ended, position %d\n", clean(r.args[0]), receipt.Position)
	})
	return cmd
}
