package sdk

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
	for _, c := range []struct{ reason, ci, missing, want string }{
		{"", "", "", ""},
		{"", "", "flask", "fail"},
		{"", "true", "flask", "fail"},
		{"not installed: flask", "", "flask", "skip"},
		{"not installed: flask", "false", "flask", "skip"},
		{"not installed: flask", "true", "flask", "fail"},
	} {
		t.Setenv("RESCIND_SKIP_SOMETHING", c.reason)
		t.Setenv("CI", c.ci)
		v := &verdict{TB: t}
		over := make(chan struct{})
		go func() {
			defer close(over)
			need(v, "SOMETHING", "this", func() string { return c.missing })
		}()
		if <-over; v.said != c.want {
			t.Errorf("missing %q, RESCIND_SKIP_SOMETHING=%q, CI=%q: %q, not %q", c.missing, c.reason, c.ci, v.said, c.want)
		}
	}
}
