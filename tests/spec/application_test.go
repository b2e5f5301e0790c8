package spec

import (
	"cmp"
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
		suites := load(t, "application")
		var all []started
		var wires []*wire
		at := map[string]int{} // by what the script says of its application
		each := func(do func(s *suite, sc *script, key string)) {
			for _, s := range suites {
				for _, sc := range s.Scripts {
					if slices.ContainsFunc(sc.Needs, func(n string) bool { return slices.Contains(l.lacks, n) }) {
						continue
					}
					key, err := json.Marshal(sc.App)
					must(t, err)
					do(s, &sc, string(key))
				}
			}
		}
		each(func(_ *suite, sc *script, key string) {
			if _, there := at[key]; there {
				return
			}
			at[key] = len(all)
			w := newWire(t, server.URL)
			wires = append(wires, w)
			id := cmp.Or(sc.App.Client, "app")
			a := started{app: sc.App, URL: w.url, ID: id, Secret: server.vars["secret_"+id]}
			a.Timeout = cmp.Or(a.Timeout, 20_000)
			all = append(all, a)
		})
		addrs := l.start(t, all)
		each(func(s *suite, sc *script, key string) {
			t.Run(s.file+"/"+sc.Name, func(t *testing.T) {
				server.talk(t, s, addrs[at[key]], wires[at[key]]).run(sc)
			})
		})
	})
}
