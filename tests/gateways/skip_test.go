package gateways

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
	for _, c := range []struct{ reason, ci, want string }{
		{"", "", "fail"},
		{"", "true", "fail"},
		{"not installed: nginx", "", "skip"},
		{"not installed: nginx", "false", "skip"},
		{"not installed: nginx", "true", "fail"},
	} {
		t.Setenv("RESCIND_SKIP_NGINX", c.reason)
		t.Setenv("CI", c.ci)
		t.Setenv("PATH", "")
		v := &verdict{TB: t}
		over := make(chan struct{})
		go func() {
			defer close(over)
			needGateway(v, "nginx")
		}()
		if <-over; v.said != c.want {
			t.Errorf("without nginx, RESCIND_SKIP_NGINX=%q, CI=%q: %q, not %q", c.reason, c.ci, v.said, c.want)
		}
	}
}
