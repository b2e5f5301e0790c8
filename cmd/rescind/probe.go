package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/probe/report"
)

// probing is one run of rescind probe.
type probing struct {
	source   probeSource
	options  probe.Options
	parallel int
	proxy    bool
	print    bool // the description, instead of running it
	quiet    bool
	verbose  bool
	sarif    string
	junit    string
	html     string
}

func (c *cli) probeCommand() *cobra.Command {
	p := &probing{}
	cmd := &cobra.Command{
		Use:   "probe TARGET.yaml",
		Short: "Test an HTTP API: does logout end access?",
		Long: `Test an HTTP API, whether or not it uses Rescind: does logout end access? The API is described by a
YAML file, which "rescind probe init" writes by asking, or which is derived from what you have: an OpenAPI
document, a browser's recording (HAR), or curl commands. See "rescind probe schema" for every key.

The probe logs in, sees that what it got works, logs out, and presents every token and cookie again, on
every route and instance, at once and for 5 seconds; with --patient until just before they expire. It also
tries refresh, races, logout everywhere, open sockets and the tokens themselves: "rescind probe checks"
lists all. Test only what is yours to test. It sends some hundred requests as the users of the description,
asks nothing but GET and HEAD of protected routes unless the description allows more, contacts no other host,
and writes no token to disk. A login it began it ends, and a password it changed it puts back, also after Ctrl-C.

Exit codes: 0 no finding, 1 findings, 2 bad usage or a description that does not hold, 3 inconclusive.
Inconclusive is never a pass: the target gave contradicting answers, was down, or limits its rate.`,
		Example: `  rescind probe init                                      asks, and writes probe.yaml
  rescind probe probe.yaml
  rescind probe --har recording.har --print-description > probe.yaml
  rescind probe --openapi openapi.yaml --base-url http://127.0.0.1:3000
  rescind probe probe.yaml --check access-token-alive-after-logout --check logout-twice
  rescind probe probe.yaml --junit probe.xml --sarif probe.sarif --html probe.html
  rescind probe probe.yaml --patient`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				p.source.file = args[0]
			}
			return c.probe(cmd.Context(), p)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&p.source.openapi, "openapi", "", "derive the description from this OpenAPI document (3.x or 2.0, JSON or YAML), - for standard input")
	flags.StringVar(&p.source.har, "har", "", "derive it from this recording of a browser: login, some pages, logout")
	flags.StringVar(&p.source.curl, "curl", "", "derive it from the curl commands in this file")
	flags.StringVar(&p.source.base, "base-url", "", "with one of these: scheme, host and port of the application, and a path if it has one")
	flags.BoolVar(&p.print, "print-description", false, "with one of these: print the YAML and remarks on it, and send nothing")
	flags.BoolVar(&p.options.Patient, "patient", false, "replay until just before the tokens expire, which takes as long as they live")
	flags.DurationVar(&p.options.Patience, "patience", time.Hour, "with --patient: for at most this long")
	flags.StringArrayVar(&p.options.Only, "check", nil, "make this check only (repeatable)")
	flags.StringArrayVar(&p.options.Skip, "skip", nil, "leave this check out (repeatable)")
	flags.StringVar(&p.sarif, "sarif", "", "also write the report as SARIF 2.1.0 to this file")
	flags.StringVar(&p.junit, "junit", "", "also write it as JUnit XML to this file")
	flags.StringVar(&p.html, "html", "", "also write it as one HTML page to this file")
	flags.IntVar(&p.parallel, "parallel", 0, "requests at once (default: limits.parallel of the description)")
	flags.BoolVar(&p.options.Insecure, "insecure", false, "accept any TLS certificate")
	flags.BoolVar(&p.proxy, "proxy-from-environment", false, "send requests through HTTP_PROXY and HTTPS_PROXY, which are ignored otherwise")
	flags.BoolVar(&p.quiet, "quiet", false, "show no progress")
	flags.BoolVar(&p.verbose, "verbose", false, "show passed checks, every life and the whole evidence")
	for flag, extensions := range map[string][]string{
		"openapi": {"yaml", "yml", "json"}, "har": {"har", "json"}, "curl": {"sh", "txt"}, "sarif": {"sarif", "json"}, "junit": {"xml"}, "html": {"html"},
	} {
		// As with complete: it fails only for a flag that is not there.
		if err := cmd.MarkFlagFilename(flag, extensions...); err != nil {
			panic(err)
		}
	}
	for _, flag := range []string{"check", "skip"} {
		c.complete(cmd, flag, checkIDs()...)
	}
	cmd.AddCommand(c.probeInitCommand(), c.probeChecksCommand(), c.probeSchemaCommand())
	return cmd
}

func checkIDs() []string {
	var ids []string
	for _, check := range probe.Checks().Checks {
		ids = append(ids, check.ID)
	}
	return ids
}

// usable refuses flags that do not go together.
func (p *probing) usable() error {
	for _, id := range slices.Concat(p.options.Only, p.options.Skip) {
		if !slices.Contains(checkIDs(), id) {
			return usagef("there is no check %q: see rescind probe checks", id)
		}
	}
	if p.parallel < 0 {
		return usagef("--parallel is at least 1")
	}
	if p.options.Patience <= 0 {
		return usagef("--patience is a time as in 20m")
	}
	if p.print && !p.source.derived() {
		return usagef("--print-description goes with --openapi, --har or --curl")
	}
	if p.source.base != "" && !p.source.derived() {
		return usagef("--base-url goes with --openapi, --har or --curl: a description has its own instances")
	}
	files := map[string]bool{}
	for _, path := range []string{p.sarif, p.junit, p.html} {
		if path = filepath.Clean(path); path != "." && files[path] {
			return usagef("two reports would go to %s", path)
		}
		files[path] = true
	}
	return nil
}

func (c *cli) probe(ctx context.Context, p *probing) error {
	if err := p.usable(); err != nil {
		return err
	}
	t, err := p.source.target(c, p.print)
	if err != nil || p.print {
		return err
	}
	if p.parallel > 0 {
		t.Limits.Parallel = p.parallel
		if err := t.Validate(); err != nil {
			return usagef("--parallel: %w", err)
		}
	}
	if p.proxy {
		p.options.Proxy = http.ProxyFromEnvironment
	}
	// Before the run, which may take long: a report that cannot be written is
	// better known at once.
	files, err := p.files()
	defer files.discard()
	if err != nil {
		return err
	}
	meter := report.NewMeter(c.stderr, report.Terminal{Width: c.width(c.stderr)}, isTerminal(c.stderr))
	if !p.quiet {
		var showing sync.Mutex
		p.options.Progress = func(step probe.Progress) {
			showing.Lock()
			defer showing.Unlock()
			meter.Show(step)
		}
	}
	// net/http tells the standard logger what a server sends unasked, which may be
	// part of a token.
	defer log.SetOutput(log.Writer())
	log.SetOutput(io.Discard)
	r, err := probe.Run(ctx, t, p.options)
	meter.Clear()
	if err != nil {
		return usagef("%w", err)
	}
	about := report.About{Version: readBuild().Version, Arguments: c.args}
	if p.source.file != "-" {
		about.File = filepath.ToSlash(p.source.file)
	}
	if err := files.write(r, about); err != nil {
		return err
	}
	if c.out.json {
		err = report.JSON(c.stdout, r, about)
	} else {
		err = report.Terminal{Color: c.out.colour, Width: c.width(c.stdout), Verbose: p.verbose}.Write(c.stdout, r)
	}
	if err != nil {
		return err
	}
	return probeEnd(r)
}

// probeEnd is the end of the command: an error unless everything is well.
func probeEnd(r *probe.Report) error {
	findings, unknown := r.Count(probe.Finding), r.Count(probe.Inconclusive)
	var err error
	switch {
	case findings > 0:
		err = fmt.Errorf("probe: %s", several(findings, "finding"))
	case unknown > 0:
		err = fmt.Errorf("probe: %s inconclusive, which is no pass", several(unknown, "check"))
	case r.Interrupted:
		err = errors.New("probe: interrupted")
	default:
		err = errors.New("probe: nothing was shown")
	}
	switch code := report.ExitCode(r); code {
	case exitDone:
		return nil
	default:
		return &coded{code, err}
	}
}

// width is the width of a terminal, 0 if it has none.
func (c *cli) width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return min(width, 160)
		}
	}
	return 0
}

// columns is how wide text is set.
func (c *cli) columns() int {
	if width := c.width(c.stdout); width > 0 {
		return width
	}
	return 100
}

func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// reportFiles are the reports to be written, under names of their own until they
// are whole.
type reportFiles []reportFile

type reportFile struct {
	path  string
	file  *os.File
	write func(io.Writer, *probe.Report, report.About) error
}

func (p *probing) files() (reportFiles, error) {
	var all reportFiles
	for _, f := range []reportFile{{path: p.sarif, write: report.SARIF}, {path: p.junit, write: report.JUnit}, {path: p.html, write: report.HTML}} {
		if f.path == "" {
			continue
		}
		var err error
		if f.file, err = os.CreateTemp(filepath.Dir(f.path), ".new-report-*"); err != nil {
			return all, usagef("the report cannot be written: %w", err)
		}
		all = append(all, f)
	}
	return all, nil
}

func (all reportFiles) write(r *probe.Report, about report.About) error {
	for i, f := range all {
		err := f.write(f.file, r, about)
		if err == nil {
			err = f.file.Chmod(0o644) // it holds no secret
		}
		if wrong := f.file.Close(); err == nil {
			err = wrong
		}
		if err == nil {
			err = os.Rename(f.file.Name(), f.path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		all[i].file = nil
	}
	return nil
}

// discard removes what was not written.
func (all reportFiles) discard() {
	for _, f := range all {
		if f.file != nil {
			_ = f.file.Close() // it goes away
			_ = os.Remove(f.file.Name())
		}
	}
}
