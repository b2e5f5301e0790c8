package spec

import (
	"encoding/json"
	"slices"
	"testing"
)

// applications runs every script about guarded applications against those of one
// language: one for each way that scripts want it to be started. Between them and
// the real server stands the wire.
func applications(t *testing.T, l language) {
	t.Run(l.name, func(t *testing.T) {
		t.Parallel()
		server := startServer(t)
		type running struct {
			addr string
			wire *wire
		}
		started := map[string]running{}
		for _, s := range load(t, "application") {
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
	})
}
