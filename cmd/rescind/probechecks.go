package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/probe/target"
)

func (c *cli) probeChecksCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "checks [ID]",
		Short:   "List the checks of rescind probe, or explain one",
		Example: "  rescind probe checks\n  rescind probe checks access-token-alive-after-logout\n  rescind probe checks --json",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return checkIDs(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			all := probe.Checks()
			if len(args) == 1 {
				if !slices.Contains(checkIDs(), args[0]) {
					return usagef("there is no check %q: see rescind probe checks", args[0])
				}
				return c.explainCheck(all.Find(args[0]))
			}
			if c.out.json {
				for _, check := range all.Checks {
					if err := c.out.emit(checkJSON(check)); err != nil {
						return err
					}
				}
				return nil
			}
			var rows [][]string
			for _, check := range all.Checks {
				rows = append(rows, []string{check.ID, string(check.Severity), check.Title})
			}
			return c.out.table([]string{"CHECK", "SEVERITY", "WHAT IT FINDS"}, rows, -1)
		},
	}
}

// checkText is a check as scripts see it.
type checkText struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Severity string   `json:"severity"`
	CWE      []string `json:"cwe,omitempty"`
	ASVS     []string `json:"asvs,omitempty"`
	Tests    string   `json:"tests"`
	Matters  string   `json:"matters"`
	Cure     string   `json:"cure"`
	Rescind  string   `json:"rescind"`
}

func checkJSON(c probe.Check) checkText {
	return checkText{c.ID, c.Title, string(c.Severity), c.CWE, c.ASVS, c.Tests, c.Matters, c.Cure, c.Rescind}
}

// explainCheck prints all about one check.
func (c *cli) explainCheck(check probe.Check) error {
	if c.out.json {
		return c.out.emit(checkJSON(check))
	}
	if err := c.out.printf("%s (%s)\n%s\n", c.out.paint(bold, check.ID), check.Severity, check.Title); err != nil {
		return err
	}
	for _, part := range []struct{ head, text string }{
		{"What is tested", check.Tests}, {"Why it matters", check.Matters}, {"What to do", check.Cure}, {"With Rescind", check.Rescind},
	} {
		if part.text == "" {
			continue
		}
		if err := c.out.printf("\n%s\n%s\n", c.out.paint(bold, part.head), strings.Join(wrap(part.text, c.columns()), "\n")); err != nil {
			return err
		}
	}
	for _, id := range slices.Concat(check.CWE, check.ASVS) {
		if err := c.out.printf("%s\n", id); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) probeSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Explain every key of the description; with --json print its JSON Schema, for editors",
		Long: `Explain every key of the YAML that rescind probe reads: what it means, and what it is if it is left out.
With --json print the JSON Schema of it. Editors complete a description by that if its first line is
  # yaml-language-server: $schema=probe.schema.json`,
		Example: "  rescind probe schema\n  rescind probe schema --json > probe.schema.json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			if c.out.json {
				return c.out.printf("%s", target.Schema())
			}
			return c.explainKeys()
		},
	}
}

// explainKeys prints every key of a description.
func (c *cli) explainKeys() error {
	for _, k := range target.Keys() {
		fallback := ""
		if k.Default != "" {
			fallback = " " + c.out.paint(faint, "(default: "+k.Default+")")
		}
		if err := c.out.printf("%s%s\n", c.out.paint(bold, k.Name), fallback); err != nil {
			return err
		}
		for _, line := range wrap(k.About, c.columns()-4) {
			if err := c.out.printf("    %s\n", line); err != nil {
				return err
			}
		}
	}
	return nil
}
