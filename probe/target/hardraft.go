package target

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxDrafted is how many routes a draft names: more say little more, and each is
// asked some hundred times.
const maxDrafted = 8

// A recorded is a recording on its way to a description.
type recorded struct {
	*scribe
	p   *provenance
	all []*exchange

	login      int
	logout     int // -1: none
	everywhere int
	refresh    int
	bare       bool // the browser left cookies and Authorization out
}

func draftHAR(all []*exchange, base string) (*Draft, error) {
	d := &recorded{p: trace(all), all: all, bare: true}
	for _, x := range all {
		if x.header.Get("Cookie") != "" || x.header.Get("Authorization") != "" || x.answer.Header.Get("Set-Cookie") != "" {
			d.bare = false
		}
	}
	if d.login = d.findLogin(); d.login < 0 {
		return nil, errNoLogin
	}
	d.findOthers()
	routes := d.candidates()
	if len(routes) == 0 {
		return nil, errors.New("between login and logout nothing was asked for that needs a session: record some pages or calls in between")
	}
	instance, err := rebase(all, d.home(routes), base)
	if err != nil {
		return nil, err
	}
	d.scribe = newScribe(instance)
	d.credentials(all[d.login].loginCredentials())
	d.secrets = recordedSecrets(all)
	d.found = func(value string, at int) (string, bool) {
		h, ok := d.p.find(value, at)
		if !ok {
			return "", false
		}
		return d.p.use(h), true
	}
	if d.bare {
		d.remark("the recording has neither cookies nor Authorization: the browser left them out. Look at present, or export it again with sensitive data")
	}
	t := &Target{Instances: []string{instance}}
	d.routes(t, routes)
	login := d.chain(append(d.p.takeNeeds(), d.login))
	d.rest(t, login)
	d.sockets(t, login)
	t.Login = d.steps(login, d.login)
	for _, host := range d.hosts {
		d.remark("hosts: %s takes part, so requests will go there too", host)
	}
	return d.finish(t)
}

// findLogin returns the first request that sends a password and is not refused.
func (d *recorded) findLogin() int {
	best, rank := -1, 0
	for i, x := range d.all {
		if x.status >= 400 || x.method == "GET" || x.method == "HEAD" {
			continue
		}
		p := purposeOf(x.method, x.url.Path, "")
		_, _, password := x.credentials()
		score := 0
		switch {
		case p == forLogin && password:
			score = 4
		case password && p != forPassword && p != forLogout:
			score = 3
		case p == forLogin && (len(Places(x.answer)) > 0 || x.answer.Header.Get("Set-Cookie") != ""):
			score = 2
		}
		if score > rank {
			best, rank = i, score
		}
	}
	return best
}

// findOthers finds refresh and logout, after the login.
func (d *recorded) findOthers() {
	d.logout, d.everywhere, d.refresh = -1, -1, -1
	for i := d.login + 1; i < len(d.all); i++ {
		x := d.all[i]
		if x.status >= 400 || x.static() {
			continue
		}
		switch p := purposeOf(x.method, x.url.Path, ""); {
		case p == forRefresh || strings.Contains(string(x.body), "grant_type=refresh_token"):
			if d.refresh < 0 {
				d.refresh = i
			}
		case p == forLogoutAll:
			d.everywhere = i
		case p == forLogout && d.logout >= 0 && d.all[d.logout].method != "GET" && x.method == "GET":
			// A page that is shown after it.
		case p == forLogout:
			d.logout = i
		}
	}
}

// candidates are the requests after the login, and before the logout, that carry
// a session and change nothing.
func (d *recorded) candidates() []int {
	var all []int
	for i := d.login + 1; i < len(d.all); i++ {
		x := d.all[i]
		ended := d.logout >= 0 && i >= d.logout || d.everywhere >= 0 && i >= d.everywhere
		good := x.status >= 200 && x.status <= 299 || x.status == http.StatusNotModified
		if ended || x.method != "GET" || !good || x.static() || strings.HasPrefix(x.url.Scheme, "ws") || x.kind == "text/event-stream" || i == d.refresh {
			continue
		}
		if d.carries(i) {
			all = append(all, i)
		}
	}
	return all
}

// carries reports whether a request carries something that an answer brought, or
// a token.
func (d *recorded) carries(i int) bool {
	x := d.all[i]
	if d.bare {
		return isJSON(x.kind) && sameSite(x.url, d.all[d.login].url)
	}
	return slices.ContainsFunc(x.fields(), func(f field) bool {
		h, brought := d.p.values[f.value]
		switch f.where {
		case "cookie":
			return brought && h.at < i && sameSite(x.url, d.all[h.at].url)
		case "header":
			return f.name == "Authorization" || brought && h.at < i && secretField.MatchString(plain(f.name))
		case "query":
			// What a redirect brought is a code, good for once.
			return brought && h.at < i && secretField.MatchString(plain(f.name)) && h.finder.Query == ""
		}
		return false
	})
}

// sameSite compares the last two labels of hosts, which is enough for a guess.
func sameSite(a, b *url.URL) bool {
	tail := func(u *url.URL) string {
		labels := strings.Split(u.Hostname(), ".")
		return strings.Join(labels[max(0, len(labels)-2):], ".")
	}
	return tail(a) == tail(b)
}

// home is the address of the application: where most of the routes are.
func (d *recorded) home(routes []int) *url.URL {
	votes := map[string]int{}
	var best *url.URL
	for _, i := range routes {
		u := d.all[i].url
		votes[origin(u)] += d.weight(i)
		if best == nil || votes[origin(u)] > votes[origin(best)] {
			best = u
		}
	}
	return best
}

// weight says how well a route serves to tell a living session from a dead one.
func (d *recorded) weight(i int) int {
	x, w := d.all[i], 1
	if isJSON(x.kind) {
		w += 4
	}
	if purposeOf(x.method, x.url.Path, "") == forIdentity {
		w += 4
	}
	return w
}

// routes writes the protected routes, how they carry the session, and the one
// that says whose it is.
func (d *recorded) routes(t *Target, candidates []int) {
	slices.SortStableFunc(candidates, func(a, b int) int { return cmp.Compare(d.weight(b), d.weight(a)) })
	seen, left := map[string]bool{}, 0
	present := &Present{}
	for _, i := range candidates {
		x := d.all[i]
		if path := x.label(); seen[path] {
			continue
		} else if seen[path] = true; len(t.Protected) == maxDrafted {
			left++
			continue
		}
		r := d.request(x, i)
		if strings.Contains(string(r.Line), "${") {
			left++
			continue
		}
		d.present(present, &r, x, i)
		if pointer := d.identity(x); pointer != "" && t.Identity == nil {
			t.Identity = &Identity{Request: Request{Line: r.Line, Headers: r.Headers, Basic: r.Basic}, Find: Finder{JSON: pointer}}
		}
		t.Protected = append(t.Protected, r)
	}
	if left > 0 {
		d.remark("protected: %d more of the recorded requests were left out; add those that matter", left)
	}
	if len(present.Headers)+len(present.Query) == 0 {
		return
	}
	if len(present.Headers) != 1 || len(present.Query) > 0 || present.Headers["Authorization"] != "Bearer {{access_token}}" {
		t.Present = present
	}
}

// present moves what carries the session from a route to where it stands once.
func (d *recorded) present(p *Present, r *Request, x *exchange, i int) {
	add := func(to *map[string]Template, name string, t Template) {
		if *to == nil {
			*to = map[string]Template{}
		}
		if (*to)[name] == "" {
			(*to)[name] = t
		}
	}
	if scheme, token, ok := strings.Cut(x.header.Get("Authorization"), " "); ok && !strings.EqualFold(scheme, "basic") {
		if h, brought := d.p.find(strings.TrimSpace(token), i); brought {
			d.p.named[h.finder.String()] = "access_token"
			d.p.use(h)
		} else {
			d.remark("present: no answer of the recording brought the token in Authorization; say in login.find where access_token comes from")
		}
		add(&p.Headers, "Authorization", Literal(scheme)+" {{access_token}}")
	}
	for name, value := range r.Headers {
		if names := value.Names(); len(names) > 0 && !strings.HasPrefix(names[0], "$") && !strings.HasPrefix(names[0], "user.") {
			add(&p.Headers, name, value)
			delete(r.Headers, name)
		}
	}
	if len(r.Headers) == 0 {
		r.Headers = nil
	}
	path, query, _ := strings.Cut(string(r.Line), "?")
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plainName, err := url.QueryUnescape(name)
		if names := Template(value).Names(); err == nil && len(names) == 1 && secretField.MatchString(plain(plainName)) && value == "{{"+names[0]+"}}" && names[0] != "user.name" {
			add(&p.Query, plainName, Template(value))
		} else if pair != "" {
			kept = append(kept, pair)
		}
	}
	if r.Line = Template(path); kept != nil {
		r.Line += Template("?" + strings.Join(kept, "&"))
	}
}

// identity returns where the answer says whose it is: where the name stands that
// was logged in with, or at an address that is known for it an id.
func (d *recorded) identity(x *exchange) string {
	document, err := decodeJSON(x.answer.Body)
	if err != nil {
		return ""
	}
	var byName, byMember string
	pointers("", "", document, 0, func(pointer, name, value string, _ bool) {
		depth := strings.Count(pointer, "/")
		if strings.EqualFold(value, d.user) && len(value) > 2 && byName == "" && depth <= 3 {
			byName = pointer
		}
		if byMember == "" && depth <= 2 && slices.Contains([]string{"sub", "subject", "id", "userid", "username", "email", "login"}, plain(name)) {
			byMember = pointer
		}
	})
	if byName == "" && purposeOf(x.method, x.url.Path, "") == forIdentity {
		return byMember
	}
	if purposeOf(x.method, x.url.Path, "") != forIdentity && strings.Contains(byName, "/0/") {
		return "" // a list, which may hold others tomorrow
	}
	return byName
}

// chain returns the exchanges that have to be sent again so that the wanted ones
// come out, in their order: those that bring what others send.
func (d *recorded) chain(want []int) []int {
	in := map[int]bool{}
	for len(want) > 0 {
		i := want[0]
		if want = want[1:]; !d.p.anew {
			i = d.p.root[i]
		}
		if in[i] || i == d.refresh || len(in) >= maxSteps {
			continue
		}
		in[i] = true
		d.request(d.all[i], i) // for what it uses
		want = append(want, d.p.takeNeeds()...)
		for j := i; j < len(d.all) && d.p.root[j] == i; j++ {
			for _, c := range cookies(d.all[j].header.Get("Cookie")) {
				if h, ok := d.p.values[c.Value]; ok && h.at < i && h.finder.Cookie == c.Name && !d.p.anew {
					want = append(want, h.at)
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(in))
}

// steps writes a chain; main is the step it is for, -1 if that is the last one. Answers to
// steps after it may be needed too.
func (d *recorded) steps(chain []int, main int) Steps {
	var all Steps
	for _, i := range chain {
		x := d.all[i]
		r := d.request(x, i)
		d.p.takeNeeds()
		r.Finds = maps.Clone(d.p.uses[i])
		if main >= 0 && d.p.root[main] == i {
			d.places(&r, i)
			if x.status >= 300 {
				r.Expect = Expect{{300, 399}}
			} else if x.status >= 200 {
				r.Expect = Expect{{200, 299}}
			}
		} else if r.Finds == nil {
			r.Finds = map[string]Finder{}
		}
		if len(r.Finds) == 0 {
			r.Finds = nil
		}
		all = append(all, r)
	}
	return all
}

// places adds the tokens of an answer that no later request of the recording
// carried: a list of finders replaces what is found without one.
func (d *recorded) places(r *Request, i int) {
	for variable, f := range Places(d.all[i].answer) {
		known := slices.ContainsFunc(slices.Collect(maps.Values(r.Finds)), func(o Finder) bool { return o == f })
		if _, taken := r.Finds[variable]; taken || known {
			continue
		}
		if r.Finds == nil {
			r.Finds = map[string]Finder{}
		}
		r.Finds[variable] = f
	}
}

// rest writes refresh and logout, each with the steps that only it needs.
func (d *recorded) rest(t *Target, login []int) {
	one := func(i int) Steps {
		if i < 0 {
			return nil
		}
		d.p.anew = true
		defer func() { d.p.anew = false }()
		d.request(d.all[i], i)
		var before []int
		for _, need := range d.chain(d.p.takeNeeds()) {
			if !slices.Contains(login, need) && need < i {
				before = append(before, need)
			}
		}
		steps := d.steps(append(before, d.p.root[i]), -1)
		last := &steps[len(steps)-1]
		if last.Finds = nil; i == d.refresh {
			last.Finds = maps.Clone(d.p.uses[d.p.root[i]])
			d.places(last, i)
		} else if t.Present != nil {
			for name := range t.Present.Headers {
				delete(last.Headers, name)
			}
			if len(last.Headers) == 0 {
				last.Headers = nil
			}
		}
		return steps
	}
	t.Refresh, t.Logout, t.LogoutAll = one(d.refresh), one(d.logout), one(d.everywhere)
	if d.refresh >= 0 && d.all[d.refresh].header.Get("Authorization") != "" {
		t.Refresh.Last().Carry = CarryAll
	}
}

// sockets writes the connections that stayed open.
func (d *recorded) sockets(t *Target, login []int) {
	for i := d.login + 1; i < len(d.all) && len(t.Sockets) < maxDrafted; i++ {
		x := d.all[i]
		socket := strings.HasPrefix(x.url.Scheme, "ws")
		if !socket && x.kind != "text/event-stream" {
			continue
		}
		u := *x.url
		u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
		if base, err := url.Parse(d.base); err != nil || origin(base) != origin(&u) {
			continue
		}
		x = &exchange{method: "GET", url: &u, header: http.Header{}}
		s := Socket{SSE: d.address(x, i)}
		if socket {
			s = Socket{WebSocket: s.SSE}
		}
		if slices.ContainsFunc(d.p.takeNeeds(), func(need int) bool { return !slices.Contains(login, need) }) {
			d.remark("sockets: %s begins with something that is fetched for it; add it by hand", x.label())
			continue
		}
		known := slices.ContainsFunc(t.Sockets, func(o Socket) bool { return o.WebSocket == s.WebSocket && o.SSE == s.SSE })
		if !known && !strings.Contains(string(s.WebSocket+s.SSE), "${") {
			t.Sockets = append(t.Sockets, s)
		}
	}
}
