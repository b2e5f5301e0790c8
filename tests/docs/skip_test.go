package docs

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
	for _, c := range []struct{ reason, ci, path, want string }{
		{"", "", "", "fail"},
		{"", "true", "", "fail"},
		{"not installed: curl", "", "", "skip"},
		{"not installed: curl", "true", "", "fail"},
	} {
		t.Setenv("RESCIND_SKIP_CURL", c.reason)
		t.Setenv("CI", c.ci)
		t.Setenv("PATH", c.path)
		v := &verdict{TB: t}
		over := make(chan struct{})
		go func() {
			defer close(over)
			needShell(v)
		}()
		if <-over; v.said != c.want {
			t.Errorf("without curl, RESCIND_SKIP_CURL=%q, CI=%q: %q, not %q", c.reason, c.ci, v.said, c.want)
		}
	}
}
