package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// options are the fields of a call's options: its named arguments, or the object
// that it is given. Complete means that there can be no others.
func (st *study) options(s *site) (find func(string) (*program.Node, *program.Scope), complete bool) {
	if len(s.node.Fields) > 0 {
		return func(key string) (*program.Node, *program.Scope) { return s.node.Field(key), s.scope }, !s.node.Open()
	}
	for _, a := range s.node.Args {
		v := st.program.Value(a, s.scope)
		if v.Node == nil || v.Node.Kind != program.Object {
			continue
		}
		return func(key string) (*program.Node, *program.Scope) { return v.Node.Field(key), v.Scope }, !v.Node.Open()
	}
	return func(string) (*program.Node, *program.Scope) { return nil, nil }, false
}

// isRevokedMissing: messages: default, open.
func isRevokedMissing(st *study) {
	for _, s := range st.sites {
		e := st.find(setGuard, s)
		if !s.call() || e == nil || e.As == "" {
			continue
		}
		field, complete := st.options(s)
		if n, _ := field(e.As); n != nil {
			continue
		}
		confidence, message := Certain, "default"
		switch {
		case !complete:
			confidence, message = Possible, "open"
		case st.followed(s.scope.File):
			confidence = Possible // another guard may stand behind it
		}
		st.emit(st.finding(s.scope.File, s.node.Range, confidence, message, s.name(), e.As))
	}
}

// followed reports that some guard of the same application looks state up.
func (st *study) followed(near *program.File) bool {
	for g := range st.guards {
		if st.program.Together(st.fileOf[g], near) && st.looksUp(st.reach(g)) == theState {
			return true
		}
	}
	return false
}

// A decider is a function by which an application tells a library whether a token
// is revoked.
type decider struct {
	funcs []*program.Function
	scope *program.Scope
	node  *program.Node
	name  string
}

// deciders are the isRevoked of middleware, and the loaders of blocklists.
func (st *study) deciders() []decider {
	var out []decider
	for _, s := range st.sites {
		if !s.call() {
			continue
		}
		if e := st.find(setGuard, s); e != nil && e.As != "" {
			field, _ := st.options(s)
			if n, in := field(e.As); n != nil {
				out = append(out, decider{st.program.Value(n, in).Funcs, in, n, e.As})
			}
		}
		if e := st.find(setLibrary, s); e != nil && e.As == "blocklist-loader" && len(s.node.Args) > 0 {
			out = append(out, decider{st.program.Value(s.node.Args[0], s.scope).Funcs, s.scope, s.node, s.last()})
		}
	}
	for _, fn := range st.program.Functions {
		for _, d := range fn.Decorators {
			if st.isLibrary(d, st.program.Scope(fn), "blocklist-loader") {
				out = append(out, decider{[]*program.Function{fn}, st.program.Scope(fn), d, fn.Name})
			}
		}
	}
	return out
}

// isLibrary reports that a decorator, or what it calls, is what a vocabulary names.
func (st *study) isLibrary(d *program.Node, in *program.Scope, as string) bool {
	target := d
	if d.Kind == program.Call {
		target = d.On
	}
	if in.Up != nil {
		in = in.Up
	}
	s := st.siteOf(d, target, in)
	e := st.find(setLibrary, s)
	return e != nil && e.As == as
}

// isRevokedEmpty: messages: default.
func isRevokedEmpty(st *study) {
	for _, d := range st.deciders() {
		if len(d.funcs) == 0 {
			continue
		}
		r := st.reach(d.funcs...)
		if st.looksUp(r) != nothing {
			continue
		}
		confidence, _ := st.unfollowed(r, nil, func(v verdict) bool { return v.asks })
		if confidence == Possible {
			continue // it asks elsewhere
		}
		st.emit(st.finding(d.scope.File, d.node.Range, confidence, "default", d.name))
	}
}

// blocklistLoaderMissing: messages: default.
func blocklistLoaderMissing(st *study) {
	var loaders []*program.File
	for _, fn := range st.program.Functions {
		for _, d := range fn.Decorators {
			if st.isLibrary(d, st.program.Scope(fn), "blocklist-loader") {
				loaders = append(loaders, st.fileOf[fn])
			}
		}
	}
	var made []*site
	for _, s := range st.sites {
		switch e := st.find(setLibrary, s); {
		case e == nil:
		case e.As == "blocklist-loader":
			loaders = append(loaders, s.scope.File)
		case e.As == "jwt-manager":
			made = append(made, s)
		}
	}
	for _, s := range made {
		confidence := Certain
		if len(loaders) > 0 {
			confidence = Likely // that of another application
		}
		top := st.packageOf(s.scope.File)
		if slices.ContainsFunc(loaders, func(f *program.File) bool { return top != "" && strings.HasPrefix(f.Path, top) }) {
			confidence = Possible // of the same package: imports were not understood
		}
		if !slices.ContainsFunc(loaders, func(f *program.File) bool { return st.program.Together(f, s.scope.File) }) {
			st.emit(st.finding(s.scope.File, s.node.Range, confidence, "default", s.name()))
		}
	}
}

// packageOf is the folder, with a slash, of the outermost package of Python that a
// file is in; "" without.
func (st *study) packageOf(f *program.File) string {
	there := map[string]bool{}
	for _, f := range st.program.Files {
		there[f.Path] = true
	}
	top := ""
	for dir := path.Dir(f.Path); there[path.Join(dir, "__init__.py")] && path.Dir(dir) != dir; dir = path.Dir(dir) {
		top = dir + "/"
	}
	return top
}

// blocklistInMemory: messages: default.
func blocklistInMemory(st *study) {
	for _, l := range st.logouts {
		durable := st.first(l.reach, l.calls, func(_ *site, v verdict) bool { return v.effect && !v.memory || v.suspect || v.missing })
		if durable != nil {
			continue // what is in memory may be a copy
		}
		for _, s := range l.reach.sites {
			v := st.verdict(s)
			if !v.memory || !v.effect || st.takesOut(s) {
				continue
			}
			confidence := Likely
			if st.readByGuards(s) {
				confidence = Certain
			}
			f := st.finding(s.scope.File, s.node.Range, confidence, "default", s.name())
			f.Trace = append(f.Trace, Step{Path: l.at.Path, Range: l.range_, What: "the logout"})
			st.emit(f)
		}
	}
}

// takesOut reports that a write only removes something: from a list of what stands,
// where another process, which does not have it, refuses.
func (st *study) takesOut(s *site) bool {
	if st.blocks(s) {
		return false
	}
	switch s.node.Kind {
	case program.Operator:
		return true
	case program.Assign:
		return s.node.On.Kind == program.Name
	}
	return st.about("takes-out", s.last())
}

// readByGuards reports that what a logout writes in memory is what a check reads.
func (st *study) readByGuards(written *site) bool {
	name := base(written.node)
	return name != "" && slices.ContainsFunc(st.sites, func(s *site) bool {
		v := st.verdict(s)
		return v.memory && v.lookup && base(s.node) == name && st.program.Together(s.scope.File, written.scope.File)
	})
}

// base is the name of the collection that a site reads or writes.
func base(n *program.Node) string {
	target := n.On
	if n.Kind == program.Operator && len(n.Args) > 0 {
		target = n.Args[len(n.Args)-1]
	}
	if target != nil && (n.Kind == program.Call || n.Kind == program.Assign) && (target.Kind == program.Member || target.Kind == program.Index) {
		target = target.On
	}
	names := program.Written(target)
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// blocklistKeyedByTokenText: messages: default.
func blocklistKeyedByTokenText(st *study) {
	for _, l := range st.logouts {
		for _, s := range l.reach.sites {
			v := st.verdict(s)
			if !s.call() || !v.effect && !constructs(s) || !st.blocks(s) {
				continue
			}
			if v.entry != nil && v.entry.As == "request" {
				continue // another service gets the token, and keeps what list it likes
			}
			if name := st.tokenText(s); name != "" {
				st.emit(st.finding(s.scope.File, s.node.Range, Likely, "default", name))
			}
		}
	}
}

// constructs reports that a call makes an object: a row of a table, before it is
// saved.
func constructs(s *site) bool {
	if s.value.Class != nil || s.node.New {
		return true
	}
	return capital(s.node.On) && s.scope.File.Language == program.Python
}

// blocks reports that names around a write say that it is of what is refused.
func (st *study) blocks(s *site) bool {
	around := append(words(s.node), strings.Join(s.written, "."), owner(s.fn()))
	return slices.ContainsFunc(around, func(w string) bool { return st.about("block", w) })
}

// tokenText is the name by which a token's text, not hashed and not an id of it,
// stands among the arguments of a call; "" if it does not.
func (st *study) tokenText(s *site) string {
	found, depth := "", 0
	var look func(n *program.Node)
	look = func(n *program.Node) {
		if n == nil || found != "" {
			return
		}
		switch n.Kind {
		case program.Name:
			if st.about("token-text", n.Text) && !st.decoded(n, s.scope) {
				found = n.Text
			} else if from := st.assigned(n.Text, s.scope); from != nil && depth < 3 {
				depth++
				look(from)
				depth--
			}
		case program.Member:
			if st.about("token-text", n.Text) {
				found = n.Text
			}
		case program.Call:
			name := strings.ToLower(last(program.Written(n.On)))
			switch {
			case headers[name] && len(n.Args) > 0 && n.Args[0].Kind == program.String && st.about("token-text", n.Args[0].Text):
				found = n.Args[0].Text
			case cuts[name]:
				if n.On.Kind == program.Member {
					look(n.On.On)
				}
				for _, a := range n.Args {
					look(a)
				}
			}
		case program.Index:
			look(n.On)
		case program.Template, program.List, program.Object, program.Operator:
			n.Children(look)
		}
	}
	for _, a := range s.node.Args {
		look(a)
	}
	for i := range s.node.Fields {
		look(s.node.Fields[i].Value)
	}
	return found
}

// What reads a header, and what a text goes through that stays the same text.
var (
	headers = map[string]bool{"get": true, "header": true, "getheader": true}
	cuts    = map[string]bool{
		"split": true, "slice": true, "substring": true, "substr": true, "replace": true, "trim": true, "trimprefix": true, "trimspace": true,
		"fields": true, "strip": true, "lstrip": true, "removeprefix": true, "partition": true, "sprintf": true, "format": true, "str": true,
		"string": true, "tostring": true, "concat": true, "pop": true,
	}
)

// assigned is what a function gives a name of its own where it declares it, if that
// is a text that is read or cut; nil otherwise.
func (st *study) assigned(name string, s *program.Scope) *program.Node {
	var from *program.Node
	st.program.Each(s.Func, func(n *program.Node, _ *program.Scope) bool {
		if n.Kind == program.Assign && n.Declare && n.On != nil && n.On.Kind == program.Name && n.On.Text == name && len(n.Args) == 1 &&
			(n.Args[0].Kind == program.Call || n.Args[0].Kind == program.Index) {
			from = n.Args[0]
		}
		return n.Kind != program.Func && n.Kind != program.Type
	})
	return from
}

// decoded reports that a name stands for what came out of a token: its payload, or
// a hash of it.
func (st *study) decoded(n *program.Node, in *program.Scope) bool {
	v := st.program.Value(n, in)
	return st.about("derived", strings.Join(v.Path.Names, "."))
}

// secondGranularIAT: messages: default.
func secondGranularIAT(st *study) {
	for _, fn := range st.program.Functions {
		if fn.Body == nil || st.ctx.Err() != nil {
			continue
		}
		st.program.Each(fn, func(n *program.Node, s *program.Scope) bool {
			if n.Kind == program.Func || n.Kind == program.Type {
				return false
			}
			if n.Kind != program.Operator || len(n.Args) != 2 || !strings.ContainsAny(n.Text, "<>") || len(n.Text) > 2 {
				return true
			}
			a, b := mentionsIn(st, n.Args[0], "issued-at"), mentionsIn(st, n.Args[1], "issued-at")
			x, y := mentionsIn(st, n.Args[0], "cutoff"), mentionsIn(st, n.Args[1], "cutoff")
			if a && y || b && x {
				st.emit(st.finding(s.File, n.Range, Likely, "default"))
			}
			return true
		})
	}
	for _, s := range st.sites { // Go: issued.Before(cutoff)
		if s.call() && (s.last() == "before" || s.last() == "after") && len(s.node.Args) == 1 && s.node.On.Kind == program.Member {
			a, b := s.node.On.On, s.node.Args[0]
			if mentionsIn(st, a, "issued-at") && mentionsIn(st, b, "cutoff") || mentionsIn(st, b, "issued-at") && mentionsIn(st, a, "cutoff") {
				st.emit(st.finding(s.scope.File, s.node.Range, Likely, "default"))
			}
		}
	}
}

func mentionsIn(st *study, n *program.Node, what string) bool {
	found := false
	program.Walk(n, func(n *program.Node) bool {
		if (n.Kind == program.Name || n.Kind == program.Member || n.Kind == program.String) && st.about(what, n.Text) {
			found = true
		}
		return !found && n.Kind != program.Func
	})
	return found
}
