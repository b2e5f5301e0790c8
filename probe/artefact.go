package probe

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// An artefact is something that a session holds, as a thief would have copied it:
// it does not change when the session does. What a request carries is made from
// it.
type artefact struct {
	name    string // "access token", `cookie "sid"`, "all together"
	kind    Kind
	user    int
	session string // its label; empty if it belongs to nobody
	// vars are what templates see. Of the variables that the session has found it
	// has those that the artefact consists of, and no others.
	vars target.Vars
	// cookies go with every request, whatever their paths.
	cookies []cookie
	// jar, if it is not nil, adds the cookies that a browser would send.
	jar     *jar
	born    time.Time
	marks   []moment  // what became of its session before it was copied
	expires time.Time // what the artefact says; zero if it says nothing
	anew    bool      // what carries it goes over a new connection
	// alter, if it is not nil, changes a finished request: for another spelling of
	// the same token. It must not keep what it is given.
	alter func(*request)
}

// own reports whether a variable is one of the session, found in an answer, and
// not one of its user or of the environment.
func own(name string) bool {
	return !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "$") && name != "random"
}

// credential reports whether a variable is one that a session is known by, and not
// only something that its requests need, as the number of its user.
func (r *run) credential(name string) bool {
	switch name {
	case "access_token", "refresh_token", "id_token":
		return true
	}
	if r.target.Present == nil || !own(name) {
		return false
	}
	for _, templates := range []map[string]target.Template{r.target.Present.Headers, r.target.Present.Query} {
		for _, t := range templates {
			if slices.Contains(t.Names(), name) {
				return true
			}
		}
	}
	return false
}

// presented is what the description says of how a request carries its session:
// headers and parameters of the query.
func (r *run) presented(vars target.Vars) (headers, query map[string]target.Template) {
	if r.target.Present != nil {
		return r.target.Present.Headers, r.target.Present.Query
	}
	if _, found := vars["access_token"]; found {
		return map[string]target.Template{"Authorization": "Bearer {{access_token}}"}, nil
	}
	return nil, nil
}

// carried reports whether the artefact holds everything that a template needs.
func (a artefact) carried(t target.Template) bool {
	return !slices.ContainsFunc(t.Names(), func(name string) bool {
		_, has := a.vars[name]
		return own(name) && !has
	})
}

// variables are the names in templates.
func variables(templates map[string]target.Template) []string {
	var names []string
	for _, t := range templates {
		names = append(names, t.Names()...)
	}
	return names
}

// artefacts are those that a session's requests carry: each one alone, then all of
// them together if there are several. The refresh token is among them only if
// requests carry it; see tryRefresh.
func (r *run) artefacts(s *session) []artefact {
	var all []artefact
	headers, query := r.presented(s.vars)
	names := slices.Concat(variables(headers), variables(query))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		value, found := s.vars[name]
		if !found || !own(name) {
			continue
		}
		a := r.bare(s)
		a.vars[name] = value
		a.expires = expiresAt(value.Reveal(), s.renewed)
		switch name {
		case "access_token":
			a.name, a.kind = "access token", AccessToken
			if a.expires.IsZero() && s.lifetime > 0 {
				a.expires = s.renewed.Add(s.lifetime)
			}
		case "refresh_token":
			a.name, a.kind = "refresh token", RefreshToken
		default:
			a.name, a.kind = fmt.Sprintf("%q", name), Credential
		}
		all = append(all, a)
	}
	if r.target.Present.WithCookies() {
		cookies := slices.Clone(s.jar.cookies)
		slices.SortStableFunc(cookies, byName)
		for _, c := range cookies {
			a := r.bare(s)
			a.name, a.kind, a.cookies = fmt.Sprintf("cookie %q", c.name), Cookie, []cookie{c}
			if a.expires = expiresAt(c.value, s.renewed); a.expires.IsZero() {
				a.expires = c.expires
			}
			all = append(all, a)
		}
	}
	if len(all) > 1 {
		all = append(all, r.together(s))
	}
	return all
}

// bare is an artefact of a session that holds no credential yet.
func (r *run) bare(s *session) artefact {
	a := artefact{user: s.user, session: s.label, born: s.born, marks: s.moments(), vars: target.Vars{}}
	for name, value := range s.vars {
		if !r.credential(name) {
			a.vars[name] = value
		}
	}
	return a
}

// together is all that a session's requests carry, as a browser sends it.
func (r *run) together(s *session) artefact {
	a := artefact{
		name: "all together", kind: Together, user: s.user, session: s.label, born: s.born, marks: s.moments(),
		vars: s.vars.Clone(), jar: s.jar.clone(),
	}
	expires := func(token string) {
		if at := expiresAt(token, s.renewed); !at.IsZero() && (a.expires.IsZero() || at.Before(a.expires)) {
			a.expires = at
		}
	}
	headers, query := r.presented(s.vars)
	for _, name := range slices.Concat(variables(headers), variables(query)) {
		expires(a.vars[name].Reveal())
	}
	for _, c := range a.jar.cookies {
		expires(c.value)
	}
	if a.expires.IsZero() && s.lifetime > 0 {
		a.expires = s.renewed.Add(s.lifetime)
	}
	return a
}

// nobody is what a request without any session carries. What requests need and is
// no credential, as the number of a user, is that of the session s.
func (r *run) nobody(s *session) artefact {
	a := r.bare(s)
	a.name, a.session = "nothing", ""
	return a
}

// replaced is the artefact with other values: f is given the name and the value of
// each of its credentials.
func (r *run) replaced(a artefact, f func(name, value string) string) artefact {
	b := a
	b.vars = a.vars.Clone()
	for name, value := range a.vars {
		if r.credential(name) {
			b.vars[name] = target.Secret(f(name, value.Reveal()))
		}
	}
	change := func(cookies []cookie) []cookie {
		changed := slices.Clone(cookies)
		for i := range changed {
			changed[i].value = f(changed[i].name, changed[i].value)
		}
		return changed
	}
	b.cookies = change(a.cookies)
	if a.jar != nil {
		b.jar = &jar{instances: a.jar.instances, cookies: change(a.jar.cookies)}
	}
	return b
}

// build makes a request of the description with what an artefact holds.
func (r *run) build(role string, a artefact, q *target.Request, base string, carry target.Carry) (request, error) {
	rendered, err := q.Render(base, a.vars)
	if err != nil {
		return request{}, err
	}
	shell, err := q.Render(base, marks(a.vars))
	if err != nil {
		return request{}, err
	}
	u, err := url.Parse(rendered.URL)
	if err != nil {
		return request{}, fmt.Errorf("%s: not a URL", q) // err holds the URL
	}
	out := request{
		role: role, session: a.session, artefact: a.name, method: rendered.Method, url: u, header: rendered.Header, body: rendered.Body, anew: a.anew,
		shell: &shellForm{url: shell.URL, header: shell.Header, body: string(shell.Body)},
	}
	if err := r.present(&out, a, carry); err != nil {
		return request{}, err
	}
	if a.alter != nil {
		a.alter(&out)
	}
	return out, nil
}

// present adds to a request what it carries of a session.
func (r *run) present(q *request, a artefact, carry target.Carry) error {
	if carry == target.CarryAll {
		headers, query := r.presented(a.vars)
		held := map[string]target.Template{}
		for name, t := range headers {
			if a.carried(t) {
				held[name] = t
			}
		}
		if err := target.RenderHeaders(q.header, held, a.vars); err != nil {
			return err
		}
		if err := target.RenderHeaders(q.shell.header, held, marks(a.vars)); err != nil {
			return err
		}
		if err := addQuery(q, a, query); err != nil {
			return err
		}
	}
	if carry == target.CarryNothing {
		return nil
	}
	cookies := slices.Clone(a.cookies)
	if a.jar != nil && (carry == target.CarryCookies || r.target.Present.WithCookies()) {
		cookies = append(cookies, a.jar.of(q.url, r.options.Now())...)
	}
	if len(cookies) == 0 {
		return nil
	}
	// A description may name cookies of its own in a header.
	join := func(h http.Header, more string) {
		if before := h.Get("Cookie"); before != "" {
			more = before + "; " + more
		}
		h.Set("Cookie", more)
	}
	join(q.header, cookieHeader(cookies, func(c cookie) string { return c.value }))
	join(q.shell.header, cookieHeader(cookies, func(c cookie) string { return mark("cookie_" + c.name) }))
	return nil
}

func addQuery(q *request, a artefact, query map[string]target.Template) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !a.carried(query[name]) {
			continue
		}
		value, err := query[name].Render(a.vars)
		if err != nil {
			return err
		}
		inShell, err := query[name].Render(marks(a.vars))
		if err != nil {
			return err
		}
		values := q.url.Query()
		values.Set(name, value)
		u := *q.url
		u.RawQuery = values.Encode()
		q.url = &u
		sep := "?"
		if strings.Contains(q.shell.url, "?") {
			sep = "&"
		}
		q.shell.url += sep + url.QueryEscape(name) + "=" + url.QueryEscape(inShell)
	}
	return nil
}
