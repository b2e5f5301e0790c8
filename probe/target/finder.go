package target

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Finder says where an answer holds a value. Exactly one member is set, beside
// Unescape.
type Finder struct {
	JSON    string `yaml:"json,omitempty"`    // JSON pointer (RFC 6901) into the body
	Header  string `yaml:"header,omitempty"`  // name of a header; "Bearer " before the value is cut off
	Cookie  string `yaml:"cookie,omitempty"`  // name of a cookie that the answer sets
	Query   string `yaml:"query,omitempty"`   // parameter in query or fragment of the Location
	Pattern string `yaml:"pattern,omitempty"` // regular expression on the body; its first group, or all of it

	Unescape bool `yaml:"unescape,omitempty"` // %XX in the value stand for bytes, as in Laravel's XSRF-TOKEN
}

// Answer is what finders look at.
type Answer struct {
	Header http.Header
	Body   []byte
}

func (f Finder) String() string {
	switch {
	case f.JSON != "":
		return "json " + strconv.Quote(f.JSON)
	case f.Header != "":
		return "header " + f.Header
	case f.Cookie != "":
		if f.Unescape {
			return "cookie " + f.Cookie + " (unescaped)"
		}
		return "cookie " + f.Cookie
	case f.Query != "":
		return "query " + f.Query
	}
	return "pattern " + strconv.Quote(f.Pattern)
}

// Find returns the value, and whether the answer has one that is not empty.
func (f Finder) Find(a Answer) (Secret, bool) {
	var value string
	switch {
	case f.JSON != "":
		document, err := decodeJSON(a.Body)
		if err != nil {
			return "", false
		}
		value = scalar(pointer(document, f.JSON))
	case f.Header != "":
		value = a.Header.Get(f.Header)
		if len(value) > 7 && strings.EqualFold(value[:7], "bearer ") {
			value = strings.TrimSpace(value[7:])
		}
	case f.Cookie != "":
		for _, c := range (&http.Response{Header: a.Header}).Cookies() {
			if c.Name == f.Cookie {
				value = c.Value // the last one, as a browser keeps it
			}
		}
	case f.Query != "":
		u, err := url.Parse(a.Header.Get("Location"))
		if err != nil {
			return "", false
		}
		value = u.Query().Get(f.Query)
		if fragment, err := url.ParseQuery(u.EscapedFragment()); value == "" && err == nil {
			value = fragment.Get(f.Query)
		}
	case f.Pattern != "":
		re, err := regexp.Compile(f.Pattern)
		if err != nil {
			return "", false // Validate has refused it
		}
		if m := re.FindSubmatch(a.Body); len(m) > 1 {
			value = string(m[1])
		} else if m != nil {
			value = string(m[0])
		}
	}
	if f.Unescape {
		if plain, err := url.PathUnescape(value); err == nil {
			value = plain
		}
	}
	return Secret(value), value != ""
}

// Find returns what the answer of the request holds, by the names of variables:
// what the description says or, where it says nothing, tokens under the names
// that applications commonly give them ([WellKnown]). It is an error if something
// that the description names is not there.
func (r *Request) Find(a Answer) (Vars, error) {
	if r.Finds == nil {
		return WellKnown(a), nil
	}
	found := Vars{}
	for name, f := range r.Finds {
		value, ok := f.Find(a)
		if !ok {
			return nil, fmt.Errorf("%s: the answer has no %s (for %s)", r, f, name)
		}
		found[name] = value
	}
	return found, nil
}

// wellKnown are the members of JSON answers that commonly hold a token, by
// variable, in small letters without '_' and '-', the clearest first.
var wellKnown = map[string][]string{
	"access_token":  {"accesstoken", "jwt", "jwttoken", "bearertoken", "authtoken", "sessiontoken", "apitoken", "token", "access"},
	"refresh_token": {"refreshtoken", "refresh"},
	"id_token":      {"idtoken"},
	"csrf":          {"csrftoken", "xsrftoken", "csrf", "xsrf"},
}

// Tokens are looked for so deep in an answer, and among so many values.
const (
	maxDepth  = 6
	maxPlaces = 10_000
	maxMember = 200 // bytes of a member's name
)

// WellKnown returns the tokens that a JSON answer holds under the names commonly
// given to them, at most one of each kind: access_token, refresh_token, id_token
// and csrf. What lies less deep is taken first, then the clearer name. Without an
// access token in the body, one in the header Authorization, X-Auth-Token or
// X-Access-Token counts.
func WellKnown(a Answer) Vars {
	found := Vars{}
	for variable, where := range Places(a) {
		if value, ok := where.Find(a); ok {
			found[variable] = value
		}
	}
	return found
}

// Places returns where WellKnown finds what it finds.
func Places(a Answer) map[string]Finder {
	places := map[string]Finder{}
	if document, err := decodeJSON(a.Body); err == nil {
		level := []place{{value: document}}
		for depth := 0; depth < maxDepth && len(level) > 0 && len(level) < maxPlaces; depth++ {
			best := map[string]place{}
			var below []place
			for _, p := range level {
				below = append(below, p.look(best)...)
			}
			for variable, p := range best {
				if _, taken := places[variable]; !taken {
					places[variable] = Finder{JSON: p.pointer}
				}
			}
			level = below
		}
	}
	for _, name := range []string{"Authorization", "X-Auth-Token", "X-Access-Token"} {
		f := Finder{Header: name}
		if _, ok := f.Find(a); ok && places["access_token"] == (Finder{}) {
			places["access_token"] = f
		}
	}
	return places
}

// A place is a value in a document.
type place struct {
	pointer string
	value   any
	name    string // of the member, for one that may name what lies in it
	rank    int    // of the name: the smaller the clearer
}

// look puts the tokens among the members of the place into best, where they are
// better than what is there, and returns the places below.
func (p place) look(best map[string]place) []place {
	members, isObject := p.value.(map[string]any)
	if !isObject {
		return nil
	}
	var below []place
	for _, member := range slices.Sorted(maps.Keys(members)) {
		if len(member) > maxMember {
			continue // its pointer would stand before each of its members
		}
		name := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(member))
		if isWellKnown(p.name) && (name == "token" || name == "value") {
			name = p.name // {"refresh": {"token": …}}
		}
		here := place{pointer: p.pointer + "/" + escapePointer(member), value: members[member], name: name}
		if _, isObject := here.value.(map[string]any); isObject {
			below = append(below, here)
			continue
		}
		if text, ok := here.value.(string); !ok || text == "" {
			continue
		}
		for variable, names := range wellKnown {
			if here.rank = slices.Index(names, name); here.rank < 0 {
				continue
			}
			if other, taken := best[variable]; !taken || here.rank < other.rank {
				best[variable] = here
			}
		}
	}
	return below
}

// isWellKnown reports whether a name says what kind of token lies in an object.
// "token" does not.
func isWellKnown(name string) bool {
	for _, names := range wellKnown {
		if name != "token" && slices.Contains(names, name) {
			return true
		}
	}
	return false
}

func escapePointer(member string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(member)
}

func decodeJSON(body []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var document any
	err := dec.Decode(&document)
	return document, err
}

// pointer resolves an RFC 6901 pointer; nil if there is nothing.
func pointer(document any, p string) any {
	if p == "" {
		return document
	}
	for _, step := range strings.Split(p, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch v := document.(type) {
		case map[string]any:
			document = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) || strconv.Itoa(i) != step {
				return nil
			}
			document = v[i]
		default:
			return nil
		}
	}
	return document
}

func scalar(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
