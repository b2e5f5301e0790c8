package target

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An exchange is a recorded request, and its answer if there is one. It holds
// secrets and is never written down: a scribe makes a Request of it.
type exchange struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
	files  bool // a part of the body was a file, and is not here

	status int // 0: the answer is not known
	answer Answer
	kind   string // media type of the answer
}

// kindOf is the media type of a header, without parameters.
func kindOf(contentType string) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind, _, _ = strings.Cut(contentType, ";")
	}
	return strings.ToLower(strings.TrimSpace(kind))
}

func isJSON(kind string) bool {
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

// origin is scheme, host and port in one spelling.
func origin(u *url.URL) string { return u.Scheme + "://" + address(u.Scheme, u) }

// A field is a value in a request, with its name and where it stands.
type field struct {
	name  string
	value string
	where string // "header", "cookie", "query", "path", "body", "basic"
}

// maxFields bounds how many values of one request are looked at.
const maxFields = 2000

// fields returns every value that the request carries.
func (x *exchange) fields() []field {
	var all []field
	add := func(where, name, value string) {
		if value != "" && len(all) < maxFields {
			all = append(all, field{name, value, where})
		}
	}
	for name, values := range x.header {
		for _, value := range values {
			switch scheme, rest, _ := strings.Cut(value, " "); {
			case name == "Cookie":
				for _, c := range cookies(value) {
					add("cookie", c.Name, c.Value)
				}
			case name == "Authorization" && strings.EqualFold(scheme, "basic"):
				add("basic", name, rest)
			case name == "Authorization" && rest != "":
				add("header", name, strings.TrimSpace(rest))
			default:
				add("header", name, value)
			}
		}
	}
	for name, values := range x.url.Query() {
		for _, value := range values {
			add("query", name, value)
		}
	}
	for segment := range strings.SplitSeq(x.url.Path, "/") {
		add("path", "", segment)
	}
	switch content := x.content().(type) {
	case url.Values:
		for name, values := range content {
			for _, value := range values {
				add("body", name, value)
			}
		}
	default:
		eachLeaf("", content, 0, func(name, value string) { add("body", name, value) })
	}
	return all
}

// cookies reads the header Cookie, of which a recording may have any value.
func cookies(header string) []*http.Cookie {
	var all []*http.Cookie
	for pair := range strings.SplitSeq(header, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if ok && name != "" {
			all = append(all, &http.Cookie{Name: name, Value: strings.Trim(value, `"`)})
		}
	}
	return all
}

// content is the body as far as it is understood: a JSON value, url.Values of a
// form, or nil.
func (x *exchange) content() any {
	if len(x.body) == 0 {
		return nil
	}
	kind := kindOf(x.header.Get("Content-Type"))
	trimmed := bytes.TrimSpace(x.body)
	switch {
	case kind == "application/x-www-form-urlencoded" && !bytes.HasPrefix(trimmed, []byte("{")):
		form, err := url.ParseQuery(string(x.body))
		if err == nil && len(form) > 0 {
			return form
		}
	case kind == "multipart/form-data":
		if form, err := x.parts(); err == nil {
			return form
		}
	case isJSON(kind) || bytes.HasPrefix(trimmed, []byte("{")):
		// Also where the type does not say so: many clients forget it.
		if value, err := decodeJSON(x.body); err == nil && depth(value) <= maxNested {
			return value
		}
	}
	return nil
}

// parts reads the fields of a multipart form.
func (x *exchange) parts() (url.Values, error) {
	_, params, err := mime.ParseMediaType(x.header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	form := url.Values{}
	r := multipart.NewReader(bytes.NewReader(x.body), params["boundary"])
	for len(form) < maxMembers {
		part, err := r.NextPart()
		if err == io.EOF {
			return form, nil
		}
		if err != nil {
			return nil, err
		}
		if part.FileName() != "" {
			x.files = true
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, 64<<10))
		if err != nil {
			return nil, err
		}
		form.Add(part.FormName(), string(value))
	}
	return form, nil
}

// eachLeaf calls f for every string and number of a JSON value, with the name of
// the member that it is or lies in.
func eachLeaf(name string, value any, level int, f func(name, value string)) {
	if level > maxNested {
		return
	}
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			eachLeaf(name, item, level+1, f)
		}
	case map[string]any:
		for member, item := range v {
			eachLeaf(member, item, level+1, f)
		}
	case string, json.Number:
		f(name, scalar(v))
	}
}

// loginCredentials returns the name and password that the request carries: by the
// names of its fields or, without a password there, by HTTP Basic.
func (x *exchange) loginCredentials() (user, password string) {
	user, password, ok := x.credentials()
	if ok {
		return user, password
	}
	for _, f := range x.fields() {
		if plain, err := base64.StdEncoding.DecodeString(f.value); f.where == "basic" && err == nil {
			user, password, _ = strings.Cut(string(plain), ":")
		}
	}
	return user, password
}

// credentials returns the name and password among the fields of the request; ok
// says that there is a password.
func (x *exchange) credentials() (user, password string, ok bool) {
	rank := -1
	for _, f := range x.fields() {
		if f.where != "body" && f.where != "query" {
			continue
		}
		name := plain(f.name)
		if passwordField.MatchString(name) && !newPassword.MatchString(name) {
			password, ok = f.value, true
		}
		if r := userRank(name); r > rank {
			rank, user = r, f.value
		}
	}
	return user, password, ok
}

// userRank says how likely a field, by its plain name, is the one that a login
// calls its user by; -1: it is not.
func userRank(name string) int {
	if !userField.MatchString(name) {
		return -1
	}
	for rank, pattern := range []*regexp.Regexp{weakUser, strongUser} {
		if pattern.MatchString(name) {
			return 2 * rank
		}
	}
	return 1
}

var (
	weakUser   = regexp.MustCompile(`^(id|name|account|handle|nickname|uid|principal)$`)
	strongUser = regexp.MustCompile(`user|email|login|identifier`)
)

// number is a JSON number as YAML writes it back, or ok is false where that would
// change it.
func number(n json.Number) (value any, ok bool) {
	if i, err := n.Int64(); err == nil {
		return i, strconv.FormatInt(i, 10) == n.String()
	}
	f, err := n.Float64()
	return f, err == nil && strconv.FormatFloat(f, 'f', -1, 64) == n.String()
}

// Headers that a browser or a tracer adds, and those that the probe sets itself.
var (
	ownHeaders = []string{
		"Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Cookie",
		"Dnt", "Expect", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "Keep-Alive", "Origin", "Pragma", "Priority", "Referer",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "X-Client-Data", "X-Forwarded-For",
		"Traceparent", "Tracestate", "Baggage", "Sentry-Trace", "Newrelic", "X-Request-Id", "X-Correlation-Id", "Range", "Save-Data", "Rtt", "Downlink", "Ect",
	}
	ownPrefixes = []string{"Sec-", "Proxy-", ":", "X-B3-", "X-Datadog-", "X-Newrelic-", "X-Amzn-"}
)

func isOwnHeader(name string) bool {
	return slices.Contains(ownHeaders, name) || slices.ContainsFunc(ownPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// printable reports whether text can stand in a description.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' })
}

// label names the request in a remark: without its query, and without what in its
// path may be a secret.
func (x *exchange) label() string {
	segments := strings.Split(x.url.Path, "/")
	for i, segment := range segments {
		if !harmless("", segment) || !printable(segment) {
			segments[i] = "…"
		}
	}
	return x.method + " " + strings.Join(segments, "/")
}

// recordedSecrets are the values of a recording that may stand nowhere in what is
// made of it: what authenticates, passwords, and tokens.
func recordedSecrets(all []*exchange) []string {
	seen := map[string]bool{}
	add := func(value string) {
		if value != "" && !strings.Contains(value, markOpen) {
			seen[value] = true
		}
	}
	for _, x := range all {
		for _, f := range x.fields() {
			name := plain(f.name)
			switch named := secretField.MatchString(name) && !openField.MatchString(name); {
			case f.where == "basic", f.name == "Authorization", passwordField.MatchString(name):
				add(f.value)
			case f.where == "cookie" && (named || secretLike(f.value)), named && secretLike(f.value):
				add(f.value)
			}
		}
		for _, found := range WellKnown(x.answer) {
			add(found.Reveal())
		}
		for _, c := range (&http.Response{Header: x.answer.Header}).Cookies() {
			if c.HttpOnly || secretLike(c.Value) {
				add(c.Value)
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
