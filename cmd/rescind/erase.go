package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
)

func (c *cli) eraseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "erase SUBJECT",
		Short: "End and forget all sessions of a subject, and every event that names it",
		Long: `End all sessions of a subject, and then forget them and every event that names it. There is no
way back. If it breaks off (exit code 3), repeat it.`,
		Example: "  rescind erase alice",
		Args:    exactly("SUBJECT"),
	}
	c.overServer(cmd, unbounded, func(r *remoteCall) error {
		erased, err := r.client.Erase(r.ctx, r.args[0])
		if errors.Is(err, rescind.ErrUnavailable) {
			return fmt.Errorf("%w\nHow much was done is not known. Repeat the command", err)
		}
		if err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(map[string]int{"sessions": erased.Sessions, "events": erased.Events})
		}
		return c.out.printf("forgot %d session%s and %d event%s\n", erased.Sessions, plural(erased.Sessions), erased.Events, plural(erased.Events))
	})
	return cmd
}
