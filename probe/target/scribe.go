package target

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Shell variables of recorded commands stand between these two, which no text of
// a command may hold.
const (
	markOpen  = "\ue000"
	markClose = "\ue001"
)

// A scribe writes recorded requests down as they are to be sent again: tokens as
// the variables under which they are found, the user's name and password as those
// of the user, and whatever else may be secret as a variable of the environment.
// No recorded value that may be secret leaves it.
type scribe struct {
	base string // the instance
	// found returns the variable that holds a value when exchange at is sent.
	found func(value string, at int) (variable string, ok bool)

	user, password string            // as recorded
	secrets        []string          // all of the recording
	name           Template          // of the user: what stands in users[0].name
	secret         Template          // the same of the password
	env            map[string]string // what a variable of the environment was when it was recorded
	remarks        []string
	hosts          []string
}

func newScribe(base string) *scribe {
	return &scribe{
		base: base, env: map[string]string{}, name: "${PROBE_USER}", secret: "${PROBE_PASSWORD}",
		found: func(string, int) (string, bool) { return "", false },
	}
}

func (s *scribe) remark(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, secret := range append([]string{s.password}, s.secrets...) {
		if len(secret) >= 8 { // as in a path
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	if !slices.Contains(s.remarks, text) {
		s.remarks = append(s.remarks, text)
	}
}

// credentials remembers what the login sent.
func (s *scribe) credentials(user, password string) {
	s.user, s.password = user, password
	if user != "" && around(user) == "" {
		s.name = s.marked(user)
	}
	if password != "" && around(password) == "" {
		s.secret = s.marked(password)
	}
}

// marked is the template for text with shell variables in it. What stands around
// them is kept only if it may be.
func (s *scribe) marked(text string) Template {
	var out strings.Builder
	for text != "" {
		before, rest, ok := strings.Cut(text, markOpen)
		out.WriteString(string(Literal(before)))
		if !ok {
			break
		}
		var name string
		name, text, _ = strings.Cut(rest, markClose)
		out.WriteString("${" + name + "}")
	}
	return Template(out.String())
}

// around is text without the shell variables in it.
func around(text string) string {
	var out strings.Builder
	for text != "" {
		before, rest, ok := strings.Cut(text, markOpen)
		out.WriteString(before)
		if !ok {
			break
		}
		_, text, _ = strings.Cut(rest, markClose)
	}
	return out.String()
}

// environment is the variable for a value that may not be written down; the same
// value has the same one.
func (s *scribe) environment(name, value string) Template {
	first := envName(name)
	for n, try := 1, first; ; n++ {
		if n > 1 {
			try = fmt.Sprintf("%s_%d", first, n)
		}
		if old, taken := s.env[try]; !taken || old == value {
			s.env[try] = value
			return Template("${" + try + "}")
		}
	}
}

// value writes one value of exchange at.
func (s *scribe) value(name, text string, at int) Template {
	kind := plain(name)
	plainText := !strings.Contains(text, markOpen) && harmless(name, text) && printable(text) && !s.holdsSecret(text)
	var variable string
	var known bool
	if !plainText {
		variable, known = s.found(text, at)
	}
	switch {
	case text == "":
		return ""
	case passwordField.MatchString(kind) && newPassword.MatchString(kind) && text != s.password:
		return "{{user.new_password}}"
	case text == s.password, passwordField.MatchString(kind) && s.password == "":
		return "{{user.password}}"
	case text == s.user && (len(text) > 2 || userRank(kind) >= 0):
		return "{{user.name}}"
	case known:
		return Template("{{" + variable + "}}")
	case strings.Contains(text, markOpen) && harmless("", around(text)) && !s.holdsSecret(around(text)):
		return s.marked(text)
	case plainText:
		return Literal(text)
	}
	if slices.Contains(clientMade, kind) {
		return "{{random}}"
	}
	// The value may stand in a larger one, as a token behind "Bearer ".
	if scheme, rest, ok := strings.Cut(text, " "); ok && len(scheme) <= 16 && harmless("", scheme) && !s.holdsSecret(scheme) {
		if variable, known := s.found(rest, at); known {
			return Literal(scheme+" ") + Template("{{"+variable+"}}")
		}
	}
	return s.environment(name, text)
}

// request writes exchange at. What carries the session is not in it: cookies, and
// the header Authorization unless it is Basic.
func (s *scribe) request(x *exchange, at int) Request {
	r := Request{Line: Template(x.method+" ") + s.address(x, at)}
	for _, f := range x.fields() {
		if f.where != "basic" {
			continue
		}
		if text, err := base64.StdEncoding.DecodeString(f.value); err == nil {
			user, password, _ := strings.Cut(string(text), ":")
			r.Basic = s.value("user", user, at) + ":" + s.value("password of "+user, password, at)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.header)) {
		if isOwnHeader(name) || name == "Accept" && !strings.HasPrefix(x.header.Get(name), "application/") {
			continue
		}
		if r.Headers == nil {
			r.Headers = map[string]Template{}
		}
		r.Headers[name] = s.value(name, x.header.Get(name), at)
	}
	s.body(&r, x, at)
	return r
}

// body writes what the request sends.
func (s *scribe) body(r *Request, x *exchange, at int) {
	kind := kindOf(x.header.Get("Content-Type"))
	switch content := x.content().(type) {
	case nil:
		if len(x.body) == 0 {
			return
		}
		r.Body = s.environment("body", string(x.body))
		if kind != "" {
			s.header(r, "Content-Type", x.header.Get("Content-Type"))
		}
		s.remark("%s: its body is neither JSON nor a form: write it out, with {{user.name}} and {{user.password}} in their places", x.label())
	case url.Values:
		fields := map[string]Template{}
		for name, values := range content {
			fields[name] = s.value(name, values[len(values)-1], at)
			if len(values) > 1 {
				s.remark("%s: only the last of several %q is kept", x.label(), name)
			}
		}
		if r.Form = fields; kind == "multipart/form-data" {
			r.Form, r.Multipart = nil, fields
		}
	default:
		r.JSON = s.json("", content, at)
		if isJSON(kind) && kind != "application/json" {
			s.header(r, "Content-Type", kind)
		}
	}
	if x.files {
		s.remark("%s: a file that it sent is left out", x.label())
	}
}

func (s *scribe) header(r *Request, name, value string) {
	if r.Headers == nil {
		r.Headers = map[string]Template{}
	}
	r.Headers[name] = Literal(value)
}

// json writes a JSON value. Names of members are kept; a name that looks like a
// secret (a map by token) takes the whole body into the environment.
func (s *scribe) json(name string, value any, at int) any {
	switch v := value.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.json(name, v[i], at)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for member, item := range v {
			key := string(Literal(member))
			if !harmless("", member) || s.holdsSecret(member) {
				key = string(s.environment("name", member))
			}
			out[key] = s.json(member, item, at)
		}
		return out
	case json.Number:
		if n, ok := number(v); ok && !s.holdsSecret(v.String()) && !secretField.MatchString(plain(name)) && len(v) < 9 {
			return n
		}
		return string(s.value(name, v.String(), at))
	case string:
		// A GraphQL document holds no value if it holds no string.
		if name == "query" && strings.Contains(v, "{") && !strings.Contains(v, `"`) && !jwtLike.MatchString(v) && !s.holdsSecret(v) {
			return string(Literal(v))
		}
		return string(s.value(name, v, at))
	}
	return value
}

// address writes path and query, and the host where it is not the instance.
func (s *scribe) address(x *exchange, at int) Template {
	var out strings.Builder
	path := x.url.EscapedPath()
	base, err := url.Parse(s.base)
	switch {
	case err == nil && origin(base) == origin(x.url) && strings.HasPrefix(path+"/", strings.TrimSuffix(base.EscapedPath(), "/")+"/"):
		path = path[min(len(path), len(strings.TrimSuffix(base.EscapedPath(), "/"))):]
	default:
		out.WriteString(x.url.Scheme + "://" + x.url.Host)
		if host := x.url.Host; !slices.Contains(s.hosts, host) && (err != nil || origin(base) != origin(x.url)) {
			s.hosts = append(s.hosts, host)
		}
	}
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			out.WriteByte('/')
		}
		text, err := url.PathUnescape(segment)
		if err != nil {
			text = segment
		}
		t := s.value("", text, at)
		if digits.MatchString(text) {
			if variable, known := s.found(text, at); known {
				t = Template("{{" + variable + "}}")
			}
		}
		if t == Literal(text) {
			t = Literal(segment)
		}
		out.WriteString(string(t))
	}
	if path == "" {
		out.WriteByte('/')
	}
	separator := byte('?')
	for pair := range strings.SplitSeq(x.url.RawQuery, "&") {
		if pair == "" {
			continue
		}
		name, value, has := strings.Cut(pair, "=")
		plainName, err := url.QueryUnescape(name)
		if err != nil {
			continue // no server reads it either
		}
		plainValue, err := url.QueryUnescape(value)
		if err != nil {
			continue
		}
		out.WriteByte(separator)
		separator = '&'
		if !harmless("", plainName) || s.holdsSecret(plainName) {
			out.WriteString(string(s.environment("query", plainName)))
		} else {
			out.WriteString(string(Literal(url.QueryEscape(plainName))))
		}
		if has {
			t := s.value(plainName, plainValue, at)
			if t == Literal(plainValue) {
				t = Literal(url.QueryEscape(plainValue))
			}
			out.WriteString("=" + string(t))
		}
	}
	return Template(out.String())
}

// Fields that a client makes up for each request, in the form that plain gives.
var clientMade = []string{"state", "nonce", "requestid", "correlationid", "idempotencykey", "xidempotencykey"}

// A number in a path most likely is somebody's or something's id.
var digits = regexp.MustCompile(`^[0-9]+$`)
