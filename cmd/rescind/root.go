package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// process is what a command sees of the world around it.
type process struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) (string, bool)
}

// cli is one run of the command line.
type cli struct {
	process
	out     output
	started bool // the arguments were understood
}

// execute runs the command that the arguments name and returns the exit code.
func execute(ctx context.Context, p process) int {
	c := &cli{process: p, out: output{w: p.stdout, err: p.stderr}}
	root := c.root()
	root.SetArgs(p.args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if !c.started {
		code = exitUsage
	}
	text := err.Error()
	if !c.started && !strings.Contains(text, "--help") {
		text += "\nSee rescind --help"
	}
	// Errors go to standard error as text also under --json: a script tells them
	// apart by the exit code.
	label := output{colour: colours(p.stderr, p.env)}
	c.out.note("%s %s", label.paint(red, "rescind:"), cleanLines(text))
	return code
}

// cleanLines is clean for text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = clean(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rescind",
		Short: "Logout that really ends access",
		Long: `Rescind keeps every token it issues in a ledger and answers on every request whether
that token still stands. When a logout has returned, every check that begins afterwards fails.

Exit codes: 0 done, 1 found or refused, 2 bad usage, 3 unavailable (nothing is known: try again).`,
		Example: `  rescind demo                                 the flaw and its cure, in a few seconds
  rescind serve                                a server on this machine, nothing to install
  rescind session list --subject alice         the sessions of a user
  rescind revoke --subject alice --dry-run     how many would end
  rescind revoke --subject alice               end them all`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			c.started = true
			c.out.colour = !c.out.json && colours(c.stdout, c.env)
		},
	}
	root.PersistentFlags().BoolVar(&c.out.json, "json", false, "print JSON, for scripts")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w\nSee %s --help", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		c.serveCommand(), c.demoCommand(), c.sessionCommand(), c.revokeCommand(), c.eventsCommand(), c.keyCommand(),
		c.clientCommand(), c.backupCommand(), c.copyCommand(), c.eraseCommand(), c.benchCommand(), c.lintCommand(), c.probeCommand(), c.versionCommand(),
	)
	c.requireCommand(root)
	return root
}

// requireCommand makes a command that only groups others say so, where cobra
// would print its help and call that a success.
func (c *cli) requireCommand(group *cobra.Command) {
	for _, cmd := range group.Commands() {
		c.requireCommand(cmd)
	}
	if group.Runnable() || !group.HasSubCommands() {
		return
	}
	group.Args = cobra.ArbitraryArgs
	group.RunE = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				names = append(names, sub.Name())
			}
		}
		want := strings.Join(names, ", ")
		if len(args) == 0 {
			if !cmd.HasParent() {
				cmd.SetOut(c.stderr)
				_ = cmd.Help() // for people; the error says what matters
			}
			return usagef("%s needs a command: %s\nSee %s --help", cmd.CommandPath(), want, cmd.CommandPath())
		}
		text := ""
		for _, name := range cmd.SuggestionsFor(args[0]) {
			text += "\nDid you mean " + name + "?"
		}
		return usagef("%s has no command %q, it has: %s%s\nSee %s --help", cmd.CommandPath(), args[0], want, text, cmd.CommandPath())
	}
}

// exactly is cobra.ExactArgs with a message that says what is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		want := "no arguments"
		if len(names) > 0 {
			want = strings.Join(names, " ")
		}
		return usagef("%s takes %s\nSee %s --help", cmd.CommandPath(), want, cmd.CommandPath())
	}
}

// complete offers the values of a flag to the shell.
func (c *cli) complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that is not there, which every run would show.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// interrupted reports whether err only says that the user ended the command.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}
