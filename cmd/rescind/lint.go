package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind/lint"
)

// linting is one run of lint.
type linting struct {
	lint.Options
	sarif  string
	failOn string
}

func (c *cli) lintCommand() *cobra.Command {
	var l linting
	cmd := &cobra.Command{
		Use:   "lint [PATH…]",
		Short: "Find logouts in source code that do not end access",
		Long: `Find, in JavaScript, TypeScript, Python and Go, logouts that do not end access, and checks that a
logout cannot make fail. Whole files are parsed, and calls are followed through imports; nothing is run, and nothing is sent anywhere.

A PATH is a file or a folder, by default this one. Left out beneath a folder are what others wrote (node_modules, vendor, dist and the
like), files of tests, and what a machine wrote. Give as much of an application at once as there is: what is not read cannot be followed.

Every finding is certain (the whole way was read), likely, or possible (what would cure it may happen where nothing was read).
A comment on the line, or above it, accepts one: rescind:ignore REASON, or rescind:ignore[RULE] REASON.

Exit codes: 0 nothing found, 1 found, 2 bad usage, 3 a file could not be read and nothing was found.`,
		Example: `  rescind lint
  rescind lint src --fail-on certain
  rescind lint . --exclude 'legacy/**' --skip token-without-id
  rescind lint . --sarif rescind-lint.sarif
  rescind lint rules signature-only-check`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.Paths = args
			if len(args) == 0 {
				l.Paths = []string{"."}
			}
			return c.lint(cmd.Context(), &l)
		},
	}
	f := cmd.Flags()
	f.StringVar(&l.sarif, "sarif", "", "write the findings to this file too, as SARIF 2.1.0")
	f.StringSliceVar(&l.Only, "rule", nil, "look for this rule alone; may be given several times")
	f.StringSliceVar(&l.Skip, "skip", nil, "do not look for this rule; may be given several times")
	f.StringArrayVar(&l.Exclude, "exclude", nil, "leave out files and folders of this name or path, with * and dir/**; may be given several times")
	f.BoolVar(&l.Tests, "tests", false, "read files of tests too")
	f.StringVar(&l.failOn, "fail-on", string(lint.Likely), "the least confidence that makes the exit code 1: certain, likely or possible")
	c.complete(cmd, "fail-on", string(lint.Certain), string(lint.Likely), string(lint.Possible))
	for _, name := range []string{"rule", "skip"} {
		if err := cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return ruleIDs(), cobra.ShellCompDirectiveNoFileComp
		}); err != nil {
			panic(err) // see complete
		}
	}
	cmd.AddCommand(c.lintRules())
	return cmd
}

// ruleIDs are the rules, with their titles, for the shell.
func ruleIDs() []string {
	rules, err := lint.Rules()
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(rules))
	for _, r := range rules {
		out = append(out, r.ID+"\t"+r.Title)
	}
	return out
}

func (c *cli) lint(ctx context.Context, l *linting) error {
	least := lint.Confidence(l.failOn)
	if least != lint.Certain && least != lint.Likely && least != lint.Possible {
		return usagef("--fail-on is certain, likely or possible, not %q", l.failOn)
	}
	if isTerminal(c.stderr) && !c.out.json {
		l.Progress = c.lintProgress
	}
	report, err := lint.Check(ctx, l.Options)
	switch {
	case errors.Is(err, lint.ErrUsage):
		return usagef("%w\nSee rescind lint --help", err)
	case errors.Is(err, fs.ErrNotExist):
		return usagef("%w", err)
	case err != nil:
		return unavailablef("lint: %w", err)
	}
	if l.sarif != "" {
		if err := writeSARIF(l.sarif, report); err != nil {
			return err
		}
	}
	if c.out.json {
		err = c.out.emit(report.JSON())
	} else {
		err = c.printFindings(report, least)
	}
	if err != nil {
		return err
	}
	switch n := report.Count(least); {
	case n > 0:
		return refusedf("%s", count(n, "finding"))
	case report.Blind():
		return unavailablef("nothing was found, but not every file could be read")
	}
	return nil
}

// lintProgress keeps one line of a terminal up to date.
func (c *cli) lintProgress(done, all int) {
	if done%50 != 0 && done != all {
		return
	}
	end := ""
	if done == all {
		end = "\r\x1b[K"
	}
	// Losing it changes nothing.
	_, _ = fmt.Fprintf(c.stderr, "\r\x1b[K%d of %d files%s", done, all, end)
}

func writeSARIF(name string, report *lint.Report) (err error) {
	// A whole file or none: what uploads it must not find a half.
	temporary, err := os.CreateTemp(filepath.Dir(name), ".rescind-lint-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	if err := report.SARIF(readBuild().Version).Write(temporary); err != nil {
		return errors.Join(err, temporary.Close())
	}
	if err := errors.Join(temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// confidenceColour is how a finding of that confidence is painted.
var confidenceColour = map[lint.Confidence]string{lint.Certain: red, lint.Likely: yellow, lint.Possible: faint}

func (c *cli) printFindings(r *lint.Report, least lint.Confidence) error {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Suppressed != "" {
			continue
		}
		text := fmt.Sprintf("%s %s %s\n    %s\n",
			c.out.paint(bold, clean(fmt.Sprintf("%s:%d:%d", f.Path, f.Range.Start.Line, f.Columns[0]))),
			c.out.paint(confidenceColour[f.Confidence], string(f.Confidence)), f.Rule, clean(f.Message))
		if f.Snippet != "" {
			text += c.out.paint(faint, "    | "+clean(f.Snippet)) + "\n"
		}
		for _, s := range f.Trace {
			text += c.out.paint(faint, "    "+clean(fmt.Sprintf("%s:%d: %s", s.Path, s.Range.Start.Line, s.What))) + "\n"
		}
		if err := c.out.printf("%s\n", text); err != nil {
			return err
		}
	}
	for i, e := range r.Errors {
		if i == 20 {
			c.out.note("and %s more; --json has them all", count(len(r.Errors)-i, "remark"))
			break
		}
		if e.Line > 0 {
			c.out.note("%s", clean(fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Message)))
		} else {
			c.out.note("%s", clean(fmt.Sprintf("%s: %s", e.Path, e.Message)))
		}
	}
	return c.lintSummary(r, least)
}

func (c *cli) lintSummary(r *lint.Report, least lint.Confidence) error {
	all := r.Count(lint.Possible)
	text := fmt.Sprintf("%s read, %s", count(r.Files, "file"), count(all, "finding"))
	if all > 0 {
		certain, likely := r.Count(lint.Certain), r.Count(lint.Likely)-r.Count(lint.Certain)
		text += fmt.Sprintf(": %d certain, %d likely, %d possible", certain, likely, all-certain-likely)
	}
	if n := r.Suppressed(); n > 0 {
		text += fmt.Sprintf("; %d accepted by comments", n)
	}
	if n := r.Skipped; n > 0 {
		text += fmt.Sprintf("; %s left out, too large or written by a machine", count(n, "file"))
	}
	if rest := all - r.Count(least); rest > 0 {
		text += fmt.Sprintf("; %d less than %s", rest, least)
	}
	if all > 0 {
		text += "\nrescind lint rules RULE says what a rule means, and the cure"
	}
	return c.out.printf("%s\n", text)
}

func (c *cli) lintRules() *cobra.Command {
	return &cobra.Command{
		Use:     "rules [RULE]",
		Short:   "List the rules, or explain one",
		Example: "  rescind lint rules\n  rescind lint rules logout-without-effect",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly("RULE")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return ruleIDs(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			rules, err := lint.Rules()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return c.explainRule(rules, args[0])
			}
			if c.out.json {
				return c.out.emit(map[string]any{"rules": rules})
			}
			rows := make([][]string, 0, len(rules))
			for _, r := range rules {
				rows = append(rows, []string{r.ID, string(r.Severity), r.Title})
			}
			return c.out.table([]string{"RULE", "SEVERITY", "FINDS"}, rows, -1)
		},
	}
}

func (c *cli) explainRule(rules []*lint.Rule, id string) error {
	for _, r := range rules {
		if r.ID != id {
			continue
		}
		if c.out.json {
			return c.out.emit(r)
		}
		languages := make([]string, 0, len(r.Languages))
		for _, l := range r.Languages {
			languages = append(languages, string(l))
		}
		text := fmt.Sprintf("%s\n%s\n\n%s\n\nWhat to do: %s\n", c.out.paint(bold, r.ID), r.Title, r.Why, r.Cure.Otherwise)
		if r.Cure.Rescind != "" {
			text += "\nWith Rescind: " + r.Cure.Rescind + "\n"
		}
		standards := strings.Join(r.CWE, ", ")
		if len(r.ASVS) > 0 {
			standards += ", OWASP ASVS 5.0.0 " + strings.Join(r.ASVS, ", ")
		}
		return c.out.printf("%s\nSeverity: %s · Languages: %s · %s\n", text, r.Severity, strings.Join(languages, ", "), standards)
	}
	return usagef("there is no rule %q; rescind lint rules lists them", id)
}
