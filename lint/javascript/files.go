package javascript

import (
	"path"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// byName adds the handlers that frameworks find by the names of files: Next.js,
// SvelteKit, Nuxt and Remix.
func (r *reader) byName() {
	dir, file := path.Split(r.file.Path)
	stem := strings.TrimSuffix(file, path.Ext(file))
	folders := strings.Split(strings.Trim(dir, "/"), "/")
	// below are the names behind the last folder of a name, in which a group has none.
	below := func(names ...string) (string, bool) {
		for i := len(folders) - len(names); i >= 0; i-- {
			if slices.Equal(folders[i:i+len(names)], names) {
				rest := slices.DeleteFunc(slices.Clone(folders[i+len(names):]), func(f string) bool { return strings.HasPrefix(f, "(") })
				return "/" + strings.Join(rest, "/"), true
			}
		}
		return "", false
	}
	within := func(at, name string) string {
		if name == "index" {
			return at
		}
		return path.Join(at, name)
	}
	if at, ok := below("app"); ok && stem == "route" {
		r.exportedVerbs(at)
	} else if at, ok := below("routes"); ok && stem == "+server" {
		r.exportedVerbs(at)
	} else if ok && stem == "+page.server" {
		r.actions(at)
	} else if at, ok := below("app", "routes"); ok {
		at = within(at, strings.ReplaceAll(stem, ".", "/"))
		r.exported("action", "POST", at)
		r.exported("loader", "GET", at)
	} else if at, ok := below("pages", "api"); ok {
		r.exported("default", "", within("/api"+strings.TrimSuffix(at, "/"), stem))
	} else if at, ok := below("server", "api"); ok {
		r.exportedNuxt("/api"+strings.TrimSuffix(at, "/"), stem)
	} else if at, ok := below("server", "routes"); ok {
		r.exportedNuxt(at, stem)
	}
}

// exported adds a handler that the file exports under a name.
func (r *reader) exported(name, method, at string) {
	for _, e := range r.file.Exports {
		if e.Name == name && e.Value != nil {
			r.add(method, at, nil, e.Value.Range, e.Value)
		}
	}
}

// exportedVerbs adds what is exported as GET, POST and so on.
func (r *reader) exportedVerbs(at string) {
	for verb := range verbs {
		r.exported(strings.ToUpper(verb), strings.ToUpper(verb), at)
	}
}

// exportedNuxt adds the default export of logout.post.ts and the like.
func (r *reader) exportedNuxt(at, stem string) {
	name, method, _ := strings.Cut(stem, ".")
	if _, ok := verbs[method]; !ok && method != "" {
		return
	}
	if name != "index" {
		at = path.Join(at, name)
	}
	for _, e := range r.file.Exports {
		// A controller of another framework may lie in such a folder too.
		if e.Name == "default" && e.Value != nil && e.Value.Kind == program.Call && strings.HasSuffix(strings.ToLower(lastName(e.Value.On)), "eventhandler") {
			r.add(strings.ToUpper(method), at, nil, e.Value.Range, e.Value)
		}
	}
}

// actions adds those of SvelteKit's forms: each is a name behind the path.
func (r *reader) actions(at string) {
	actions := r.constants["actions"]
	if actions == nil || actions.Kind != program.Object {
		return
	}
	for _, f := range actions.Fields {
		name := at
		if f.Key != "default" {
			name = path.Join(at, f.Key)
		}
		r.add("POST", name, nil, f.Range, f.Value)
	}
}
