package target

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The most that one description may hold.
const (
	maxInstances = 16
	maxHosts     = 16
	maxSteps     = 16
	maxRoutes    = 256
	maxSockets   = 16
	maxDelays    = 16
	maxMembers   = 64 // headers, form fields, finders, keys of a user
	maxPattern   = 1000
	maxNested    = 16 // levels of a json body
)

// The largest limits that a description may set.
const (
	maxRequests = 1_000_000
	maxParallel = 256
	maxTimeout  = 5 * time.Minute
	maxDuration = 24 * time.Hour
	maxBody     = 64 << 20
	maxDelay    = time.Hour
)

// Validate reports everything that is wrong with the description, each by its
// key. Errors quote names and addresses, never the value of a user, a header, or
// a body.
func (t *Target) Validate() error {
	v := &validation{target: t}
	v.addresses()
	v.users()
	v.requests()
	v.sockets()
	v.limits()
	t.templates(func(key string, s Template) {
		if _, err := s.pieces(); err != nil {
			v.wrong(key, "%s", err)
		}
	})
	v.variables()
	return errors.Join(v.errs...)
}

type validation struct {
	target *Target
	errs   []error
}

func (v *validation) wrong(key, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

// atMost refuses a list or map that is too long.
func (v *validation) atMost(key string, n, most int) {
	if n > most {
		v.wrong(key, "there are %d, at most %d may be", n, most)
	}
}

func (v *validation) addresses() {
	t := v.target
	v.atMost("instances", len(t.Instances), maxInstances)
	v.atMost("hosts", len(t.Hosts), maxHosts)
	if len(t.Instances) == 0 {
		v.wrong("instances", "the base URL of the application is missing, as in http://127.0.0.1:3000")
	}
	for i, instance := range t.Instances {
		if strings.Contains(instance, "${") {
			continue // Resolve looks at it again
		}
		u, err := url.Parse(instance)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
			v.wrong(index("instances", i), "a base URL is http:// or https://, a host, and perhaps a port and a path")
		}
	}
	for i, host := range t.Hosts {
		if strings.Contains(host, "${") {
			continue
		}
		u, err := url.Parse("//" + host)
		if err != nil || u.Host != host || u.Hostname() == "" {
			v.wrong(index("hosts", i), "a host is a name or address, perhaps with a port, as in auth.example.org or 127.0.0.1:4000")
		}
	}
}

func (v *validation) users() {
	t := v.target
	if len(t.Users) == 0 {
		v.wrong("users", "the user who logs in and out is missing")
	}
	v.atMost("users", len(t.Users), 2)
	for i, u := range t.Users {
		key := index("users", i)
		v.atMost(key, len(u), maxMembers)
		if u["name"] == "" {
			v.wrong(key, "name is missing")
		}
		for name, value := range u {
			switch {
			case !namePattern.MatchString(name):
				v.wrong(key, "%q is no name for a variable", name)
			case slices.ContainsFunc(value.Names(), func(n string) bool { return !strings.HasPrefix(n, "$") }):
				v.wrong(key+"."+name, "only variables of the environment, as ${NAME}, may stand here")
			}
		}
	}
	if len(t.Users) == 2 && t.Users[0]["name"] == t.Users[1]["name"] {
		v.wrong("users", "both have the same name")
	}
}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)
	methodPattern = regexp.MustCompile(`^[A-Z][A-Z-]{0,31}$`)
	fieldPattern  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$")
)

func (v *validation) requests() {
	t := v.target
	if len(t.Login) == 0 {
		v.wrong("login", "the request that logs a user in is missing")
	}
	if len(t.Protected) == 0 {
		v.wrong("protected", "a request that needs a session is missing: without one nothing tells a living token from a dead one")
	}
	for key, steps := range map[string]Steps{"login": t.Login, "refresh": t.Refresh, "logout": t.Logout, "logout_all": t.LogoutAll} {
		v.atMost(key, len(steps), maxSteps)
	}
	v.atMost("protected", len(t.Protected), maxRoutes)
	t.Requests(func(key string, r *Request) { v.request(key, r) })
	for i := range t.Protected {
		if r := &t.Protected[i]; !slices.Contains(t.Allow.Methods, r.Method()) {
			v.wrong(index("protected", i), "%s may change something: allow.methods does not name it", r.Method())
		}
	}
	for _, method := range t.Allow.Methods {
		if !methodPattern.MatchString(method) || method == http.MethodConnect || method == http.MethodTrace {
			v.wrong("allow.methods", "%q is no method of a route", method)
		}
	}
	if t.Identity != nil {
		v.finder("identity.find", t.Identity.Find)
		if t.Identity.Request.Finds != nil {
			v.wrong("identity.find", "it is one finder, as in {json: /sub}")
		}
	}
	if t.Password != nil && len(t.Users) > 0 {
		for _, key := range []string{"password", "new_password"} {
			if t.Users[0][key] == "" {
				v.wrong("change_password", "users[0] needs %s", key)
			}
		}
	}
	if t.Present != nil {
		v.headers("present.headers", t.Present.Headers)
		v.atMost("present.query", len(t.Present.Query), maxMembers)
	}
}

func (v *validation) request(key string, r *Request) {
	if method, ref, _ := strings.Cut(string(r.Line), " "); !methodPattern.MatchString(method) || ref == "" {
		v.wrong(key, "a request is a method in capitals, a space, and a path or URL, as in GET /api/me")
		return
	}
	v.ref(key, r.Ref())
	v.headers(key+".headers", r.Headers)
	for name := range r.Headers {
		if r.Basic != "" && strings.EqualFold(name, "Authorization") {
			v.wrong(key, "basic and the header Authorization are the same thing")
		}
	}
	bodies := 0
	for _, is := range []bool{r.JSON != nil, r.Form != nil, r.Multipart != nil, r.Body != ""} {
		if is {
			bodies++
		}
	}
	if bodies > 1 {
		v.wrong(key, "only one of json, form, multipart and body may be there")
	}
	v.atMost(key+".form", len(r.Form)+len(r.Multipart), maxMembers)
	if depth(r.JSON) > maxNested {
		v.wrong(key+".json", "it nests deeper than %d levels", maxNested)
	}
	v.carry(key, r.Carry)
	v.atMost(key+".find", len(r.Finds), maxMembers)
	for name, f := range r.Finds {
		if !namePattern.MatchString(name) || name == "random" {
			v.wrong(key+".find", "%q is no name for a variable", name)
		}
		v.finder(key+".find."+name, f)
	}
}

// ref refuses an address that is not on a host of the description, or that only
// shows where it leads when its variables have values.
func (v *validation) ref(key string, ref Template) {
	text := string(ref)
	if strings.ContainsAny(text, " \t\r\n#") {
		v.wrong(key, "an address has neither spaces nor a fragment")
		return
	}
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		return
	}
	scheme, rest, _ := strings.Cut(text, "://")
	host := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host = rest[:i]
	}
	u, err := url.Parse(scheme + "://" + host)
	switch {
	case !absolute.MatchString(text):
		v.wrong(key, "an address is a path that begins with /, or a URL")
	case strings.ContainsAny(scheme+host, "{}$") || err != nil || u.Host == "" || u.User != nil:
		v.wrong(key, "a URL begins with http:// or https:// and a host in plain text")
	case !v.target.Allows(u):
		v.wrong(key, "%s is none of the hosts of this description: add it to hosts", u.Host)
	}
}

func (v *validation) headers(key string, headers map[string]Template) {
	v.atMost(key, len(headers), maxMembers)
	for name, value := range headers {
		if !fieldPattern.MatchString(name) {
			v.wrong(key, "%q is no name of a header", name)
		}
		if strings.ContainsAny(string(value), "\r\n\x00") {
			v.wrong(key, "the value of %s has a line break in it", name)
		}
	}
}

func (v *validation) carry(key string, c Carry) {
	if !slices.Contains([]Carry{CarryDefault, CarryAll, CarryCookies, CarryNothing}, c) {
		v.wrong(key+".carry", "it is all, cookies or nothing")
	}
}

func (v *validation) finder(key string, f Finder) {
	set := 0
	for _, s := range []string{f.JSON, f.Header, f.Cookie, f.Query, f.Pattern} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		v.wrong(key, "one of json, header, cookie, query and pattern says where the value is")
	}
	if f.JSON != "" && !strings.HasPrefix(f.JSON, "/") {
		v.wrong(key, "a JSON pointer begins with /, as in /data/token")
	}
	if f.Pattern != "" {
		if _, err := regexp.Compile(f.Pattern); err != nil || len(f.Pattern) > maxPattern {
			v.wrong(key, "this pattern is no regular expression (RE2), or longer than %d characters", maxPattern)
		}
	}
}

func (v *validation) sockets() {
	v.atMost("sockets", len(v.target.Sockets), maxSockets)
	for i := range v.target.Sockets {
		s := &v.target.Sockets[i]
		key := index("sockets", i)
		switch {
		case (s.WebSocket == "") == (s.SSE == ""):
			v.wrong(key, "one of websocket and sse says where it is")
		case s.SSE != "" && (s.Send != "" || s.First != "" || s.Every != 0):
			v.wrong(key, "nothing is sent on server-sent events")
		default:
			v.ref(key, s.WebSocket+s.SSE)
		}
		v.headers(key+".headers", s.Headers)
		v.carry(key, s.Carry)
		if s.Every < 0 || s.Every > Duration(time.Minute) {
			v.wrong(key+".every", "it is at most 1m")
		}
	}
}

func (v *validation) limits() {
	l := v.target.Limits
	between := func(key string, is bool, text string) {
		if !is {
			v.wrong("limits."+key, "%s", text)
		}
	}
	between("requests", l.Requests >= 1 && l.Requests <= maxRequests, "1 to 1000000")
	between("parallel", l.Parallel >= 1 && l.Parallel <= maxParallel, "1 to 256")
	between("per_second", l.PerSecond >= 0 && l.PerSecond <= maxRequests, "0 (no limit) to 1000000")
	between("failed_logins", l.FailedLogins >= 1 && l.FailedLogins <= 100, "1 to 100")
	between("timeout", l.Timeout >= Duration(10*time.Millisecond) && l.Timeout <= Duration(maxTimeout), "10ms to 5m")
	between("duration", l.Duration >= Duration(time.Second) && l.Duration <= Duration(maxDuration), "1s to 24h")
	between("body", l.Body >= 1<<10 && l.Body <= maxBody, "1KiB to 64MiB")
	v.atMost("delays", len(v.target.Delays), maxDelays)
	if v.target.Delays != nil && len(v.target.Delays) == 0 {
		v.wrong("delays", "without one nothing is replayed: leave the key out for the usual ones")
	}
	for i, d := range v.target.Delays {
		if d < 0 || d > Duration(maxDelay) || i > 0 && d <= v.target.Delays[i-1] {
			v.wrong("delays", "they are 0s to 1h and grow")
		}
	}
}

// variables refuses a variable that nothing ever sets.
func (v *validation) variables() {
	t := v.target
	known := map[string]bool{"random": true}
	for name := range wellKnown {
		known[name] = true
	}
	t.Requests(func(_ string, r *Request) {
		for name := range r.Finds {
			known[name] = true
		}
	})
	t.templates(func(key string, s Template) {
		for _, name := range s.Names() {
			own, ofUser := strings.CutPrefix(name, "user.")
			switch {
			case strings.HasPrefix(name, "$"), strings.HasPrefix(key, "users["), known[name]:
			case !ofUser:
				v.wrong(key, "no request finds a {{%s}}", name)
			case len(t.Users) > 0 && t.Users[0][own] == "":
				v.wrong(key, "users[0] has no %s", own)
			case len(t.Users) > 1 && t.Users[1][own] == "" && !strings.HasPrefix(key, "change_password"):
				v.wrong(key, "users[1] has no %s", own)
			}
		}
	})
}

// templates calls f for every template of the description.
func (t *Target) templates(f func(key string, s Template)) {
	for i, instance := range t.Instances {
		f(index("instances", i), Template(instance))
	}
	for i, host := range t.Hosts {
		f(index("hosts", i), Template(host))
	}
	for i, u := range t.Users {
		each(index("users", i), u, f)
	}
	if t.Present != nil {
		each("present.headers", t.Present.Headers, f)
		each("present.query", t.Present.Query, f)
	}
	t.Requests(func(key string, r *Request) {
		f(key, r.Ref())
		each(key+".headers", r.Headers, f)
		f(key+".basic", r.Basic)
		each(key+".form", r.Form, f)
		each(key+".multipart", r.Multipart, f)
		f(key+".body", r.Body)
		eachString(key+".json", r.JSON, 0, f)
	})
	for i := range t.Sockets {
		s, key := &t.Sockets[i], index("sockets", i)
		f(key+".websocket", s.WebSocket)
		f(key+".sse", s.SSE)
		each(key+".headers", s.Headers, f)
		f(key+".first", s.First)
		f(key+".send", s.Send)
	}
}

func each(key string, all map[string]Template, f func(string, Template)) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f(key+"."+name, all[name])
	}
}

// eachString calls f for every string in a JSON value, and every member's name.
func eachString(key string, value any, level int, f func(string, Template)) {
	if level > maxNested {
		return
	}
	switch v := value.(type) {
	case string:
		f(key, Template(v))
	case []any:
		for i := range v {
			eachString(key, v[i], level+1, f)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			f(key, Template(name))
			eachString(key+"."+name, v[name], level+1, f)
		}
	}
}

// depth returns how deep a value nests, or a little more than maxNested.
func depth(value any) int {
	most := 0
	var walk func(any, int)
	walk = func(value any, level int) {
		if most = max(most, level); level > maxNested {
			return
		}
		switch v := value.(type) {
		case []any:
			for _, item := range v {
				walk(item, level+1)
			}
		case map[string]any:
			for _, item := range v {
				walk(item, level+1)
			}
		}
	}
	walk(value, 0)
	return most
}

// Allows reports whether a request may go to u: to the scheme, host and port of an
// instance, or to a host of Hosts, there on the port that the description names
// or, where it names none, on that of http or https. Hosts are reached over plain
// HTTP only if an instance is: otherwise a redirect could bring a password out of
// TLS. WebSockets count as the HTTP that they begin with.
func (t *Target) Allows(u *url.URL) bool {
	scheme := map[string]string{"http": "http", "https": "https", "ws": "http", "wss": "https"}[u.Scheme]
	if scheme == "" || u.User != nil {
		return false
	}
	host := address(scheme, u)
	spoken := scheme == "https"
	for _, instance := range t.Instances {
		i, err := url.Parse(instance)
		if err != nil || i.Scheme != scheme {
			continue
		}
		if address(scheme, i) == host {
			return true
		}
		spoken = true
	}
	return spoken && slices.ContainsFunc(t.Hosts, func(h string) bool {
		named, err := url.Parse(scheme + "://" + h)
		return err == nil && address(scheme, named) == host
	})
}

// AllowsAddress reports whether a connection to host:port may be opened: the
// second door behind Allows, for the dialer.
func (t *Target) AllowsAddress(hostport string) bool {
	return t.Allows(&url.URL{Scheme: "http", Host: hostport}) || t.Allows(&url.URL{Scheme: "https", Host: hostport})
}

// address is host:port in one spelling.
func address(scheme string, u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port)
}
