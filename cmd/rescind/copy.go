package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
	"github.com/rescind/rescind/transfer"
)

func (c *cli) copyCommand() *cobra.Command {
	var from, to string
	var dry, abandon, force bool
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Move a ledger to another store",
		Long: `Copy a whole ledger, keys, clients, sessions and audit log, from one store to another: from a
folder to PostgreSQL or Redis, between them, or back. Nobody is logged out, and nothing that was
revoked comes back.

From the moment it begins, no server answers from the source any more, not even one that is still
running, so that nothing can be ended there unseen: its checks are unavailable (503) until servers
run on the copy. An embedded store can only be copied while no server has it open.

The copy is compared with its source, and in force only if they are alike. If it is cut short, run
the same command again: it goes on. --abandon puts the source back in force instead, until the
copy is finished; then only --force does, and what was revoked in the copy would work again.

The keys stay sealed under the same master key: start servers on the copy with that. A URL that holds
a password belongs in the environment, RESCIND_COPY_FROM and RESCIND_COPY_TO.

Exit codes: 1 if the copy differs or something does not fit, 3 if a store does not answer.`,
		Example: `  rescind copy --from pebble:./rescind-data --to postgres://db.example.com/rescind --dry-run
  rescind copy --from pebble:./rescind-data --to postgres://db.example.com/rescind
  rescind copy --from pebble:./rescind-data --abandon`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, value := range map[string]*string{"from": &from, "to": &to} {
				if text, _ := c.env("RESCIND_COPY_" + strings.ToUpper(name)); !cmd.Flags().Changed(name) {
					*value = text
				}
			}
			m := &moving{c: c, from: store.URL(from), to: store.URL(to)}
			switch {
			case from == "":
				return usagef("copy: give --from, the URL of the ledger\nSee rescind copy --help")
			case abandon:
				return m.abandon(cmd.Context(), force)
			case to == "" && !dry:
				return usagef("copy: give --to, the URL of an empty store\nSee rescind copy --help")
			}
			return m.run(cmd.Context(), dry)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the ledger, as in pebble:./rescind-data [RESCIND_COPY_FROM]")
	cmd.Flags().StringVar(&to, "to", "", "an empty store, as in postgres://… or redis://… [RESCIND_COPY_TO]")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only count what would be copied")
	cmd.Flags().BoolVar(&abandon, "abandon", false, "give an unfinished copy up and put the source back in force")
	cmd.Flags().BoolVar(&force, "force", false, "with --abandon: although the copy is finished")
	return cmd
}

// moving is one run of the command.
type moving struct {
	c        *cli
	from, to store.URL
	shown    time.Time
	wide     int // of what is shown
}

// open opens the source, which must be there: a folder is not made for it.
func (m *moving) open() (rescind.Store, error) {
	if m.from.Embedded() {
		if _, err := os.Stat(m.from.Folder()); err != nil {
			return nil, refusedf("copy: the source: %w", err)
		}
	}
	return openStore(m.from, slog.New(slog.DiscardHandler))
}

func (m *moving) run(ctx context.Context, dry bool) (err error) {
	source, err := m.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if dry {
		sum, err := transfer.Count(ctx, source)
		if err != nil {
			return m.coded(err)
		}
		return m.report(sum, "would copy", "")
	}
	target, err := openStore(m.to, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	o := transfer.Options{To: m.to.String(), Settle: transfer.DefaultSettle}
	if m.from.Embedded() {
		o.Settle = 0 // nobody else has it open
	}
	if !m.c.out.json && isTerminal(m.c.stderr) {
		o.Progress = m.show
	}
	sum, err := transfer.Run(ctx, source, target, o)
	m.clear()
	if err != nil {
		return m.coded(err)
	}
	return m.report(sum, "copied", fmt.Sprintf("Start servers on it with --store %s and the master key of the source, which is out of force for good.\n", m.to))
}

func (m *moving) abandon(ctx context.Context, force bool) (err error) {
	source, err := m.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := transfer.Abandon(ctx, source, force); err != nil {
		return m.coded(err)
	}
	if m.c.out.json {
		return m.c.out.emit(map[string]bool{"abandoned": true})
	}
	return m.c.out.printf("%s is in force again. What was copied of it is out of date: empty it before the next attempt.\n", m.from)
}

// coded gives what came of a copy its exit code.
func (m *moving) coded(err error) error {
	switch {
	case errors.Is(err, rescind.ErrInvalid):
		return refusedf("copy: %w", err)
	case errors.As(err, new(*transfer.Difference)):
		return refusedf("%w\nThe copy is not in force. Empty the target and try again", err)
	}
	return unavailablef("copy: %w\nNothing is lost: run the same command again, and it goes on", err)
}

func (m *moving) report(sum transfer.Result, done, next string) error {
	if m.c.out.json {
		return m.c.out.emit(sum)
	}
	return m.c.out.printf("%s %d sessions, %d of them ended, %d events and %d documents\n%s", done, sum.Sessions, sum.Ended, sum.Events, sum.Documents, next)
}

// show draws one line on the terminal, a few times a second.
func (m *moving) show(p transfer.Progress) {
	if time.Since(m.shown) < 200*time.Millisecond {
		return
	}
	m.shown = time.Now()
	text := fmt.Sprintf("%s: %d, %.0f %%", p.Phase, p.Done, 100*p.Part)
	if p.Phase == "settle" {
		text = "waiting until what was in flight is over"
	}
	_, _ = fmt.Fprintf(m.c.stderr, "\r%-*s", m.wide, text) // for people only
	m.wide = max(m.wide, len(text))
}

func (m *moving) clear() {
	if m.wide > 0 {
		_, _ = fmt.Fprintf(m.c.stderr, "\r%-*s\r", m.wide, "")
	}
}
