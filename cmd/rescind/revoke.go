package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
)

func revocationFlags(cmd *cobra.Command, r *rescind.Revocation) {
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the audit log: at most 255 bytes, never a token")
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only say how many sessions would end")
}

func (c *cli) revokeCommand() *cobra.Command {
	var r rescind.Revocation
	var tokenFile, session, except, key string
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "End access: of a token, a session, a subject, a client, a key, or everybody",
		Long: `End access. Name exactly one of --token-file, --session, --subject, --client, --key and --all.

When this has exited with 0, every check that begins afterwards fails. What has ended already is
no error. After exit code 3 the outcome is unknown: repeat it, ending twice does no harm.`,
		Example: `  rescind revoke --subject alice --dry-run
  rescind revoke --subject alice --reason "left the company"
  rescind revoke --subject alice --except-session 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ
  rescind revoke --token-file - < found-on-a-web-page.txt
  rescind revoke --client mobile-app
  rescind revoke --key 5mZ2kq1P
  rescind revoke --all --yes`,
		Args: exactly(),
	}
	revocationFlags(cmd, &r)
	flags := cmd.Flags()
	flags.StringVar(&tokenFile, "token-file", "", "file with any token of a session, - for standard input: ends that session")
	flags.StringVar(&session, "session", "", "end this session")
	flags.StringVar(&r.Subject, "subject", "", "end all sessions of this subject")
	flags.StringVar(&except, "except-session", "", "with --subject: all but this one")
	flags.StringVar(&r.Client, "client", "", "end all sessions of this client")
	flags.StringVar(&key, "key", "", "end all tokens signed by this key, or all sessions that carry this MAC key")
	flags.BoolVar(&r.All, "all", false, "end every session of everybody")
	flags.BoolVar(&yes, "yes", false, "with --all: do not ask")
	c.overServer(cmd, brief, func(call *remoteCall) (err error) {
		var named []string
		for _, name := range []string{"token-file", "session", "subject", "client", "key", "all"} {
			if flags.Changed(name) {
				named = append(named, "--"+name)
			}
		}
		if len(named) != 1 {
			return usagef("name exactly one of --token-file, --session, --subject, --client, --key and --all, not %d of them", len(named))
		}
		if session != "" {
			if r.Session, err = rescind.ParseSessionID(session); err != nil {
				return err
			}
		}
		if flags.Changed("except-session") { // an empty one, as from a variable that is not set, spares nobody
			if r.ExceptSession, err = rescind.ParseSessionID(except); err != nil {
				return err
			}
		}
		if key != "" {
			if r.Key, err = rescind.ParseKeyID(key); err != nil {
				return err
			}
		}
		if tokenFile != "" {
			if r.Token, err = c.readToken(tokenFile); err != nil {
				return err
			}
		}
		if r.All && !r.DryRun {
			if err := c.confirm(yes, "This logs everybody out."); err != nil {
				return err
			}
		}
		return c.revoke(call, r, what(&r))
	})
	return cmd
}

// what names a selector in words.
func what(r *rescind.Revocation) string {
	switch {
	case r.Subject != "" && !r.ExceptSession.IsZero():
		return "every session of " + r.Subject + " but " + r.ExceptSession.String()
	case r.Subject != "":
		return "every session of " + r.Subject
	case r.Client != "":
		return "every session of the client " + r.Client
	case r.Key != rescind.KeyID{}:
		return "what the key " + r.Key.String() + " has made"
	case r.All:
		return "every session"
	}
	return "the session"
}

// readToken reads one token. It is never an argument: those are seen by others
// and kept by shells.
func (c *cli) readToken(path string) (string, error) {
	in := c.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", usagef("token: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, rescind.MaxToken+2))
	if err != nil {
		return "", usagef("token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(token) > rescind.MaxToken {
		return "", usagef("token: %s does not hold one token", path)
	}
	return token, nil
}

// revoke ends what r names and prints the receipt.
func (c *cli) revoke(call *remoteCall, r rescind.Revocation, what string) error {
	receipt, err := call.client.Revoke(call.ctx, r)
	if errors.Is(err, rescind.ErrUnavailable) {
		return fmt.Errorf("%w\nWhether it was done is not known. Repeat the command: ending twice does no harm", err)
	}
	if err != nil {
		return err
	}
	if !receipt.Session.IsZero() { // a token does not show whose it is
		what = "the session " + receipt.Session.String()
	}
	return c.printReceipt(receipt, what)
}

func (c *cli) printReceipt(r rescind.Receipt, what string) error {
	switch {
	case c.out.json:
		return c.out.emit(r)
	case r.DryRun:
		n, least := 0, ""
		if r.Sessions != nil {
			n = *r.Sessions
		}
		if r.Truncated {
			least = "at least "
		}
		return c.out.printf("would end %s: %s%d live session%s. Nothing was done\n", clean(what), least, n, plural(n))
	case !r.Changed:
		return c.out.printf("%s had ended already, position %d\n", clean(what), r.Position)
	}
	return c.out.printf("%s has ended, position %d\n", clean(what), r.Position)
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
