package need

import (
	"runtime"
	"testing"
)

// verdict records what a test was told to do.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper()               {}
func (v *verdict) Fatalf(string, ...any) { v.said = "fail"; runtime.Goexit() }
func (v *verdict) Skipf(string, ...any)  { v.said = "skip"; runtime.Goexit() }

func TestNothingIsLeftOutSilently(t *testing.T) {
	for _, c := range []struct{ command, reason, ci, want string }{
		{"go", "", "", ""},
		{"go", "", "true", ""},
		{"no-such-command", "", "", "fail"},
		{"no-such-command", "", "true", "fail"},
		{"no-such-command", "not installed", "", "skip"},
		{"no-such-command", "not installed", "false", "skip"},
		{"no-such-command", "not installed", "true", "fail"},
		{"go", "not wanted", "", "skip"},
		{"go", "not wanted", "true", "fail"},
	} {
		t.Setenv("RESCIND_SKIP_SOMETHING", c.reason)
		t.Setenv("CI", c.ci)
		v := &verdict{TB: t}
		over := make(chan struct{})
		go func() {
			defer close(over)
			Commands(v, "SOMETHING", "this", "go", c.command)
		}()
		if <-over; v.said != c.want {
			t.Errorf("%s, left out %q, CI=%q: %q, want %q", c.command, c.reason, c.ci, v.said, c.want)
		}
	}
}
