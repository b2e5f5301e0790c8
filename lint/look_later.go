package lint

import (
	"slices"

	"github.com/rescind/rescind/lint/program"
)

// revocationCheckCached: messages: default, decorator.
func revocationCheckCached(st *study) {
	var roots []*program.Function
	for _, d := range st.deciders() {
		roots = append(roots, d.funcs...)
	}
	for _, c := range st.checks() {
		if c.why == forAccess {
			roots = append(roots, c.root)
		}
	}
	seen := map[*program.Function]bool{}
	for _, root := range roots {
		if seen[root] || st.ctx.Err() != nil {
			continue
		}
		seen[root] = true
		r := st.reach(root)
		asks := st.first(r, nil, func(_ *site, v verdict) bool { return v.lookup && v.strong && !v.memory })
		if asks == nil {
			continue
		}
		for _, s := range r.sites {
			v := st.verdict(s)
			cached := s.call() && st.find(setCache, s) != nil || (v.recalls || v.memory && v.lookup) && st.filledIn(r, s)
			if cached && s.fn() == asks.fn() {
				f := st.finding(s.scope.File, s.node.Range, Likely, "default", s.name())
				st.step(f, asks, "this is asked only when the cache has nothing")
				st.emit(f)
			}
		}
		for _, fn := range r.funcs {
			for _, d := range fn.Decorators {
				scope := st.program.Scope(fn)
				if scope.Up == nil || st.looksUp(st.reach(fn)) != theState {
					continue
				}
				target := d
				if d.Kind == program.Call {
					target = d.On
				}
				if s := st.siteOf(d, target, scope.Up); st.find(setCache, s) != nil {
					st.emit(st.finding(scope.File, d.Range, Likely, "decorator", s.name(), fn.Name))
				}
			}
		}
	}
}

// filledIn reports that what a site reads in memory is written on the same way.
func (st *study) filledIn(r *reach, read *site) bool {
	name := base(read.node)
	return name != "" && slices.ContainsFunc(r.sites, func(s *site) bool {
		v := st.verdict(s)
		return v.memory && v.effect && base(s.node) == name && !st.takesOut(s)
	})
}

// refreshTokenReusable: messages: default.
func refreshTokenReusable(st *study) {
	for _, c := range st.refreshes {
		r := st.reach(c.all()...)
		if st.looksUp(r) != theState || st.first(r, c.calls, effective) != nil {
			continue // by signature alone: another rule's
		}
		if confidence, _ := st.unfollowed(r, c.calls, func(v verdict) bool { return v.suspect }); confidence == Possible {
			continue
		}
		makes := st.first(r, c.calls, func(s *site, _ verdict) bool {
			e := st.find(setSign, s)
			return e != nil && (e.As == "refresh" || slices.ContainsFunc(words(s.node), func(w string) bool { return st.about("refresh-word", w) }))
		})
		if makes == nil {
			continue // it gives no new one
		}
		f := st.finding(c.at, c.range_, Likely, "default", c.name)
		st.step(f, makes, "a new refresh token is made here")
		st.emit(f)
	}
}

// socketOutlivesLogout: messages: default.
func socketOutlivesLogout(st *study) {
	for _, s := range st.sites {
		if !s.call() || st.ctx.Err() != nil {
			continue
		}
		e := st.find(setLibrary, s)
		if e == nil || e.As != "socket" {
			continue
		}
		i := slices.IndexFunc(st.logouts, func(l *logout) bool { return st.program.Together(l.file, s.scope.File) })
		if i < 0 {
			continue // nothing here logs out
		}
		if fns := st.given(s); len(fns) > 0 {
			if st.first(st.reach(fns...), nil, func(_ *site, v verdict) bool { return v.verify != nil || v.lookup && v.strong }) == nil {
				continue // it does not care whose it is
			}
		}
		if st.closesSockets(s.scope.File) {
			continue
		}
		f := st.finding(s.scope.File, s.node.Range, Possible, "default", s.name())
		f.Trace = append(f.Trace, Step{Path: st.logouts[i].at.Path, Range: st.logouts[i].range_, What: "the logout"})
		st.emit(f)
	}
}

// closesSockets reports that some logout of the application closes connections.
func (st *study) closesSockets(near *program.File) bool {
	return slices.ContainsFunc(st.logouts, func(l *logout) bool {
		return st.program.Together(l.file, near) && st.first(l.reach, l.calls, func(s *site, _ verdict) bool {
			return s.call() && st.about("closes", s.last())
		}) != nil
	})
}
