package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
)

func (c *cli) sessionCommand() *cobra.Command {
	group := &cobra.Command{
		Use:   "session",
		Short: "List, show and revoke sessions",
		Example: `  rescind session list --subject alice
  rescind session show 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ
  rescind session revoke 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ --reason "stolen laptop"`,
	}
	group.AddCommand(c.sessionList(), c.sessionShow(), c.sessionRevoke())
	return group
}

func (c *cli) sessionList() *cobra.Command {
	var q rescind.SessionQuery
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sessions, in the order of their ids",
		Example: `  rescind session list --subject alice
  rescind session list --state active --limit 1000 --json
  rescind session list --after 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ     the page behind this one`,
		Args: exactly(),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Subject, "subject", "", "only sessions of this subject")
	flags.StringVar(&q.Client, "client", "", "only sessions of this client")
	flags.StringVar(&q.State, "state", "", "only those that are active, or ended")
	flags.StringVar(&q.After, "after", "", "start behind this cursor, which the page before has named")
	flags.IntVar(&q.Limit, "limit", 0, "how many at most, 1 to 1000 (default 100)")
	c.complete(cmd, "state", rescind.StateActive, rescind.StateEnded)
	c.overServer(cmd, brief, func(r *remoteCall) error {
		page, err := r.client.Sessions(r.ctx, q)
		if err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(page)
		}
		rows := make([][]string, 0, len(page.Sessions))
		for i := range page.Sessions {
			v := &page.Sessions[i]
			rows = append(rows, []string{
				v.ID.String(), stateOf(v), v.Subject, v.Client, stamp(v.CreatedAt), stamp(v.LastActive), deviceOf(v.Device),
			})
		}
		if len(rows) == 0 && page.Next == "" {
			c.out.note("no sessions")
			return nil
		}
		if err := c.out.table([]string{"SESSION", "STATE", "SUBJECT", "CLIENT", "CREATED", "LAST ACTIVE", "DEVICE"}, rows, 1); err != nil {
			return err
		}
		if page.Next != "" {
			c.out.note("there may be more: --after %s", page.Next)
		}
		return nil
	})
	return cmd
}

func stateOf(v *rescind.View) string {
	if v.State == rescind.StateEnded && v.EndReason != "" {
		return "ended (" + string(v.EndReason) + ")"
	}
	return v.State
}

func deviceOf(d rescind.Device) string {
	var parts []string
	for _, s := range []string{d.Name, d.IP, d.UserAgent} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	text := strings.Join(parts, ", ")
	if r := []rune(text); len(r) > 60 {
		text = string(r[:59]) + "…"
	}
	return text
}

func (c *cli) sessionShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show SESSION",
		Short:   "Show one session and the ledger's entries of its access tokens; never a token",
		Example: "  rescind session show 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ\n  rescind session show 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ --json",
		Args:    exactly("SESSION"),
	}
	c.overServer(cmd, brief, func(r *remoteCall) error {
		id, err := rescind.ParseSessionID(r.args[0])
		if err != nil {
			return err
		}
		v, err := r.client.Session(r.ctx, id)
		if err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(v)
		}
		return c.showSession(&v)
	})
	return cmd
}

func (c *cli) showSession(v *rescind.View) error {
	rows := [][2]string{
		{"session", v.ID.String()}, {"state", stateOf(v)}, {"subject", v.Subject}, {"client", v.Client},
		{"audience", strings.Join(v.Audience, " ")}, {"scope", v.Scope}, {"claims", string(v.Claims)},
		{"device", v.Device.Name}, {"user agent", v.Device.UserAgent}, {"address", v.Device.IP},
		{"created", stamp(v.CreatedAt)}, {"last active", stamp(v.LastActive)}, {"ends if idle", stamp(v.IdleAt)},
		{"ends at last", stamp(v.ExpiresAt)}, {"refreshed", times(v.Generation, v.RefreshedAt)}, {"ended", ended(v)},
	}
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		value := clean(row[1])
		if row[0] == "state" {
			value = c.out.paint(stateColour(v.State), value)
		}
		if err := c.out.printf("%-14s%s\n", row[0], value); err != nil {
			return err
		}
	}
	if len(v.Tokens) == 0 {
		return nil
	}
	if err := c.out.printf("\n"); err != nil {
		return err
	}
	tokens := make([][]string, 0, len(v.Tokens))
	for _, t := range v.Tokens {
		tokens = append(tokens, []string{t.ID.String(), t.State, stamp(t.IssuedAt), stamp(t.ExpiresAt), t.Scope})
	}
	return c.out.table([]string{"ACCESS TOKEN", "STATE", "ISSUED", "EXPIRES", "SCOPE"}, tokens, 1)
}

func times(n uint32, last *time.Time) string {
	if n == 0 || last == nil {
		return "never"
	}
	return strconv.FormatUint(uint64(n), 10) + "×, last " + stamp(*last)
}

func ended(v *rescind.View) string {
	if v.EndedAt == nil {
		return ""
	}
	return stamp(*v.EndedAt)
}

func (c *cli) sessionRevoke() *cobra.Command {
	var r rescind.Revocation
	cmd := &cobra.Command{
		Use:   "revoke SESSION",
		Short: "End one session, and with it all its tokens",
		Long: `End one session, and with it all its tokens. When this has exited with 0, every check that
begins afterwards fails. A session that has ended already is no error.`,
		Example: `  rescind session revoke 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ
  rescind session revoke 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ --reason "stolen laptop"
  rescind session revoke 0Jq1h5N0nJvPjGXbWmKcY3n2Qk8sT4uZ --dry-run`,
		Args: exactly("SESSION"),
	}
	revocationFlags(cmd, &r)
	c.overServer(cmd, brief, func(call *remoteCall) (err error) {
		if r.Session, err = rescind.ParseSessionID(call.args[0]); err != nil {
			return err
		}
		return c.revoke(call, r, "the session")
	})
	return cmd
}
