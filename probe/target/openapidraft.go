package target

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// documented is an OpenAPI document on its way to a description.
type documented struct {
	*scribe
	root node
	all  []*operation
}

func (d *documented) draft(base string) (*Draft, error) {
	instance, err := d.instance(base)
	if err != nil {
		return nil, err
	}
	d.scribe = newScribe(instance)
	t := &Target{Name: plainLine(d.root.get("info", "title").text()), Instances: []string{instance}}
	d.all = d.operations()
	if err := d.logIn(t); err != nil {
		return nil, err
	}
	if err := d.routes(t); err != nil {
		return nil, err
	}
	t.Refresh = d.step(d.best(forRefresh))
	t.Logout = d.step(d.best(forLogout))
	t.LogoutAll = d.step(d.best(forLogoutAll))
	if t.Refresh == nil {
		t.Refresh = d.sameEndpoint(&t.Login[0])
	}
	if o := d.best(forPassword); o != nil {
		d.remark("change_password: %s looks like one; add it with restore if the probe may change the password and put it back", o.label())
	}
	d.sockets(t)
	return d.finish(t)
}

// sameEndpoint is the refresh of a login that names its grant: at the same address
// (RFC 6749, section 6).
func (d *documented) sameEndpoint(login *Request) Steps {
	r := Request{Line: login.Line, Headers: login.Headers, Basic: login.Basic}
	line, query := strings.CutSuffix(string(login.Line), "grant_type=password")
	switch {
	case login.Form["grant_type"] == "password":
		r.Form = map[string]Template{"grant_type": "refresh_token", "refresh_token": "{{refresh_token}}"}
		for _, name := range []string{"client_id", "client_secret"} {
			if value, is := login.Form[name]; is {
				r.Form[name] = value
			}
		}
	case query && login.JSON != nil:
		r.Line = Template(line + "grant_type=refresh_token")
		r.JSON = map[string]any{"refresh_token": "{{refresh_token}}"}
	default:
		return nil
	}
	d.remark("refresh: taken to be at the address of the login, as OAuth has it")
	return Steps{r}
}

// plainLine is a title in one line of moderate length.
func plainLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if !printable(text) {
		return ""
	}
	return text[:min(len(text), 80)]
}

var serverVariable = regexp.MustCompile(`\{([^{}]+)\}`)

// instance is the base URL, of the document or as it is given.
func (d *documented) instance(base string) (string, error) {
	server := d.root.get("servers").list()
	ref := ""
	if len(server) > 0 {
		ref = serverVariable.ReplaceAllStringFunc(server[0].get("url").text(), func(name string) string {
			return server[0].get("variables", name[1:len(name)-1], "default").text()
		})
	}
	if d.root.get("swagger").there() {
		scheme := "https"
		if schemes := d.root.get("schemes").list(); len(schemes) > 0 && !slices.ContainsFunc(schemes, func(n node) bool { return n.text() == "https" }) {
			scheme = "http"
		}
		ref = d.root.get("basePath").text()
		if host := d.root.get("host").text(); host != "" {
			ref = scheme + "://" + host + ref
		}
	}
	named, err := url.Parse(ref)
	if err != nil {
		named = &url.URL{}
	}
	if base == "" {
		if u, err := parseBase(ref); err == nil {
			return strings.TrimSuffix(u.String(), "/"), nil
		}
		return "", errors.New("the document does not name the address of the application: give the base URL")
	}
	u, err := parseBase(base)
	if err != nil {
		return "", err
	}
	if strings.Trim(u.Path, "/") == "" && strings.HasPrefix(named.Path, "/") {
		u.Path = named.Path
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// request writes an operation. Everything that it requires is in it: what the
// document has an example or default for, and variables for the rest. all also
// takes name and password where they are not required.
func (d *documented) request(o *operation, all bool) Request {
	path, _ := d.path(o)
	r := Request{}
	var query []string
	user := ""
	members := o.properties()
	rank := -1
	for _, p := range members {
		if score := userRank(plain(p.name)); score >= 0 && p.schema.get("type").text() != "object" {
			if p.required {
				score += 3
			}
			if score > rank {
				user, rank = p.name, score
			}
		}
	}
	for _, p := range members {
		value, wanted := d.member(p, p.name == user && all, all)
		if !wanted {
			continue
		}
		text, _ := value.(string)
		switch p.where {
		case "json":
			r.JSON = p.put(r.JSON, value)
		case "form":
			put(&r.Form, p.name, Template(text))
		case "multipart":
			put(&r.Multipart, p.name, Template(text))
		case "query":
			if len(Template(text).Names()) == 0 {
				text = url.QueryEscape(text)
			}
			query = append(query, string(Literal(url.QueryEscape(p.name)))+"="+text)
		}
	}
	if r.JSON != nil {
		r.Form, r.Multipart = nil, nil
	}
	for _, p := range o.parameters {
		if name := p.get("name").text(); p.get("in").text() == "header" && p.get("required").yes() && fieldPattern.MatchString(name) && !isOwnHeader(name) {
			put(&r.Headers, name, d.given(name, or(p.get("schema"), p), p))
		}
	}
	for _, name := range o.secured {
		// A key of the application beside what its users have.
		scheme := d.schemes().get(name)
		field := scheme.get("name").text()
		if scheme.get("type").text() == "apiKey" && scheme.get("in").text() == "header" && isApplicationKey(field) && fieldPattern.MatchString(field) && (all || len(o.secured) > 1) {
			put(&r.Headers, field, d.environment(field, field))
		}
	}
	r.Line = Template(o.method+" ") + path
	if query != nil {
		r.Line += Template("?" + strings.Join(query, "&"))
	}
	return r
}

// put sets the property in a JSON body.
func (p property) put(body, value any) any {
	object, _ := body.(map[string]any)
	if object == nil {
		object = map[string]any{}
	}
	inner := object
	for _, name := range p.above {
		name = string(Literal(name))
		below, _ := inner[name].(map[string]any)
		if below == nil {
			below = map[string]any{}
			inner[name] = below
		}
		inner = below
	}
	inner[string(Literal(p.name))] = value
	return object
}

func put(to *map[string]Template, name string, value Template) {
	if *to == nil {
		*to = map[string]Template{}
	}
	(*to)[name] = value
}

// member is the value for a property, and whether it is needed.
func (d *documented) member(p property, isUser, all bool) (any, bool) {
	name := plain(p.name)
	switch {
	case passwordField.MatchString(name) && !newPassword.MatchString(name):
		return "{{user.password}}", all || p.required
	case isUser:
		return "{{user.name}}", true
	case strings.Contains(name, "refresh") && secretField.MatchString(name):
		return "{{refresh_token}}", !all
	case name == "token" || name == "accesstoken":
		return "{{access_token}}", p.required && !all
	case name == "granttype":
		return string(d.given(p.name, p.schema, p.schema)), true
	case !p.required:
		return nil, false
	}
	switch p.schema.get("type").text() {
	case "boolean":
		return p.schema.get("default").yes(), true
	case "object", "array":
		d.remark("%q: it is required and no plain value; see whether what stands there will do", plainLine(p.name))
		return literal(sample(p.schema)), true
	case "integer", "number":
		for _, source := range []string{"default", "example", "minimum"} {
			if value := p.schema.get(source); value.there() && value.text() != "" {
				if n, ok := number(json.Number(value.text())); ok {
					return n, true
				}
			}
		}
	}
	return string(d.given(p.name, p.schema, p.schema)), true
}

// literal is a JSON value whose names of members stand for themselves: whoever has
// written the document must not choose what is read from the environment.
func literal(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = literal(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[string(Literal(name))] = literal(member)
		}
		return out
	}
	return value
}

// given is the value that the document gives for something, or a variable.
func (d *documented) given(name string, schema, at node) Template {
	if value := known(schema, at); value != "" && (harmless(name, value) || openField.MatchString(plain(name))) && printable(value) {
		return Literal(value)
	}
	if plain(name) == "granttype" {
		return "password"
	}
	return d.environment(name, name)
}

// known is what a document gives for a value: const, default, the first of an
// enum, or an example.
func known(schema, at node) string {
	for _, n := range []node{schema.get("const"), schema.get("default"), at.get("default"), schema.get("example"), at.get("example")} {
		if text := n.text(); text != "" {
			return text
		}
	}
	for _, list := range []node{schema.get("enum"), at.get("enum"), schema.get("examples")} {
		if items := list.list(); len(items) > 0 && items[0].text() != "" {
			return items[0].text()
		}
	}
	var first string
	at.get("examples").members(func(_ string, example node) {
		if first == "" {
			first = example.get("value").text()
		}
	})
	return first
}

// path fills in the parameters of a path, or says that it cannot.
func (d *documented) path(o *operation) (Template, bool) {
	complete := true
	var out strings.Builder
	rest := o.path
	for _, at := range serverVariable.FindAllStringSubmatchIndex(o.path, -1) {
		name := o.path[at[2]:at[3]]
		before := o.path[len(o.path)-len(rest) : at[0]]
		rest = o.path[at[1]:]
		out.WriteString(string(Literal(before)))
		value := ""
		for _, p := range o.parameters {
			if p.get("in").text() == "path" && p.get("name").text() == name {
				value = known(or(p.get("schema"), p), p)
			}
		}
		if complete = complete && value != "" && printable(value); value != "" {
			out.WriteString(string(Literal(url.PathEscape(value))))
		}
	}
	out.WriteString(string(Literal(rest)))
	return Template(out.String()), complete && !strings.ContainsAny(rest, "{}# ")
}

// complete reports whether a GET can be sent with what the document gives.
func (d *documented) complete(o *operation) bool {
	if _, whole := d.path(o); !whole {
		return false
	}
	return !slices.ContainsFunc(o.parameters, func(p node) bool {
		return p.get("required").yes() && p.get("in").text() == "query" && known(or(p.get("schema"), p), p) == ""
	})
}

// best returns the operation that looks most like what is asked for, or nil.
func (d *documented) best(p purpose) *operation {
	var best *operation
	most := 0
	for _, o := range d.all {
		if _, whole := d.path(o); o.purpose() != p || !whole || p == forRefresh && o.method == "GET" {
			continue
		}
		score := 1
		if words := plain(o.path + o.id()); strings.Contains(words, "logout") || strings.Contains(words, "signout") || strings.Contains(words, "refresh") {
			score += 2
		}
		if o.method == "POST" {
			score++
		}
		if o.get("deprecated").yes() {
			score--
		}
		if score > most {
			best, most = o, score
		}
	}
	return best
}

func (d *documented) step(o *operation) Steps {
	if o == nil {
		return nil
	}
	return Steps{d.request(o, false)}
}

// routes writes the protected routes and how they carry the session.
func (d *documented) routes(t *Target) error {
	var found []*operation
	for _, o := range d.all {
		if o.method == "GET" && o.secured != nil && d.complete(o) && !slices.Contains([]purpose{forLogout, forLogoutAll, forRefresh, forLogin}, o.purpose()) && !o.streams() {
			found = append(found, o)
		}
	}
	if strong := slices.DeleteFunc(slices.Clone(found), func(o *operation) bool { return !d.strong(o) }); len(strong) > 0 {
		found = strong
	}
	if plainly := slices.DeleteFunc(slices.Clone(found), func(o *operation) bool { return strings.Contains(plain(o.path), "admin") }); len(plainly) > 0 {
		found = plainly // the user may be none
	}
	if len(found) == 0 {
		return errors.New("no GET of the document names a security requirement and can be sent as it is: write the description by hand")
	}
	weight := func(o *operation) int {
		w := len(o.parameters) + 2*strings.Count(o.path, "{")
		if o.purpose() == forIdentity {
			w -= 100
		}
		if o.get("deprecated").yes() {
			w += 50
		}
		return w
	}
	slices.SortStableFunc(found, func(a, b *operation) int { return cmp.Compare(weight(a), weight(b)) })
	if err := d.presented(t, found[0].secured); err != nil {
		return err
	}
	for _, o := range found {
		if len(t.Protected) == maxDrafted {
			d.remark("protected: %d more GETs of the document were left out; add those that matter", len(found)-maxDrafted)
			break
		}
		r := d.request(o, false)
		t.Protected = append(t.Protected, r)
		if t.Identity == nil && o.purpose() == forIdentity {
			if document, err := decodeJSON(o.answer().Body); err == nil {
				d.identity(t, r, document)
			}
		}
	}
	return nil
}

// identity takes the member that most likely says whose session it is.
func (d *documented) identity(t *Target, r Request, document any) {
	rank := []string{"sub", "subject", "id", "userid", "uuid", "username", "email", "login"}
	best := len(rank)
	pointers("", "", document, 0, func(pointer, name, _ string, _ bool) {
		if i := slices.Index(rank, plain(name)); i >= 0 && i < best && strings.Count(pointer, "/") <= 2 && !strings.Contains(pointer, "/0") {
			best = i
			t.Identity = &Identity{Request: Request{Line: r.Line, Headers: r.Headers}, Find: Finder{JSON: pointer}}
		}
	})
}

// strong reports whether the operation asks for more than a key of the
// application.
func (d *documented) strong(o *operation) bool {
	return slices.ContainsFunc(o.secured, func(name string) bool {
		scheme := d.schemes().get(name)
		return scheme.get("type").text() != "apiKey" || scheme.get("in").text() == "cookie" || !isApplicationKey(scheme.get("name").text())
	})
}

// isApplicationKey recognizes headers and parameters as X-API-Key.
func isApplicationKey(name string) bool {
	name = plain(name)
	return strings.HasSuffix(name, "apikey") || strings.HasSuffix(name, "clientkey") || strings.HasSuffix(name, "appkey")
}

// authorizationWord is what a description says that stands before the token.
var authorizationWord = regexp.MustCompile("(?m)(?:`|^ *)(Token|JWT) [^ `]+`?\\s*$")

// presented says how the session is carried, by the schemes of a requirement.
func (d *documented) presented(t *Target, names []string) error {
	for _, name := range names {
		scheme := d.schemes().get(name)
		field := scheme.get("name").text()
		switch kind, in := scheme.get("type").text(), scheme.get("in").text(); {
		case kind == "basic", kind == "http" && strings.EqualFold(scheme.get("scheme").text(), "basic"):
			return errors.New("the document asks for HTTP Basic: each request carries name and password, and there is no session that a logout could end")
		case kind == "apiKey" && in == "header" && strings.EqualFold(field, "Authorization"):
			word := "Bearer"
			if m := authorizationWord.FindStringSubmatch(scheme.get("description").text()); m != nil {
				word = m[1]
				t.Present = &Present{Headers: map[string]Template{"Authorization": Template(word + " {{access_token}}")}}
			}
			d.remark("present: the document asks for a key in Authorization; \"%s TOKEN\" is assumed", word)
		case kind == "apiKey" && in != "cookie" && isApplicationKey(field) && len(names) > 1:
			d.remark("%s: it is taken for a key of the application, not of a user", plainLine(field))
		case kind == "apiKey" && in == "header" && fieldPattern.MatchString(field):
			t.Present = &Present{Headers: map[string]Template{field: "{{access_token}}"}}
		case kind == "apiKey" && in == "query":
			t.Present = &Present{Query: map[string]Template{field: "{{access_token}}"}}
		}
	}
	return nil
}

// streams reports whether the answer does not end.
func (o *operation) streams() bool {
	return o.get("responses", "200", "content", "text/event-stream").there() || slices.ContainsFunc(o.get("produces").list(), func(n node) bool { return n.text() == "text/event-stream" })
}

// sockets writes the server-sent events.
func (d *documented) sockets(t *Target) {
	for _, o := range d.all {
		if o.method == "GET" && o.secured != nil && o.streams() && d.complete(o) && len(t.Sockets) < maxDrafted {
			path, _ := d.path(o)
			t.Sockets = append(t.Sockets, Socket{SSE: path})
		}
	}
}
