package target

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// errNoLogin says what a recording has to hold.
var errNoLogin = errors.New("no request looks like a login: one that sends a password is expected")

// draftCurl sorts requests without answers by what they look like.
func draftCurl(all []*exchange, base string) (*Draft, error) {
	login := chooseLogin(all)
	if login < 0 {
		return nil, errNoLogin
	}
	t := &Target{}
	purposes := make([]purpose, len(all))
	for i, x := range all {
		if purposes[i] = purposeOf(x.method, x.url.Path, ""); i == login {
			purposes[i] = forLogin
		}
		if strings.Contains(string(x.body), "grant_type=refresh_token") {
			purposes[i] = forRefresh
		}
	}
	home := all[login].url
	for i, x := range all {
		if p := purposes[i]; (p == forNothing || p == forIdentity) && (x.method == "GET" || x.method == "HEAD") {
			home = x.url
			break
		}
	}
	instance, err := rebase(all, home, base)
	if err != nil {
		return nil, err
	}
	t.Instances = []string{instance}
	s := newScribe(instance)
	s.credentials(all[login].loginCredentials())
	s.secrets = recordedSecrets(all)
	c := &carriers{scribe: s, variables: map[string]string{}, headers: map[string]Template{}, query: map[string]Template{}}
	c.learn(all, login, purposes)
	s.found = func(value string, at int) (string, bool) {
		variable, ok := c.variables[value]
		return variable, ok && at != login
	}
	for i, x := range all {
		if err := c.place(t, x, i, purposes[i]); err != nil {
			return nil, err
		}
	}
	if len(c.finds) > 0 {
		t.Login[0].Finds = c.finds
		// An explicit list replaces what is found by itself.
		s.remark("login.find: it names only what the commands show; say where the answer has its tokens, if it has any")
	}
	if len(t.Protected) == 0 {
		return nil, errors.New("no command asks for something that needs a session: add one, as curl -H \"Authorization: Bearer $TOKEN\" https://…/me")
	}
	t.Present = c.present()
	return s.finish(t)
}

// chooseLogin returns the index of the login, or -1.
func chooseLogin(all []*exchange) int {
	best, rank := -1, 0
	for i, x := range all {
		p := purposeOf(x.method, x.url.Path, "")
		_, _, password := x.credentials()
		score := 0
		switch {
		case p == forRefresh || p == forLogout || p == forLogoutAll || p == forPassword:
		case p == forLogin && password:
			score = 4
		case p == forLogin:
			score = 2
		case password && x.method != "GET" && x.method != "HEAD":
			score = 3
		}
		if score > 0 && strings.Contains(string(x.body), "refresh_token") && !password {
			score = 0
		}
		if score > rank {
			best, rank = i, score
		}
	}
	return best
}

// rebase puts base in the place of the origin of home, in every exchange, and
// returns the instance.
func rebase(all []*exchange, home *url.URL, base string) (string, error) {
	from := origin(home)
	if base == "" {
		return home.Scheme + "://" + home.Host, nil
	}
	to, err := parseBase(base)
	if err != nil {
		return "", err
	}
	for _, x := range all {
		if origin(x.url) != from {
			continue
		}
		u := *x.url
		u.Scheme, u.Host = to.Scheme, to.Host
		if prefix := strings.TrimSuffix(to.Path, "/"); prefix != "" && !strings.HasPrefix(u.Path, prefix+"/") {
			u.Path, u.RawPath = prefix+u.Path, ""
		}
		x.url = &u
	}
	return strings.TrimSuffix(to.String(), "/"), nil
}

// parseBase reads a base URL that the user gives.
func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the base URL is http:// or https://, a host, and perhaps a port and a path")
	}
	return u, nil
}

// carriers is what commands carry of a session, without an answer that says where
// it comes from.
type carriers struct {
	*scribe
	variables map[string]string   // by recorded value
	finds     map[string]Finder   // that follow from the commands alone
	headers   map[string]Template // beside Authorization: Bearer
	query     map[string]Template
	bearer    bool
	cookies   bool
}

// learn gives every token a variable by the place it stands in.
func (c *carriers) learn(all []*exchange, login int, purposes []purpose) {
	given := map[string]bool{} // what the login sends is no token of the session
	for _, f := range all[login].fields() {
		given[f.value] = true
	}
	cookie := map[string]string{}
	for i, x := range all {
		if i == login {
			continue
		}
		for _, f := range x.fields() {
			name := plain(f.name)
			switch {
			case f.where == "cookie":
				c.cookies = true
				cookie[f.value] = f.name
			case given[f.value] || f.where == "path" || f.where == "basic":
			case f.where == "header" && f.name == "Authorization":
				c.bearer = true
				c.variables[f.value] = "access_token"
				if scheme, _, _ := strings.Cut(x.header.Get("Authorization"), " "); !strings.EqualFold(scheme, "bearer") {
					c.headers["Authorization"] = Literal(scheme) + " {{access_token}}"
				}
			case strings.Contains(name, "csrf") || strings.Contains(name, "xsrf"):
				c.variables[f.value] = "csrf"
			case f.where != "path" && strings.Contains(name, "refresh") || purposes[i] == forRefresh && f.where == "body" && name == "token":
				if secretField.MatchString(name) && !openField.MatchString(name) {
					c.variables[f.value] = "refresh_token"
				}
			case (f.where == "header" && !isOwnHeader(f.name) || f.where == "query") && secretField.MatchString(name) && !openField.MatchString(name):
				c.carried(f)
			case f.where == "body" && (name == "token" || name == "accesstoken"):
				if _, known := c.variables[f.value]; !known {
					c.variables[f.value] = "access_token"
				}
			}
		}
	}
	for value, variable := range c.variables {
		if name, is := cookie[value]; is && variable == "csrf" {
			c.finds = map[string]Finder{"csrf": {Cookie: name}}
		} else if variable == "csrf" {
			c.remark("{{csrf}}: the commands do not show where it comes from; add it to login.find, as in csrf: {cookie: csrf}")
		}
	}
}

// carried takes a header or parameter for what carries the session. A key of the
// application itself would be on the login too, which learn has looked at.
func (c *carriers) carried(f field) {
	c.variables[f.value] = "access_token"
	name := f.name
	if f.where == "header" {
		c.headers[name] = "{{access_token}}"
	} else {
		c.query[name] = "{{access_token}}"
	}
	c.remark("present: %s %s is taken for the session's token; if it is a key of the application, move it to the headers of each request", f.where, name)
}

func (c *carriers) present() *Present {
	if len(c.headers) == 0 && len(c.query) == 0 {
		return nil
	}
	p := &Present{}
	if len(c.headers) > 0 {
		p.Headers = c.headers
		if _, other := p.Headers["Authorization"]; c.bearer && !other {
			p.Headers["Authorization"] = "Bearer {{access_token}}"
		}
	}
	if len(c.query) > 0 {
		p.Query = c.query
	}
	return p
}

// place puts a request where it belongs in the description.
func (c *carriers) place(t *Target, x *exchange, i int, p purpose) error {
	r := c.request(x, i)
	for name := range c.headers {
		delete(r.Headers, name)
	}
	if len(r.Headers) == 0 {
		r.Headers = nil
	}
	switch {
	case p == forLogin && t.Login == nil:
		t.Login = Steps{r}
	case p == forLogin && !slices.Contains([]string{"GET", "HEAD"}, x.method):
		c.remark("%s: left out, there is another login", x.label())
	case p == forRefresh && t.Refresh == nil:
		t.Refresh = Steps{r}
	case p == forLogout && t.Logout == nil:
		t.Logout = Steps{r}
	case p == forLogoutAll && t.LogoutAll == nil:
		t.LogoutAll = Steps{r}
	case p == forPassword && t.Password == nil:
		t.Password = &PasswordChange{Request: r}
		c.remark("change_password: the probe changes the password and puts it back; take it out if that must not be")
	case x.method != "GET" && x.method != "HEAD":
		c.remark("%s: left out, it may change something (allow.methods)", x.label())
	case x.header.Get("Authorization") == "" && x.header.Get("Cookie") == "" && !c.carries(x):
		c.remark("%s: left out, it carries no session", x.label())
	case slices.ContainsFunc(t.Protected, func(old Request) bool { return old.Line == r.Line }):
	default:
		t.Protected = append(t.Protected, r)
	}
	return nil
}

// carries reports whether a request carries the session in a place of its own.
func (c *carriers) carries(x *exchange) bool {
	return slices.ContainsFunc(x.fields(), func(f field) bool {
		_, header := c.headers[f.name]
		_, query := c.query[f.name]
		return f.where == "header" && header || f.where == "query" && query
	})
}
