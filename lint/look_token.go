package lint

import (
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// tokenWithoutExpiry: messages: default, open, never.
func tokenWithoutExpiry(st *study) { st.claimMissing("expiry", true) }

// tokenWithoutID: messages: default, open.
func tokenWithoutID(st *study) { st.claimMissing("token-id", false) }

// claimMissing finds tokens that are signed without a claim. What stands in the
// vocabulary as "adds-" and the claim's name adds it by itself.
func (st *study) claimMissing(claim string, expiry bool) {
	if expiry {
		for _, s := range st.sites {
			st.expiryOff(s)
		}
		if st.defaultsHave(claim) {
			return
		}
	}
	for _, x := range st.signings() {
		if st.ctx.Err() != nil {
			return
		}
		s, e := x.site, x.entry
		if e.As == "complete" || e.As == "refresh" || e.As == "access" {
			continue // the library adds both
		}
		fn := s.fn()
		if st.about("other-purpose", owner(fn)) || slices.ContainsFunc(words(s.node), func(w string) bool { return st.about("other-purpose", w) }) {
			continue
		}
		known, has := st.contents(s, claim)
		switch {
		case has || st.adds(fn, claim) || (!known || e.As == "bare") && st.says(fn, claim):
		case known:
			st.emit(st.finding(s.scope.File, s.node.Range, Certain, "default", s.name()))
		case st.passedOn(fn, claim):
		default:
			st.emit(st.finding(s.scope.File, s.node.Range, Possible, "open", s.name()))
		}
	}
}

// adds reports that a function writes to a claim, or calls what adds it.
func (st *study) adds(fn *program.Function, claim string) bool {
	found := false
	program.Walk(fn.Body, func(n *program.Node) bool {
		if (n.Kind == program.Assign || n.Kind == program.Call) && n.On != nil {
			switch n.On.Kind {
			case program.Member:
				found = found || st.about(claim, n.On.Text)
			case program.Index: // claims[expiryField]
				found = found || slices.ContainsFunc(n.On.Args, func(a *program.Node) bool { return st.about(claim, last(program.Written(a))) })
			}
		}
		return !found
	})
	return found
}

// says reports that a function names a claim anywhere: as a field, a constant, or in
// what it adds.
func (st *study) says(fn *program.Function, claim string) bool {
	found := st.adds(fn, claim)
	program.Walk(fn.Body, func(n *program.Node) bool {
		found = found || n.Kind == program.String && st.about(claim, n.Text)
		for i := range n.Fields {
			found = found || st.about(claim, n.Fields[i].Key)
		}
		return !found
	})
	return found
}

func last(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// contents looks into what is signed: whether all of it is known, and whether the
// claim is there.
func (st *study) contents(s *site, claim string) (known, has bool) {
	known = true
	var look func(n *program.Node, in *program.Scope, depth int)
	look = func(n *program.Node, in *program.Scope, depth int) {
		if n == nil || depth > 6 || has {
			return
		}
		switch n.Kind {
		case program.Object:
			for i := range n.Fields {
				f := &n.Fields[i]
				if st.about(claim, f.Key) || claim == "token-id" && f.Value != nil && st.about("random", strings.Join(program.Written(f.Value), ".")) {
					has = true
					return
				}
				if f.Key == "" || f.Value != nil && (f.Value.Kind == program.Object || f.Value.Kind == program.Spread) {
					look(f.Value, in, depth+1)
				}
			}
			return
		case program.Spread:
			for _, a := range n.Args {
				look(a, in, depth+1)
			}
			return
		case program.String, program.Number, program.Null, program.Bool, program.Func, program.Template:
			return
		case program.Name, program.Member, program.Call, program.Index, program.If, program.Operator:
			v := st.program.Value(n, in)
			switch {
			case v.Node != nil && v.Node != n && v.Node.Kind != program.Call && v.Scope != nil:
				look(v.Node, v.Scope, depth+1)
			case len(v.Funcs) > 0 && n.Kind == program.Call:
				for _, f := range v.Funcs {
					has = has || st.says(f, claim)
				}
				known = false
			case n.Kind == program.Call && n.On != nil && len(st.program.Value(n.On, in).Funcs) > 0:
				for _, f := range st.program.Value(n.On, in).Funcs {
					has = has || st.says(f, claim)
				}
				known = false
			case keyLike(st, n):
			default:
				known = false
			}
		default:
			known = false
		}
	}
	for i, a := range s.node.Args {
		// The key says nothing of the claims.
		if i > 0 && keyLike(st, a) {
			continue
		}
		look(a, s.scope, 0)
	}
	for i := range s.node.Fields {
		if f := &s.node.Fields[i]; st.about(claim, f.Key) {
			has = true
		} else if f.Key == "payload" || f.Key == "claims" || f.Key == "" {
			look(f.Value, s.scope, 0)
		}
	}
	return known, has
}

// keyLike reports that an expression is a key or an algorithm by its name.
func keyLike(st *study, n *program.Node) bool {
	names := program.Written(n)
	return slices.ContainsFunc(names, func(w string) bool { return st.about("key-word", w) })
}

// passedOn reports that those who call a function name the claim.
func (st *study) passedOn(fn *program.Function, claim string) bool {
	for i, c := range st.callers[fn] {
		if i > 50 {
			break
		}
		if st.program.Top(st.fileOf[c]) != c && st.says(c, claim) {
			return true
		}
	}
	return false
}

// defaultsHave reports that the settings of a library say the claim for all tokens.
func (st *study) defaultsHave(claim string) bool {
	for _, s := range st.sites {
		if e := st.find(setLibrary, s); e == nil || e.As != "sign-defaults" {
			continue
		}
		found := false
		program.Walk(s.node, func(n *program.Node) bool {
			for i := range n.Fields {
				found = found || st.about(claim, n.Fields[i].Key)
			}
			return !found
		})
		if found {
			return true
		}
	}
	return false
}

// expiryOff finds settings and arguments by which tokens never expire.
func (st *study) expiryOff(s *site) {
	off := func(n *program.Node) bool {
		return n != nil && n.Kind == program.Bool && n.Text == "false"
	}
	switch s.node.Kind {
	case program.Assign:
		if s.node.On != nil && s.node.On.Kind == program.Member && st.about("expiry-setting", s.node.On.Text) && len(s.node.Args) > 0 && off(s.node.Args[0]) {
			st.emit(st.finding(s.scope.File, s.node.Range, Certain, "never", s.node.On.Text))
		}
	case program.Call:
		for i := range s.node.Fields {
			f := &s.node.Fields[i]
			if (st.about("expiry-setting", f.Key) || f.Key == "expires_delta") && off(f.Value) {
				st.emit(st.finding(s.scope.File, s.node.Range, Certain, "never", f.Key))
			}
		}
	}
}

// A signing is a place where a token is made.
type signing struct {
	site  *site
	entry *entry
}

// signings finds them all, once.
func (st *study) signings() []signing {
	if st.signed == nil {
		st.signed = []signing{}
		for _, s := range st.sites {
			if e := st.find(setSign, s); e != nil {
				st.signed = append(st.signed, signing{s, e})
			}
		}
	}
	return st.signed
}
