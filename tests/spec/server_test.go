package spec

import (
	"maps"
	"strings"
	"testing"
)

// TestServer runs every script about the server's own interface.
func TestServer(t *testing.T) {
	server := startServer(t)
	for _, s := range load(t, "server") {
		t.Run(s.file, func(t *testing.T) {
			for _, sc := range s.Scripts {
				t.Run(sc.Name, func(t *testing.T) {
					server.talk(t, s, "", nil).run(&sc)
				})
			}
		})
	}
}

// talk begins a conversation that knows the server's clients.
func (s *server) talk(t *testing.T, in *suite, app string, w *wire) *talk {
	vars := maps.Clone(s.vars)
	vars["app"] = app
	return &talk{t: t, suite: in, vars: vars, app: app, server: strings.TrimPrefix(s.URL, "http://"), wire: w, clock: s.clock}
}
