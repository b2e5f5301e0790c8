package main

import (
	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
)

func (c *cli) keyCommand() *cobra.Command {
	group := &cobra.Command{
		Use:   "key",
		Short: "List, rotate and revoke the keys of the server",
		Example: `  rescind key list
  rescind key rotate
  rescind key revoke 5mZ2kq1P --reason "laptop with a backup of it was stolen"`,
	}
	group.AddCommand(c.keyList(), c.keyRotate(), c.keyRevoke())
	return group
}

func (c *cli) keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys: what may be shown of them",
		Example: "  rescind key list\n  rescind key list --json",
		Args:    exactly(),
	}
	c.overServer(cmd, brief, func(r *remoteCall) error {
		keys, err := r.client.ListKeys(r.ctx)
		if err != nil {
			return err
		}
		return c.printKeys(keys)
	})
	return cmd
}

func (c *cli) printKeys(keys []rescind.KeyInfo) error {
	if c.out.json {
		return c.out.emit(map[string]any{"keys": keys})
	}
	rows := make([][]string, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, []string{k.ID.String(), string(k.Use), k.Algorithm, string(k.State), stamp(k.CreatedAt), stamp(k.Since)})
	}
	return c.out.table([]string{"KEY", "USE", "ALGORITHM", "STATE", "CREATED", "SINCE"}, rows, 3)
}

func (c *cli) keyRotate() *cobra.Command {
	var use string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Bring in a new key; the present ones go on to verify what they have made",
		Long: `Bring in a new key. A signing key begins to sign only when it has stood in the JWKS for long
enough; until then it is "next". Nobody is logged out. If a key has leaked, revoke it instead.`,
		Example: "  rescind key rotate\n  rescind key rotate --use mac",
		Args:    exactly(),
	}
	cmd.Flags().StringVar(&use, "use", string(rescind.KeyUseSign), "sig, for JWT access tokens, or mac, for refresh and opaque tokens")
	c.complete(cmd, "use", string(rescind.KeyUseSign), string(rescind.KeyUseMAC))
	c.overServer(cmd, brief, func(r *remoteCall) error {
		if use != string(rescind.KeyUseSign) && use != string(rescind.KeyUseMAC) {
			return usagef("--use is sig or mac, not %q", use)
		}
		keys, err := r.client.RotateKey(r.ctx, rescind.KeyUse(use))
		if err != nil {
			return err
		}
		return c.printKeys(keys)
	})
	return cmd
}

func (c *cli) keyRevoke() *cobra.Command {
	var r rescind.Revocation
	cmd := &cobra.Command{
		Use:   "revoke KEY",
		Short: "End a key at once, and with it what it has made",
		Long: `End a key at once. Every token that a signing key has signed is refused; its sessions go on and
get new tokens under the next key when they refresh. All sessions that carry a MAC key end.`,
		Example: "  rescind key revoke 5mZ2kq1P\n  rescind key revoke 5mZ2kq1P --dry-run",
		Args:    exactly("KEY"),
	}
	revocationFlags(cmd, &r)
	c.overServer(cmd, brief, func(call *remoteCall) (err error) {
		if r.Key, err = rescind.ParseKeyID(call.args[0]); err != nil {
			return err
		}
		return c.revoke(call, r, what(&r))
	})
	return cmd
}
