package outage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/server"
)

// shifted builds a server in which the time of day is off by RESCIND_TEST_SHIFT:
// the standard library is built with another time.Now. No program that shifts the
// time from outside reaches a static one.
func shifted(t *testing.T) server.Program {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	must(t, err)
	const now = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n\t\treturn Time{uint64(nsec), sec + unixToInternal, Local}\n"
	if bytes.Count(text, []byte(now)) != 1 {
		t.Fatal("time.Now looks otherwise in this version of Go")
	}
	text = bytes.Replace(text, []byte(now), []byte(strings.Replace(now, "runtimeNow()\n", "runtimeNow()\n\tsec += shift\n", 1)), 1)
	text = append(text, `
var shift = func() int64 {
	text, _ := syscall.Getenv("RESCIND_TEST_SHIFT")
	d, _ := ParseDuration(text)
	return int64(d / Second)
}()
`...)
	text = bytes.Replace(text, []byte("import (\n"), []byte("import (\n\t\"syscall\"\n"), 1)
	dir := t.TempDir()
	other := filepath.Join(dir, "time.go")
	must(t, os.WriteFile(other, text, 0o600))
	overlay := struct{ Replace map[string]string }{map[string]string{original: other}}
	if planted := os.Getenv("RESCIND_PLANTED"); planted != "" {
		more := overlay
		more.Replace = nil
		text, err := os.ReadFile(planted)
		must(t, err)
		must(t, json.Unmarshal(text, &more))
		maps.Copy(overlay.Replace, more.Replace)
	}
	text, err = json.Marshal(overlay)
	must(t, err)
	file := filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(file, text, 0o600))
	t.Setenv("RESCIND_PLANTED", file)
	return server.Build(t)
}

// TestANodeWhoseClockIsWrongNeitherRevivesNorEnds has nodes that are an hour ahead
// and an hour behind, beside one that is right. It builds everything anew, the
// standard library included, and runs in the slow suites only; that a store's time
// is its server's is shown in the stores' own tests.
func TestANodeWhoseClockIsWrongNeitherRevivesNorEnds(t *testing.T) {
	if os.Getenv("RESCIND_SLOW") != "1" {
		return
	}
	program := shifted(t)
	onEach(t, func(t *testing.T, l *ledger) {
		at := l.url(l.addr)
		all := nodes.Start(t, program, []string{at, at, at}, []string{"RESCIND_TEST_SHIFT=0s"}, []string{"RESCIND_TEST_SHIFT=1h"}, []string{"RESCIND_TEST_SHIFT=-1h"})
		ask := newAsker(t)
		for i, n := range all { // the clock is really off
			resp, err := n.HTTP.Get(n.URL + "/healthz")
			must(t, err)
			must(t, resp.Body.Close())
			says, err := time.Parse(time.RFC1123, resp.Header.Get("Date"))
			must(t, err)
			off := time.Until(says) - []time.Duration{0, time.Hour, -time.Hour}[i]
			if off.Abs() > time.Minute {
				t.Fatalf("node %d says that it is %s", i, says)
			}
		}
		type session struct {
			what, token string
			brief       bool
		}
		var sessions []session
		for i, n := range all {
			for _, client := range []string{nodes.Opaque, nodes.JWT} {
				for what, more := range map[string]map[string]any{
					"half an hour":      {"expires_in": 1800, "idle_timeout": 1800, "session_expires_in": 1900},
					"a brief token":     {"expires_in": 3},
					"a brief session":   {"session_expires_in": 3},
					"idle after a bit":  {"idle_timeout": 3},
					"without any limit": nil,
				} {
					g := n.Login(t, client, "subject", more)
					sessions = append(sessions, session{
						what: fmt.Sprintf("%s of node %d, %s", what, i, client), token: g.AccessToken.Reveal(),
						brief: strings.Contains(what, "brief") || strings.Contains(what, "idle"),
					})
				}
			}
		}
		for _, s := range sessions {
			if s.brief {
				continue
			}
			for i, n := range all {
				if err := ask.ForwardAuth(t.Context(), n.URL, s.token); err != nil {
					t.Errorf("node %d: %s: %v", i, s.what, err)
				}
			}
		}
		time.Sleep(4 * time.Second)
		for i, n := range all {
			for _, s := range sessions {
				if err := ask.ForwardAuth(t.Context(), n.URL, s.token); s.brief != errors.Is(err, rescind.ErrInactive) || !s.brief && err != nil {
					t.Errorf("node %d, later: %s: %v", i, s.what, err)
				}
			}
		}
		for i, n := range all {
			for _, client := range []string{nodes.Opaque, nodes.JWT} {
				g := all[(i+1)%len(all)].Login(t, client, "subject", map[string]any{"expires_in": 1800})
				next, err := ask.Refresh(t.Context(), n.URL, client, g.RefreshToken.Reveal())
				must(t, err)
				for j, m := range all {
					if err := ask.Introspect(t.Context(), m.URL, next.Access); err != nil {
						t.Errorf("refreshed at node %d, asked at node %d: %v", i, j, err)
					}
				}
			}
		}
	})
}
