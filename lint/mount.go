package lint

import (
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A mount says where a router hangs: at a path of another one.
type mount struct {
	path string
	on   *program.Node // the call that makes the other one; nil if it is not known
}

// Routers hang on routers on routers, and in circles if somebody errs.
const maxMounts = 8

// mounts finds where routers hang, by the calls that make them: with
// app.use('/logout', other) and what other serves at / the path is /logout.
func (st *study) mounts() map[*program.Node]mount {
	found := map[*program.Node]mount{}
	for _, f := range st.program.Files {
		for i := range f.Routes {
			r := &f.Routes[i]
			if r.Method != "USE" || strings.Trim(r.Path, "/*") == "" || len(r.Handlers) == 0 {
				continue
			}
			mounted := st.made(r.Handlers[len(r.Handlers)-1], f)
			if _, ok := found[mounted]; mounted != nil && !ok {
				found[mounted] = mount{path: r.Path, on: st.made(r.Router, f)}
			}
		}
	}
	return found
}

// made is the call that makes what n is, nil if that is not known.
func (st *study) made(n *program.Node, f *program.File) *program.Node {
	if n == nil {
		return nil
	}
	s := st.scopeOf[n]
	if s == nil {
		s = st.program.Scope(st.program.Top(f))
	}
	if v := st.program.Value(n, s); v.Node != nil && v.Node.Kind == program.Call && len(v.Funcs) == 0 {
		return v.Node
	}
	return nil
}

// mounted is a route with the path that its router has from the others.
func (st *study) mounted(r *program.Route, f *program.File, mounts map[*program.Node]mount) *program.Route {
	at := st.made(r.Router, f)
	path := r.Path
	for range maxMounts {
		m, ok := mounts[at]
		if at == nil || !ok {
			break
		}
		path = strings.TrimRight(m.path, "/*") + "/" + strings.TrimLeft(path, "/")
		at = m.on
	}
	if path == r.Path {
		return r
	}
	whole := *r
	if whole.Path = strings.TrimSuffix(path, "/"); whole.Path == "" {
		whole.Path = "/"
	}
	return &whole
}
