package spec

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestApplications runs every script about guarded applications against one of
// each language. Between it and the real server stands the wire.
func TestApplications(t *testing.T) {
	suites := load(t, "application")
	for _, l := range languages(t, "../..") {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			applications(t, l, startServer(t), suites)
		})
	}
}

// applications runs the scripts against one language: an application for each
// way that scripts want it to be started.
func applications(t *testing.T, l language, server *server, suites []*suite) {
	type running struct {
		addr string
		wire *wire
	}
	started := map[string]running{}
	for _, s := range suites {
		t.Run(s.file, func(inner *testing.T) {
			for _, sc := range s.Scripts {
				if slices.ContainsFunc(sc.Needs, func(n string) bool { return slices.Contains(l.lacks, n) }) {
					continue
				}
				key, err := json.Marshal(sc.App)
				must(t, err)
				at, ok := started[string(key)]
				if !ok {
					w := newWire(t, server.URL)
					at = running{l.start(t, w.url, server.vars["secret_"+sc.App.client()], &sc.App), w}
					started[string(key)] = at
				}
				inner.Run(sc.Name, func(t *testing.T) {
					server.talk(t, s, at.addr, at.wire).run(&sc)
				})
			}
		})
	}
}
