package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// hygieneExperiment looks at what one session is given, from its login to its
// logout.
func hygieneExperiment() experiment {
	return experiment{
		name: "hygiene",
		checks: []string{
			"token-lifetime", "token-without-id", "token-in-url", "cookie-attributes", "cache-control", "clear-site-data",
		},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			h := &hygiene{run: r}
			if err := h.look(ctx); err != nil {
				return h.results, err
			}
			return h.results, h.leave(ctx)
		},
	}
}

// A hygiene is one session and what was seen of it.
type hygiene struct {
	run     *run
	session *session
	route   *route
	values  []value // that give access
	control *answer
	results []Result
}

func (h *hygiene) add(check, subject string, v Verdict, text string, answers ...*answer) {
	h.results = append(h.results, h.run.result(check, subject, v, text, answers...))
}

// look judges what can be seen while the session lives.
func (h *hygiene) look(ctx context.Context) (err error) {
	r := h.run
	if h.session, h.control, err = r.fresh(ctx, r.target.Instances[0]); err != nil {
		return err
	}
	h.route = r.on(h.session.instance)
	if h.values, err = r.values(ctx, h.session, h.route); err != nil {
		return err
	}
	h.lifetimes()
	if err := h.urls(ctx); err != nil {
		return err
	}
	if err := h.cookies(ctx); err != nil {
		return err
	}
	return h.caching(ctx)
}

// leave logs the session out, and judges what only then can be seen.
func (h *hygiene) leave(ctx context.Context) error {
	r := h.run
	if needsLogout(r.target) != "" {
		h.ids(nil, nil)
		h.add("clear-site-data", "", NotApplicable, needsLogout(r.target))
		return nil
	}
	before := len(h.session.trail)
	held := r.together(h.session)
	bearing := h.session.jar.clone()
	logout, err := r.logout(ctx, h.session, h.session.instance)
	if err != nil {
		return err
	}
	h.forgets(h.session.trail[before:], bearing)
	l := &life{experiment: "hygiene", artefact: held, route: h.route, ended: logout.ended, endedAt: h.session.instance}
	if err := r.watch(ctx, []*life{l}, r.delays[len(r.delays)-1]); err != nil {
		return err
	}
	h.ids(l.last(), logout)
	return nil
}

// longest is how long an access token may live before it is a finding.
const longest = 24 * time.Hour

// lifetimes judges how long tokens live by what they say themselves.
func (h *hygiene) lifetimes() {
	const check = "token-lifetime"
	login := h.session.trail[len(h.session.trail)-1]
	for _, v := range h.values {
		switch token := readJWT(v.text); {
		case token != nil:
			h.lifetime(v.name, token, true)
		case v.variable == "access_token":
			seconds, says := expiresIn(login.body)
			switch lifetime := time.Duration(seconds) * time.Second; {
			case !says:
				h.add(check, v.name, NotApplicable, "the token is opaque, and the answer to the login does not say how long it lives (expires_in)")
			case lifetime > longest:
				h.add(check, v.name, Finding, fmt.Sprintf("expires_in says that it lives for %s", lifetime), login)
			default:
				h.add(check, v.name, Pass, fmt.Sprintf("expires_in says that it lives for %s", lifetime), login)
			}
		}
	}
	for name, secret := range h.session.vars {
		if token := readJWT(secret.Reveal()); name == "refresh_token" && token != nil {
			h.lifetime("refresh token", token, false)
		}
	}
	if !slices.ContainsFunc(h.results, func(r Result) bool { return r.Check == check }) {
		h.add(check, "", NotApplicable, "no token says how long it lives")
	}
}

func (h *hygiene) lifetime(name string, token *jwt, access bool) {
	const check = "token-lifetime"
	end, has := token.time("exp")
	begin, hasBegin := token.time("iat")
	if !hasBegin {
		begin = h.session.born
	}
	switch lifetime := end.Sub(begin).Round(time.Second); {
	case !has:
		h.add(check, name, Finding, "it has no exp, and never expires by itself", h.control)
	case access && lifetime > longest:
		h.add(check, name, Finding, fmt.Sprintf("it lives for %s", lifetime), h.control)
	default:
		h.add(check, name, Pass, fmt.Sprintf("it lives for %s", lifetime), h.control)
	}
}

// expiresIn is the number of seconds that an answer gives its access token (RFC
// 6749, section 5.1).
func expiresIn(body []byte) (seconds int64, says bool) {
	var document struct {
		ExpiresIn  json.Number `json:"expires_in"`
		ExpiresIn2 json.Number `json:"expiresIn"`
	}
	if json.Unmarshal(body, &document) != nil {
		return 0, false
	}
	for _, number := range []json.Number{document.ExpiresIn, document.ExpiresIn2} {
		if n, err := number.Int64(); err == nil && n > 0 {
			return n, true
		}
	}
	return 0, false
}

// idClaims are claims that name a token or its session.
var idClaims = []string{"jti", "sid", "session_id", "sessionId", "session", "token_id"}

// ids judges whether a token can be named. after is the answer to the token after
// its logout; nil if there was no logout.
func (h *hygiene) ids(after, logout *answer) {
	const check = "token-without-id"
	tokens := 0
	for _, v := range h.values {
		token := readJWT(v.text)
		if token == nil {
			continue
		}
		tokens++
		if i := slices.IndexFunc(idClaims, func(claim string) bool { return token.claims[claim] != nil && token.claims[claim] != "" }); i >= 0 {
			h.add(check, v.name, Pass, fmt.Sprintf("it has the claim %q", idClaims[i]), h.control)
			continue
		}
		switch {
		case after != nil && proves(after) == Dead:
			h.add(check, v.name, Note, "it has neither jti nor sid; the logout ended it by other means", h.control, logout, after)
		case after != nil && proves(after) == Alive:
			h.add(check, v.name, Finding, "it has neither jti nor sid, and the logout did not end it", h.control, logout, after)
		case after == nil:
			h.add(check, v.name, Finding, "it has neither jti nor sid", h.control)
		default:
			h.add(check, v.name, Inconclusive, "it has neither jti nor sid, and whether the logout ended it by other means cannot be told", h.control, logout, after)
		}
	}
	if tokens == 0 {
		h.add(check, "", NotApplicable, "no token that gives access is a JWT")
	}
}

// inQuery are names of parameters in which applications take a token.
var inQuery = []string{"access_token", "token", "jwt", "auth_token"}

// urls looks for tokens in URLs, and tries whether the target takes one there.
func (h *hygiene) urls(ctx context.Context) error {
	const check = "token-in-url"
	r := h.run
	before := len(h.results)
	if p := r.target.Present; p != nil {
		for name, t := range p.Query {
			if slices.ContainsFunc(t.Names(), r.credential) {
				h.add(check, fmt.Sprintf("parameter %q", name), Finding, "requests carry the session in their URL, as the description says", h.control)
			}
		}
	}
	for _, socket := range r.target.Sockets {
		t := target.Template(string(socket.WebSocket) + string(socket.SSE))
		if slices.ContainsFunc(t.Names(), r.credential) {
			h.add(check, "socket "+string(t), Finding, "the socket carries the session in its URL, as the description says")
		}
	}
	for _, v := range h.values {
		if a := h.leaks(v); a != nil {
			h.add(check, v.name, Finding, fmt.Sprintf("it stands in a URL of the answer to %s %s", a.request.method, a.request.url.Path), a)
		}
	}
	tried := 0
	for _, v := range h.values {
		names := inQuery
		if v.cookie != "" {
			names = []string{v.cookie} // as PHP and Java take it where cookies are off
		}
		for _, name := range names {
			a := r.bare(h.session)
			a.name = fmt.Sprintf("%s as the parameter %q", v.name, name)
			a.alter = func(q *request) {
				u := *q.url
				query := u.Query()
				query.Set(name, v.text)
				u.RawQuery = query.Encode()
				q.url = &u
				q.shell = nil // the values are masked where they stand
			}
			tried++
			out, err := r.try(ctx, "token in the query", a, h.route)
			if err != nil {
				return err
			}
			if proves(out) == Alive {
				h.add(check, v.name, Finding, fmt.Sprintf("%s takes it from the URL, as the parameter %q", h.route.line, name), h.control, out)
				break
			}
			if proves(out) == Unclear {
				h.add(check, v.name, Inconclusive, "what the target answered to a token in the query proves nothing: "+out.note, h.control, out)
				break
			}
		}
	}
	if len(h.results) == before {
		h.add(check, "", Pass, fmt.Sprintf("none was seen, and %d tries to send one in the query were refused", tried), h.control)
	}
	return nil
}

// leaks is an answer of the session that holds a value in a URL; nil if there is
// none.
func (h *hygiene) leaks(v value) *answer {
	if len(v.text) < shortest {
		return nil
	}
	inURL := regexp.MustCompile(`[?&#;/=]` + regexp.QuoteMeta(v.text))
	inLink := regexp.MustCompile(`[?&#;][\w.-]+=` + regexp.QuoteMeta(v.text))
	for _, a := range append(slices.Clone(h.session.trail), h.control) {
		if inURL.MatchString(a.header.Get("Location")) || inLink.Match(a.body) || inURL.MatchString(a.request.url.RequestURI()) {
			return a
		}
	}
	return nil
}

// caching judges whether a cache may keep what the session was answered.
func (h *hygiene) caching(ctx context.Context) error {
	const check = "cache-control"
	r := h.run
	var given []*answer // answers that hold tokens
	for _, a := range h.session.trail {
		if h.holds(a) {
			given = append(given, a)
		}
	}
	if len(r.target.Refresh) > 0 {
		before := len(h.session.trail)
		if _, err := r.refresh(ctx, "refresh", h.session, h.session.instance); err == nil {
			for _, a := range h.session.trail[before:] {
				if h.holds(a) {
					given = append(given, a)
				}
			}
		} else if err := fatal(ctx, err); err != nil {
			return err
		}
	}
	before := len(h.results)
	var notes []string
	for _, a := range given {
		line := a.request.method + " " + a.request.url.Path
		switch c := cacheOf(a.header); {
		case c.kept:
			h.add(check, line, Finding, fmt.Sprintf("the answer holds a token, and Cache-Control: %s lets caches keep it", a.header.Get("Cache-Control")), a)
		case !c.noStore:
			h.add(check, line, Finding, "the answer holds a token and has no Cache-Control: no-store (RFC 6749, section 5.1)", a)
		}
	}
	cookies := slices.ContainsFunc(h.values, func(v value) bool { return v.cookie != "" })
	for _, rt := range r.sample(routesOfVariants) {
		a, err := r.proven(ctx, r.together(h.session), rt)
		if err != nil {
			return err
		}
		switch c := cacheOf(a.header); {
		case c.kept:
			h.add(check, rt.line, Finding, fmt.Sprintf("Cache-Control: %s lets caches keep what only the session may see", a.header.Get("Cache-Control")), a)
		case !c.refused && cookies:
			h.add(check, rt.line, Finding, "it has neither no-store nor private: a cache may keep what only the session may see", a)
		case !c.noStore:
			notes = append(notes, rt.line)
		}
	}
	switch {
	case len(h.results) > before:
	case notes != nil:
		h.add(check, "", Note, "without no-store, so that the browser's own cache may keep them: "+strings.Join(slices.Compact(notes), ", "), h.control)
	default:
		h.add(check, "", Pass, fmt.Sprintf("%d answers with tokens and the protected routes forbid caches to keep them", len(given)), append(given, h.control)...)
	}
	return nil
}

// holds reports whether the body of an answer holds a value of the session.
func (h *hygiene) holds(a *answer) bool {
	for name, secret := range h.session.vars {
		if text := secret.Reveal(); h.run.credential(name) && len(text) >= shortest && strings.Contains(string(a.body), text) {
			return true
		}
	}
	return false
}

// A cachePolicy is what Cache-Control says (RFC 9111, section 5.2.2).
type cachePolicy struct {
	noStore bool
	refused bool // some directive keeps shared caches away, or stale answers back
	kept    bool // it invites caches to keep the answer
}

func cacheOf(header http.Header) (c cachePolicy) {
	fresh, private := false, false
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, argument, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		zero := strings.Trim(argument, `"0`) == ""
		switch name {
		case "no-store":
			c.noStore = true
		case "no-cache":
			c.refused = true
		case "private":
			private = true
		case "max-age":
			fresh = fresh || !zero
			c.refused = c.refused || zero
		case "public", "s-maxage":
			fresh = fresh || name == "public" || !zero
		}
	}
	c.kept = fresh && !private && !c.noStore && !c.refused
	c.refused = c.refused || private || c.noStore
	return c
}
