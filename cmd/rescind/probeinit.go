package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/probe/target"
)

func (c *cli) probeInitCommand() *cobra.Command {
	var insecure bool
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a description of a target by asking",
		Long: `Ask for what rescind probe has to know, step by step, and write it to FILE (default: probe.yaml), which
must not be there yet and is for its owner only. Each question has an example or the usual answer; Enter takes
that. If you like it logs in once, shows what that brings, with every token masked, and logs out again.

Passwords are not written down: the description names variables of the environment for them. For the login
they are taken from there or asked for, without showing them. Answers may also come from a pipe, one on each
line; nothing is tried then unless PROBE_USER and PROBE_PASSWORD are set.

Every key that the file may have: rescind probe schema.`,
		Example: "  rescind probe init\n  rescind probe init staging.yaml\n  rescind probe init < answers.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "probe.yaml"
			if len(args) == 1 {
				path = args[0]
			}
			return c.probeInit(cmd.Context(), path, insecure)
		},
	}
	cmd.Flags().BoolVar(&insecure, "insecure", false, "accept any TLS certificate when trying the login")
	return cmd
}

func (c *cli) probeInit(ctx context.Context, path string, insecure bool) error {
	if _, err := os.Lstat(path); err == nil {
		return usagef("%s is there already, and is not overwritten: name another file", path)
	}
	a := newInterviewer(ctx, c, insecure)
	draft, err := target.Init(a)
	if err != nil {
		return err
	}
	text, err := draft.Write()
	if err != nil {
		return err
	}
	if err := writePrivate(path, string(text)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return usagef("%s has come to be meanwhile, and is not overwritten", path)
		}
		return usagef("%w", err)
	}
	if c.out.json {
		type variable struct {
			Name string `json:"name"`
			For  string `json:"for"`
		}
		out := struct {
			File        string     `json:"file"`
			Environment []variable `json:"environment"`
		}{File: path}
		for _, v := range draft.Target.Variables() {
			out.Environment = append(out.Environment, variable(v))
		}
		return c.out.emit(out)
	}
	return c.out.printf("%s is written. Set these variables:\n%s\nand then: rescind probe %s\n", clean(path), variables(draft.Target), clean(path))
}

// interviewer asks on a terminal, or reads answers from a pipe.
type interviewer struct {
	*cli
	ctx      context.Context
	lines    chan string // closed at the end of the input
	failed   error       // why it ended
	more     chan struct{}
	terminal bool
	insecure bool
}

func newInterviewer(ctx context.Context, c *cli, insecure bool) *interviewer {
	a := &interviewer{cli: c, ctx: ctx, lines: make(chan string), more: make(chan struct{}), terminal: isTerminal(c.stdin), insecure: insecure}
	// A read cannot be interrupted, so it is left behind on Ctrl-C.
	go func() {
		defer close(a.lines)
		in := bufio.NewScanner(c.stdin)
		in.Buffer(nil, 64<<10)
		for range a.more {
			if !in.Scan() {
				a.failed = in.Err()
				return
			}
			select {
			case a.lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return a
}

// line reads one line, and not one more: the next may be a password.
func (a *interviewer) line() (string, error) {
	select {
	case a.more <- struct{}{}:
	case <-a.ctx.Done():
		return "", a.ctx.Err()
	case <-a.lines:
		return "", io.EOF
	}
	select {
	case <-a.ctx.Done():
		return "", a.ctx.Err()
	case line, ok := <-a.lines:
		if !ok {
			return "", errors.Join(io.EOF, a.failed)
		}
		return line, nil
	}
}

// Ask implements [target.Interviewer].
func (a *interviewer) Ask(q target.Question) (string, error) {
	for {
		prompt := q.Text
		if q.Default != "" {
			prompt += " [" + q.Default + "]"
		}
		// The answer is the result of nobody: prompts go to standard error.
		_, _ = fmt.Fprint(a.stderr, prompt+": ")
		answer, err := a.line()
		switch {
		case a.ctx.Err() != nil:
			return "", usagef("interrupted: nothing was written")
		case err != nil:
			return "", usagef("the answers ended before all questions were asked: nothing was written")
		}
		if !a.terminal {
			a.out.note("%s", clean(answer))
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = q.Default
		}
		if q.Check == nil {
			return answer, nil
		}
		if err = q.Check(answer); err == nil {
			return answer, nil
		}
		if !a.terminal {
			return "", usagef("%s: %s", q.Text, clean(err.Error()))
		}
		a.Say("  " + err.Error())
	}
}

// Say implements [target.Interviewer].
func (a *interviewer) Say(text string) { a.out.note("%s", cleanLines(text)) }

// Try implements [target.Interviewer].
func (a *interviewer) Try(t *target.Target) (bool, error) {
	given, err := a.credentials(t)
	if err != nil || given == nil {
		return true, err
	}
	if err := t.Resolve(func(name string) (string, bool) {
		if value, ok := given[name]; ok {
			return value.Reveal(), true
		}
		return a.env(name)
	}); err != nil {
		a.Say("not tried: " + err.Error())
		return true, nil
	}
	held, err := probe.Login(a.ctx, t, probe.Options{Insecure: a.insecure})
	switch {
	case a.ctx.Err() != nil:
		return false, usagef("interrupted: nothing was written")
	case err != nil && !a.terminal:
		return false, usagef("%w\nNothing was written", err)
	case err != nil:
		a.Say("it did not work: " + err.Error())
		return false, nil
	}
	a.Say("it worked. The session holds:")
	for _, f := range held {
		a.Say("  " + f.Name + "  " + f.Value)
	}
	return true, nil
}

// credentials are the values of the user's variables that the environment does
// not set, as typed; nil if they cannot be asked for.
func (a *interviewer) credentials(t *target.Target) (map[string]target.Secret, error) {
	given := map[string]target.Secret{}
	all := t.Variables()
	isName := func(v target.Variable) bool { return strings.HasSuffix(v.For, ".name") }
	slices.SortStableFunc(all, func(x, y target.Variable) int {
		switch {
		case isName(x) && !isName(y):
			return -1
		case isName(y) && !isName(x):
			return 1
		}
		return 0
	})
	for _, v := range all {
		if value, set := a.env(v.Name); set && value != "" {
			continue
		}
		in, isFile := a.stdin.(*os.File)
		if !a.terminal || !isFile {
			a.Say("not tried: " + v.Name + " is not set")
			return nil, nil
		}
		read := a.hidden
		if isName(v) {
			read = func(*os.File, target.Variable) (string, error) {
				return a.Ask(target.Question{Text: v.Name + " (not kept)"})
			}
		}
		value, err := read(in, v)
		if err != nil {
			return nil, err
		}
		given[v.Name] = target.Secret(value)
	}
	return given, nil
}

// hidden reads a value without showing it, and sees to it that the terminal shows
// again what is typed, also after Ctrl-C.
func (a *interviewer) hidden(in *os.File, v target.Variable) (string, error) {
	_, _ = fmt.Fprintf(a.stderr, "%s, for %s (not shown, not kept): ", v.Name, v.For)
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(int(in.Fd()))
		read <- answer{text, err}
	}()
	select {
	case <-a.ctx.Done():
		return "", errors.Join(usagef("interrupted: nothing was written"), term.Restore(int(in.Fd()), before))
	case got := <-read:
		a.out.note("")
		return strings.TrimSpace(string(got.text)), got.err
	}
}
