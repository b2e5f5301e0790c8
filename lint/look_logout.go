package lint

import (
	"slices"

	"github.com/rescind/rescind/lint/program"
)

// looks are what rules can ask for by name. Above each stand the messages that it
// asks its rule for.
func looks() map[string]func(*study) {
	return map[string]func(*study){
		"logout-without-effect":         logoutWithoutEffect,
		"logout-keeps-refresh-token":    logoutKeepsRefreshToken,
		"logout-swallows-errors":        logoutSwallowsErrors,
		"signature-only-check":          signatureOnlyCheck,
		"is-revoked-missing":            isRevokedMissing,
		"is-revoked-empty":              isRevokedEmpty,
		"blocklist-loader-missing":      blocklistLoaderMissing,
		"blocklist-in-memory":           blocklistInMemory,
		"blocklist-expires-early":       blocklistExpiresEarly,
		"blocklist-keyed-by-token-text": blocklistKeyedByTokenText,
		"token-without-expiry":          tokenWithoutExpiry,
		"token-without-id":              tokenWithoutID,
		"revocation-check-fails-open":   revocationCheckFailsOpen,
		"second-granular-iat":           secondGranularIAT,
		"comment-promises-expiry":       commentPromisesExpiry,
		"revocation-check-cached":       revocationCheckCached,
		"refresh-token-reusable":        refreshTokenReusable,
		"socket-outlives-logout":        socketOutlivesLogout,
		ruleIgnoreWithoutReason:         ignoreWithoutReason,
	}
}

// unfollowed is what a reach leaves open, as a confidence: certain if nothing is,
// likely if calls are unknown, possible if one of them, by its name or because it
// leads out of the parsed files, could do what was not found.
func (st *study) unfollowed(r *reach, extra []*site, could func(verdict) bool) (Confidence, *site) {
	confidence := Certain
	var at *site
	if r.cut {
		confidence = Possible
	}
	for _, s := range slices.Concat(r.sites, extra) {
		switch v := st.verdict(s); {
		case v.missing || could(v):
			return Possible, s
		case v.unknown() && confidence == Certain:
			confidence, at = Likely, s
		}
	}
	return confidence, at
}

// first returns a site of a reach whose verdict fits.
func (st *study) first(r *reach, extra []*site, fits func(*site, verdict) bool) *site {
	for _, s := range slices.Concat(extra, r.sites) {
		if fits(s, st.verdict(s)) {
			return s
		}
	}
	return nil
}

func effective(_ *site, v verdict) bool { return v.effect }

// logoutWithoutEffect: messages: default, possible.
func logoutWithoutEffect(st *study) {
	for _, l := range st.logouts {
		if st.first(l.reach, l.calls, effective) != nil {
			continue
		}
		// Nothing is known of a handler from outside, unless it is known to be hollow.
		if len(l.answer) == 0 && !slices.ContainsFunc(l.calls, func(s *site) bool { return st.verdict(s).inert }) {
			continue
		}
		confidence, open := st.unfollowed(l.reach, l.calls, func(v verdict) bool { return v.suspect })
		if l.route == nil || len(l.answer) == 0 {
			confidence = lesser(confidence, Likely) // nobody was seen to call it, or its source was not
		}
		f := st.finding(l.at, l.range_, confidence, "default", l.name)
		if confidence == Possible && open != nil {
			f = st.finding(l.at, l.range_, confidence, "possible", l.name, open.name())
			st.step(f, open, "this was not followed")
		}
		for _, fn := range l.reach.funcs {
			if fn.Name != "" && len(f.Trace) < 8 {
				f.Trace = append(f.Trace, Step{Path: st.fileOf[fn].Path, Range: fn.NameRange, What: "calls " + fn.Name})
			}
		}
		st.emit(f)
	}
}

// logoutKeepsRefreshToken: messages: stateless, unread, default.
func logoutKeepsRefreshToken(st *study) {
	for _, l := range st.logouts {
		if st.first(l.reach, l.calls, effective) == nil {
			continue // the whole logout is hollow: another rule's
		}
		if st.endsRefresh(l) || st.takesRefresh(l) {
			continue
		}
		confidence, open := st.unfollowed(l.reach, l.calls, func(v verdict) bool { return v.suspect })
		if confidence = lesser(confidence, Likely); confidence == Possible && open != nil && !open.value.Missing && !st.aboutSessions(open) {
			confidence = Likely
		}
		if slices.ContainsFunc(st.logouts, func(other *logout) bool {
			return other != l && st.program.Together(other.file, l.file) && st.takesRefresh(other)
		}) {
			confidence = Possible // a client may call the other one too
		}
		if verify := st.statelessRefresh(l.file); verify != nil {
			f := st.finding(l.at, l.range_, confidence, "stateless", l.name)
			st.step(f, verify, "a refresh token is accepted here by its signature")
			st.emit(f)
			continue
		}
		if issue := st.issuesRefresh(l.file); issue != nil && !st.mentions(l, "refresh-word") && !st.mentions(l, "whole-session") {
			f := st.finding(l.at, l.range_, confidence, "default", l.name)
			st.step(f, issue, "a refresh token is issued here")
			st.emit(f)
		}
	}
}

// takesRefresh reports that a logout is one for refresh tokens too, by its path, or
// by the arguments of jwt_required.
func (st *study) takesRefresh(l *logout) bool {
	if l.route != nil && st.about("refresh-word", l.route.Path) {
		return true
	}
	is := func(n *program.Node, value string) bool { return n != nil && n.Kind == program.Bool && n.Text == value }
	return slices.ContainsFunc(l.answer, func(f *program.Function) bool {
		return slices.ContainsFunc(f.Decorators, func(d *program.Node) bool {
			return is(d.Field("refresh"), "true") || is(d.Field("verify_type"), "false")
		})
	})
}

// endsRefresh reports that a logout does something that ends sessions as a whole.
func (st *study) endsRefresh(l *logout) bool {
	return st.first(l.reach, l.calls, func(_ *site, v verdict) bool { return v.effect && v.entry != nil && v.entry.As == "session" }) != nil
}

// mentions reports that an effect of a logout, or what stands around it, speaks of
// something.
func (st *study) mentions(l *logout, what string) bool {
	found := false
	for _, fn := range l.reach.funcs {
		if fn.Body == nil || found {
			continue
		}
		program.Walk(fn.Body, func(n *program.Node) bool {
			switch n.Kind {
			case program.Call:
				s := &site{node: n, written: lower(program.Written(n.On))}
				if !st.about("clears-cookie", s.last()) {
					found = found || slices.ContainsFunc(words(n), func(w string) bool { return st.about(what, w) })
				} else {
					return false
				}
			case program.Member:
				// That of a mapper, db.session, is none of a user.
				found = found || st.about(what, n.Text) && !(n.Text == "session" && n.On != nil && n.On.Kind == program.Name && st.about("database", n.On.Text))
			case program.Name, program.String:
				found = found || st.about(what, n.Text)
			}
			return !found
		})
	}
	return found
}

// statelessRefresh returns the check of a refresh token's signature after which
// nothing is looked up; nil if there is none.
func (st *study) statelessRefresh(near *program.File) *site {
	for _, c := range st.refreshes {
		if !st.program.Together(c.file, near) {
			continue
		}
		r := st.reach(c.all()...)
		verify := st.first(r, c.calls, func(_ *site, v verdict) bool { return v.verify != nil })
		looked := st.first(r, c.calls, func(s *site, v verdict) bool {
			return v.lookup && v.strong || v.asks || v.missing || v.effect && st.exchanges(s)
		})
		if verify != nil && looked == nil && st.looksUp(r) != theState {
			return verify
		}
	}
	return nil
}

// issuesRefresh returns where a refresh token is made.
func (st *study) issuesRefresh(near *program.File) *site {
	for _, x := range st.signings() {
		s, e := x.site, x.entry
		if st.program.Together(s.scope.File, near) && (e.As == "refresh" || slices.ContainsFunc(words(s.node), func(w string) bool { return st.about("refresh-word", w) })) {
			return s
		}
	}
	return nil
}
