package probe

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// A panic in a goroutine of an experiment costs its verdict. The password is put
// back, sessions are logged out, and it is said once where it was, without secrets.
func TestAPanicInAGoroutineCostsItsExperiment(t *testing.T) {
	const check, other = "password-change-keeps-sessions", "logout-twice"
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		listener := servePipes(t, s.handler)
		described, err := target.Parse(fmt.Appendf(nil, bearerTarget, serviceURL), nil)
		if err != nil {
			t.Fatal(err)
		}
		panics := 0
		report, err := Run(t.Context(), described, Options{
			Only: []string{check, other},
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return listener.dial(ctx) },
			Sleep: func(ctx context.Context, d time.Duration) error {
				s.mu.Lock()
				changed := s.password["ada"] != "first-password"
				if changed {
					panics++
				}
				s.mu.Unlock()
				if changed { // in the goroutines that replay what another session held
					panic("the password is second-password")
				}
				return sleep(ctx, d)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, report, check, Inconclusive)
		want(t, report, other, Pass)
		if panics < 2 {
			t.Errorf("%d panics", panics)
		}
		if len(report.Remarks) != 1 || !strings.Contains(report.Remarks[0], "a fault of the probe itself") || !strings.Contains(report.Remarks[0], "replay.go:") {
			t.Errorf("remarks: %q", report.Remarks)
		}
		if text := describeResults(report); strings.Contains(text, "second-password") {
			t.Error(text)
		}
		if s.password["ada"] != "first-password" {
			t.Errorf("the password is %q", s.password["ada"])
		}
		for id, session := range s.sessions {
			if !session.ended {
				t.Errorf("%s of %s is still logged in", id, session.user)
			}
		}
	})
}

// A fault while one thing is undone does not keep the next from being undone, nor
// one of what follows the progress the run from its end.
func TestAPanicElsewhereDoesNotEndTheProgram(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1")
	undone := false
	r.finally(func(context.Context) error { undone = true; return nil })
	r.finally(func(context.Context) error { panic("first") })
	if r.end(t.Context()); !undone || !strings.Contains(strings.Join(r.report.Remarks, " "), "not undone: a fault of the probe itself, please report it: first") {
		t.Errorf("undone %t, %q", undone, r.report.Remarks)
	}
	l := newLab(labFlaws{})
	report := l.probe(t, Options{Only: mine[:3], Progress: func(p Progress) {
		if p.Experiment == "logout" && p.Ended {
			panic("second")
		}
	}})
	if report.Verdict() == Pass && len(report.Remarks) == 0 {
		t.Error(describeResults(report))
	}
	for id, s := range l.sessions {
		if s.ended.IsZero() {
			t.Errorf("%s of %s is still logged in", id, s.user)
		}
	}
}

// The probe begins no goroutine in any other way, so that none can be forgotten.
func TestEveryGoroutineIsOneOfACrew(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, f := range files {
		if name := f.Name(); !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || name == "crew.go" {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		read++
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine", set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if n.Sel.Name == "WaitGroup" {
					t.Errorf("%s: a wait group", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if read < 20 {
		t.Errorf("%d files", read)
	}
}
