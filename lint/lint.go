// Package lint finds, in source code, logouts that do not end access, and checks
// that a logout cannot make fail.
//
// It reads source with real parsers, ties files together by their imports, follows
// calls, and holds rules against the result. The rules, and the words by which they
// know a call, are data: see the folder rules. A finding says how sure it is, and
// where the way leads out of what was read.
package lint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/rescind/rescind/lint/golang"
	"github.com/rescind/rescind/lint/javascript"
	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/python"
	"github.com/rescind/rescind/lint/syntax"
)

// Options say what is looked at. Paths is required.
type Options struct {
	Paths   []string // files and folders
	Only    []string // ids of rules; none: all
	Skip    []string // ids of rules
	Exclude []string // globs of path.Match, of a name or of a path below one of Paths; dir/** too
	Tests   bool     // read files of tests as well
	// Progress, if there, is told how many files are read, one call at a time.
	Progress func(done, all int)
}

// A Report is what was found. Paths in it are relative to the working directory
// where they lie beneath it, and absolute elsewhere; slashes are forward.
type Report struct {
	Findings []Finding // by path and line
	Rules    []*Rule   // that were looked for
	Files    int       // that were read
	Skipped  int       // that were too large, or written by a machine
	Errors   []FileError
}

// ErrUsage wraps errors of the options.
var ErrUsage = errors.New("bad options")

// Check reads the files and looks for flaws. A file that cannot be read is no
// error, see Report.Errors. It is safe for concurrent use.
func Check(ctx context.Context, o Options) (*Report, error) {
	fronts := newFrontends()
	defer fronts.close(ctx)
	return run(ctx, o, fronts)
}

func run(ctx context.Context, o Options, fronts *frontends) (*Report, error) {
	set, err := shipped()
	if err != nil {
		return nil, err
	}
	rules, err := o.rules(set)
	if err != nil {
		return nil, err
	}
	for _, glob := range o.Exclude {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("%w: %q is no glob", ErrUsage, glob)
		}
	}
	files, skipped, failed, err := collect(ctx, &o, fronts.byExtension)
	if err != nil {
		return nil, err
	}
	r, err := inspect(ctx, files, fronts, set, rules, o.Progress)
	if err != nil {
		return nil, err
	}
	r.Skipped += skipped
	r.Errors = append(failed, r.Errors...)
	r.relative()
	return r, nil
}

func (o *Options) rules(set *ruleset) ([]*Rule, error) {
	for _, id := range slices.Concat(o.Only, o.Skip) {
		if !slices.ContainsFunc(set.rules, func(r *Rule) bool { return r.ID == id }) {
			return nil, fmt.Errorf("%w: there is no rule %q", ErrUsage, id)
		}
	}
	return slices.DeleteFunc(slices.Clone(set.rules), func(r *Rule) bool {
		return len(o.Only) > 0 && !slices.Contains(o.Only, r.ID) || slices.Contains(o.Skip, r.ID)
	}), nil
}

// frontends are the front-ends of one run.
type frontends struct {
	all         []program.Frontend
	byExtension map[string]program.Frontend
	parser      *syntax.Parser
}

func newFrontends() *frontends {
	parser := syntax.NewParser(syntax.Limits{})
	f := &frontends{
		all:         []program.Frontend{golang.Frontend{}, javascript.New(parser), python.New(parser)},
		byExtension: map[string]program.Frontend{}, parser: parser,
	}
	for _, front := range f.all {
		for _, e := range front.Extensions() {
			f.byExtension[e] = front
		}
	}
	return f
}

// close gives the parser's memory back. It cannot fail in a way that matters: what
// was read is read.
func (f *frontends) close(ctx context.Context) { _ = f.parser.Close(context.WithoutCancel(ctx)) }

// inspect parses the files and holds the rules against them.
func inspect(ctx context.Context, files *sources, fronts *frontends, set *ruleset, rules []*Rule, progress func(done, all int)) (*Report, error) {
	r := &Report{Rules: rules}
	parsed, err := parse(ctx, files, fronts, r, progress)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	findings, err := examine(ctx, program.Link(parsed, files, fronts.all...), set, rules)
	if err != nil {
		return nil, err
	}
	r.Findings = suppress(parsed, findings)
	show(parsed, r.Findings)
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Range.Start.Offset-b.Range.Start.Offset, strings.Compare(a.Rule, b.Rule))
	})
	return r, nil
}

// parse reads the files side by side.
func parse(ctx context.Context, files *sources, fronts *frontends, r *Report, progress func(done, all int)) ([]*program.File, error) {
	// A busy machine takes seconds for it, which are not to be those of a file. If it
	// fails, each file says so.
	if slices.ContainsFunc(files.names, func(name string) bool { return path.Ext(name) != ".go" }) {
		_ = fronts.parser.Compile(ctx)
	}
	parsed := make([]*program.File, len(files.names))
	problems := make([][]FileError, len(files.names))
	machine := make([]bool, len(files.names))
	work := make(chan int)
	var group sync.WaitGroup
	var mutex sync.Mutex
	done := 0
	for range min(runtime.GOMAXPROCS(0), max(len(files.names), 1)) {
		group.Go(func() {
			for i := range work {
				parsed[i], problems[i], machine[i] = parseOne(ctx, files, fronts, files.names[i])
				mutex.Lock()
				done++
				if progress != nil {
					progress(done, len(files.names))
				}
				mutex.Unlock()
			}
		})
	}
	for i := range files.names {
		if ctx.Err() != nil {
			break
		}
		work <- i
	}
	close(work)
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range parsed {
		r.Errors = append(r.Errors, problems[i]...)
		if machine[i] {
			r.Skipped++
		}
		if parsed[i] != nil {
			r.Files++
		}
	}
	return slices.DeleteFunc(parsed, func(f *program.File) bool { return f == nil }), nil
}

func parseOne(ctx context.Context, files *sources, fronts *frontends, name string) (f *program.File, problems []FileError, machine bool) {
	text, err := files.read(name)
	if err != nil {
		return nil, []FileError{{Path: name, Message: reason(err), Whole: true}}, false
	}
	if len(text) > MaxFileSize || minified(text) {
		return nil, nil, true
	}
	ctx, cancel := context.WithTimeout(ctx, parseTimeout)
	defer cancel()
	// A parser must not panic, and the fuzzers have found none that does. If one
	// does, it costs its file, not the run.
	defer func() {
		if p := recover(); p != nil {
			f, problems = nil, []FileError{{Path: name, Message: fmt.Sprintf("not read, by a fault of lint: %v", p), Whole: true}}
		}
	}()
	f, err = fronts.byExtension[path.Ext(name)].Parse(ctx, name, text)
	if err != nil {
		return nil, []FileError{{Path: name, Message: err.Error(), Whole: true}}, false
	}
	for _, e := range f.Errors {
		problems = append(problems, FileError{Path: name, Line: e.Range.Start.Line, Message: e.Message})
	}
	return f, problems, false
}

// examine holds the rules against a program.
func examine(ctx context.Context, p *program.Program, set *ruleset, rules []*Rule) ([]Finding, error) {
	st := newStudy(ctx, p, set)
	st.survey()
	for _, r := range rules {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		st.rule = r
		looks()[r.Match.Look](st)
	}
	return st.findings, ctx.Err()
}

// relative makes paths short for people, and fit for a repository.
func (r *Report) relative() {
	here, err := filepath.Abs(".")
	if err != nil {
		return // they stay absolute
	}
	if real, err := filepath.EvalSymlinks(here); err == nil {
		here = real
	}
	short := func(name string) string {
		if rel, err := filepath.Rel(here, filepath.FromSlash(name)); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
		return name
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Path = short(f.Path)
		for j := range f.Trace {
			f.Trace[j].Path = short(f.Trace[j].Path)
		}
	}
	for i := range r.Errors {
		r.Errors[i].Path = short(r.Errors[i].Path)
	}
}
