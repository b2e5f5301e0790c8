package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A step is one command of a page's script, and what its output must hold.
type step struct {
	line   int
	script string
	expect []string
}

// An expectation is what follows the arrow.
var (
	shellArrow = regexp.MustCompile(`(?:^|\s)# → (.*\S)`)
	goArrow    = regexp.MustCompile(`// → (.*\S)`)
)

// statements splits a block of shell into its commands, each of which ends where
// bash says that it is whole.
func statements(b block) ([]step, error) {
	var steps []step
	var pending step
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		var expect []string
		if match := shellArrow.FindStringSubmatch(line); match != nil {
			expect = match[1:]
		}
		if text := strings.TrimSpace(line); pending.script == "" && (text == "" || text[0] == '#') {
			if len(steps) > 0 {
				last := &steps[len(steps)-1]
				last.expect = append(last.expect, expect...)
			} else if expect != nil {
				return nil, fmt.Errorf("line %d expects something of no command", b.line+i)
			}
			continue
		}
		if pending.script == "" {
			pending.line = b.line + i
		}
		pending.script += line + "\n"
		pending.expect = append(pending.expect, expect...)
		if strings.HasSuffix(line, `\`) {
			continue
		}
		whole, err := complete(pending.script)
		if err != nil {
			return nil, err
		}
		if whole {
			steps = append(steps, pending)
			pending = step{}
		}
	}
	if pending.script != "" {
		return nil, fmt.Errorf("the command that begins in line %d has no end", pending.line)
	}
	return steps, nil
}

// complete asks bash whether a script is whole. Of a here-document without an end
// it only warns.
func complete(script string) (bool, error) {
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, err
	}
	return err == nil && len(out) == 0, nil
}

// prelude begins every script: its servers run in the background, one of each
// kind at a time, and end by SIGTERM. A server of ours promises to exit with 0.
const prelude = `set -eu -o pipefail
declare -A docs_pid=()
docs_end() { # KIND
	local pid=${docs_pid[$1]:-} status=0
	[ -n "$pid" ] || return 0
	unset "docs_pid[$1]"
	kill -TERM "$pid" 2>/dev/null || true
	wait "$pid" || status=$?
	[ "$1" = server ] && [ "$status" != 0 ] || return 0
	echo "the server exited with $status:"
	cat "$DOCS/server.log"
	return 1
}
docs_exit() {
	local status=$?
	if [ "$status" != 0 ] && [ -e "$DOCS/app.log" ]; then
		echo "the application said:"
		cat "$DOCS/app.log"
	fi
	docs_end app
	docs_end redis
	docs_end server || status=1
	exit "$status"
}
trap docs_exit EXIT
docs_wait() { # KIND
	for _ in $(seq 2400); do # some are built first
		if "docs_ready_$1" 2>/dev/null; then return 0; fi
		if ! kill -0 "${docs_pid[$1]}" 2>/dev/null; then break; fi
		sleep 0.05
	done
	echo "the server is not ready:"
	cat "$DOCS/$1.log"
	return 1
}
docs_ready_server() { grep -q '^rescind is ready' "$DOCS/server.log"; }
docs_ready_app() { (: <>"/dev/tcp/127.0.0.1/$DOCS_APP"); }
docs_ready_redis() { (: <>"/dev/tcp/127.0.0.1/$DOCS_REDIS"); }
`

// serve is the script of a server of some kind: env runs it under the id that the
// shell knows.
func serve(kind string, s step) step {
	s.script = fmt.Sprintf("docs_end %[1]s\n{ exec env %[2]s} >\"$DOCS/%[1]s.log\" 2>&1 &\ndocs_pid[%[1]s]=$!\ndocs_wait %[1]s\n", kind, s.script)
	return s
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// mark follows the output of a step. No output holds it.
func mark(i int) string { return fmt.Sprintf("\x1e%d\x1e", i) }

// runSteps runs a page's steps in dir and says what came out otherwise than
// expected.
func runSteps(path, dir string, env []string, steps []step, limit time.Duration) []problem {
	var script strings.Builder
	script.WriteString(prelude)
	for i, s := range steps {
		script.WriteString(strings.TrimSuffix(s.script, "\n") + "\n")
		fmt.Fprintf(&script, "printf '\\036%d\\036'\n", i)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir, cmd.Env = dir, env
	// A group of its own: what the script has started ends with it, if it has to be
	// cut off.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()

	var found []problem
	rest := out.String()
	for i, s := range steps {
		said, after, whole := strings.Cut(rest, mark(i))
		if !whole {
			if ctx.Err() != nil {
				err = fmt.Errorf("not done after %s", limit)
			}
			return append(found, problem{path, s.line, fmt.Sprintf("failed (%v):\n%s", err, said)})
		}
		rest = after
		for _, want := range s.expect {
			if !holds(said, want) {
				found = append(found, problem{path, s.line, fmt.Sprintf("expected: %s\nits output: %s", want, said)})
			}
		}
	}
	if err != nil {
		found = append(found, problem{path, steps[len(steps)-1].line, fmt.Sprintf("after the last command (%v):\n%s", err, rest)})
	}
	return found
}

// holds reports whether said has the parts of want, in their order.
func holds(said, want string) bool {
	for part := range strings.SplitSeq(want, "…") {
		part = strings.TrimSpace(part)
		i := strings.Index(said, part)
		if i < 0 {
			return false
		}
		said = said[i+len(part):]
	}
	return true
}

// without drops the variables that would configure what is run.
func without(env []string, prefixes ...string) []string {
	var kept []string
	for _, v := range env {
		drop := false
		for _, prefix := range prefixes {
			drop = drop || strings.HasPrefix(v, prefix)
		}
		if !drop {
			kept = append(kept, v)
		}
	}
	return kept
}

// environment is that of everything that runs. Symbols would cost half of the
// time that linking takes.
func environment(vars ...string) []string {
	env := without(os.Environ(), "RESCIND_", "OTEL_", "CGO_ENABLED=", "GOFLAGS=", "MAKE", "MFLAGS=")
	return append(append(env, "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false -ldflags=-s"), vars...)
}
