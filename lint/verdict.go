package lint

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rescind/rescind/lint/program"
)

// The sets of a vocabulary; rules/README.md says what they mean.
const (
	setEffect  = "effect"
	setLookup  = "lookup"
	setInert   = "inert"
	setVerify  = "verify"
	setSign    = "sign"
	setGuard   = "guard"   // calls that give middleware which checks signatures alone
	setMemory  = "memory"  // calls that make something that holds values in memory
	setCache   = "cache"   // calls that make, or wrap with, a cache
	setPass    = "pass"    // calls that let a request pass on
	setDeny    = "deny"    // calls that refuse one
	setLibrary = "library" // what a rule names: see its look
	setClient  = "client"  // names that only a browser's code has
)

var setNames = []string{
	setEffect, setLookup, setInert, setVerify, setSign, setGuard, setMemory, setCache, setPass, setDeny, setLibrary, setClient,
}

// A verdict says what a site means.
type verdict struct {
	effect  bool // changes state on the server that may end a session
	memory  bool // and that state is this process's alone
	aside   bool // changes state of which a name says that it is about something else
	lookup  bool // reads state
	recalls bool // reads something of this process's memory, whatever it is about
	strong  bool // and that state is about tokens or sessions
	inert   bool // can neither end a session nor look one up
	verify  *entry
	missing bool // leads out of the parsed files by a relative import
	suspect bool // unknown, and by its name could end a session
	asks    bool // unknown, and by its name could look one up
	known   bool // leads to parsed functions
	entry   *entry
}

// unknown reports that nothing at all is known of a call.
func (v verdict) unknown() bool {
	return !v.effect && !v.lookup && !v.inert && !v.known && v.verify == nil && !v.aside
}

func (st *study) verdict(s *site) verdict {
	if v, ok := st.verdicts[s]; ok {
		return v
	}
	v := st.judge(s)
	st.verdicts[s] = v
	return v
}

func (st *study) judge(s *site) verdict {
	var v verdict
	if store := st.memoryWritten(s); store != nil {
		v.memory, v.effect = true, true
		if st.about("unrelated", strings.Join(store, ".")) {
			return verdict{aside: true}
		}
		return v
	}
	if !s.call() {
		v.inert = true
		if st.memoryRead(s) {
			v = verdict{lookup: true, memory: true, strong: true}
		}
		v.recalls = s.node.Kind == program.Index && st.memory(s.node.On, s.scope) != nil
		return v
	}
	v.known = len(s.value.Funcs) > 0 || s.value.Class != nil
	v.verify = st.find(setVerify, s)
	effect, lookup, inert := st.find(setEffect, s), st.find(setLookup, s), st.find(setInert, s)
	if inert != nil {
		effect, lookup = above(effect, inert), above(lookup, inert)
	}
	if v.known && (effect != nil && effect.pattern.any || lookup != nil && lookup.pattern.any) {
		// Its body says what it does: a name proves nothing.
		effect, lookup, inert = nil, nil, nil
	}
	v.inert = inert != nil && effect == nil && lookup == nil
	if effect != nil {
		v.entry = effect
		if effect.As != "session" && st.unrelated(s) {
			v.aside = true
		} else {
			v.effect = true
		}
	}
	if lookup != nil {
		v.lookup = true
		v.strong = lookup.As == "session" || st.aboutSessions(s)
		if v.entry == nil {
			v.entry = lookup
		}
	}
	if st.memoryRead(s) {
		v.lookup, v.memory = true, true
		v.strong = v.strong || st.aboutSessions(s)
	}
	if on := s.node.On; on != nil && on.Kind == program.Name && s.value.Param != nil && !v.effect && !v.lookup && v.verify == nil {
		// A function that was passed: it counts where it was passed on, if its name
		// does not say that more may be behind it.
		v.inert = !st.about("could-end", on.Text) && !st.about("could-look", on.Text)
	}
	if v.known || v.effect || v.lookup || v.inert || v.aside || v.verify != nil {
		return v
	}
	v.missing = s.value.Missing
	name := strings.Join(s.written, ".")
	if w := program.Written(s.node.On); len(w) > 0 && w[len(w)-1] != "" && unicode.IsUpper(rune(w[len(w)-1][0])) && s.scope.File.Language != program.Go {
		return v // it makes an object, and the name is that of a class
	}
	v.suspect = st.about("could-end", name)
	if v.suspect && st.about("revokes", s.fn().Name) && !st.about("other-tokens", owner(s.fn())+" "+s.scope.File.Path) {
		return verdict{effect: true} // how it does what it is called for was not read
	}
	v.asks = st.about("could-look", name)
	return v
}

// capital reports that what is called has the name of a class.
func capital(n *program.Node) bool {
	r, _ := utf8.DecodeRuneInString(last(program.Written(n)))
	return unicode.IsUpper(r)
}

// above is e if it is more specific than other.
func above(e, other *entry) *entry {
	if e != nil && e.pattern.specific > other.pattern.specific {
		return e
	}
	return nil
}

// unrelated reports that names say that a write is about something else than
// sessions: an audit trail, a counter.
func (st *study) unrelated(s *site) bool {
	if st.aboutSessions(s) {
		return false
	}
	return st.about("unrelated", strings.Join(s.written, ".")) || slices.ContainsFunc(words(s.node), func(w string) bool {
		return st.about("unrelated", w)
	})
}

// aboutSessions reports that the names around a call speak of tokens or sessions.
func (st *study) aboutSessions(s *site) bool {
	for n, i := s.node, 0; n != nil && i < 16; i++ {
		if n.Kind == program.Call {
			if slices.ContainsFunc(words(n), func(w string) bool { return st.about("session", w) }) {
				return true
			}
		}
		n = n.On
	}
	receiver := s.written
	if len(receiver) > 1 && slices.Contains([]string{"req", "request", "res", "response", "ctx", "c", "w", "r"}, receiver[0]) {
		receiver = receiver[1:]
	}
	return st.about("session", strings.Join(withoutMapper(receiver, s.scope.File.Language), " "))
}

// withoutMapper leaves out the names of what SQLAlchemy calls a session, which is
// nobody's login: db.session.query.
func withoutMapper(names []string, language program.Language) []string {
	if language != program.Python {
		return names
	}
	var kept []string
	for i, n := range names {
		mapper := i+1 < len(names) && strings.HasSuffix(n, "session") && mapperCalls[names[i+1]] && (i == 0 || names[i-1] != "request")
		if !mapper {
			kept = append(kept, n)
		}
	}
	return kept
}

var mapperCalls = map[string]bool{
	"query": true, "get": true, "get_one": true, "execute": true, "exec": true, "scalar": true, "scalars": true, "scalar_one": true,
	"add": true, "add_all": true, "commit": true, "delete": true, "merge": true, "flush": true, "refresh": true, "rollback": true, "begin": true,
}

// memoryWritten returns the names of what lives in this process only and is
// changed by a site; nil if there is no such thing.
func (st *study) memoryWritten(s *site) []string {
	n := s.node
	switch n.Kind {
	case program.Assign:
		target := n.On
		if target == nil {
			return nil
		}
		if target.Kind == program.Index || target.Kind == program.Member {
			return st.memory(target.On, s.scope)
		}
		if target.Kind == program.Name { // tokens = tokens.filter(…)
			return st.memory(target, s.scope)
		}
	case program.Operator:
		if n.Text != "delete" {
			return nil
		}
		if target := n.Args[0]; target.Kind == program.Index || target.Kind == program.Member {
			return st.memory(target.On, s.scope)
		}
	case program.Call:
		if n.On == nil {
			return nil
		}
		if n.On.Kind == program.Name && (n.On.Text == "delete" || n.On.Text == "append") && len(n.Args) > 0 {
			return st.memory(n.Args[0], s.scope)
		}
		if n.On.Kind == program.Member && memoryWrites[strings.ToLower(n.On.Text)] {
			return st.memory(n.On.On, s.scope)
		}
	}
	return nil
}

var memoryWrites = map[string]bool{
	"add": true, "set": true, "delete": true, "push": true, "append": true, "clear": true, "splice": true, "pop": true, "remove": true,
	"discard": true, "update": true, "store": true, "setdefault": true, "unshift": true, "put": true, "del": true, "insert": true,
}

var memoryReads = map[string]bool{
	"has": true, "get": true, "includes": true, "indexof": true, "find": true, "some": true, "load": true, "contains": true, "__contains__": true, "peek": true,
}

func (st *study) memoryRead(s *site) bool {
	on := s.node.On
	switch s.node.Kind {
	case program.Operator: // jti in blocklist
		return s.node.Text != "delete" && st.memory(s.node.Args[1], s.scope) != nil
	case program.Index:
		names := st.memory(on, s.scope)
		return names != nil && st.about("session", strings.Join(names, " "))
	case program.Call:
	default:
		return false
	}
	return on != nil && on.Kind == program.Member && memoryReads[strings.ToLower(on.Text)] && st.memory(on.On, s.scope) != nil
}

// memory returns the names of an expression that outlives the request and stands
// for a collection in memory.
func (st *study) memory(n *program.Node, s *program.Scope) []string {
	if n == nil || n.Kind != program.Name && n.Kind != program.Member && n.Kind != program.Index {
		return nil
	}
	v := st.program.Value(n, s)
	if !v.Lasting {
		return nil
	}
	names := append(slices.Clone(v.Path.Names), program.Written(n)...)
	switch {
	case v.Node != nil && (v.Node.Kind == program.Object || v.Node.Kind == program.List) && len(v.Funcs) == 0 && v.Class == nil:
		return names
	case v.Node != nil && v.Node.Kind == program.Call:
		made := &site{
			node: v.Node, scope: v.Scope, module: strings.ToLower(v.Path.Module),
			names: lower(v.Path.Names), written: lower(program.Written(v.Node.On)),
		}
		if made.scope == nil {
			made.scope = s
		}
		if st.find(setMemory, made) != nil {
			return names
		}
	}
	made := &site{node: n, scope: s, module: strings.ToLower(v.Path.Module), names: lower(v.Path.Names)}
	if v.Class == nil && len(v.Funcs) == 0 && st.find(setMemory, made) != nil {
		return names
	}
	return nil
}
