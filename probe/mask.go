package probe

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// secrets knows every secret value that a run has seen, so that no printed form
// of anything holds one. Values too short to be replaced in running text without
// spoiling it are masked by their place: the fields of a header, the members of
// JSON.
type secrets struct {
	mu       sync.Mutex
	names    map[string]string // value → name of the shell's variable
	replacer *strings.Replacer // nil after a new value
}

func newSecrets() *secrets { return &secrets{names: map[string]string{}} }

// learn makes a value a secret. The name is what a reader would call it.
func (s *secrets) learn(name, value string) {
	if value == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.names[value]; !known {
		s.names[value] = shellName(name)
		s.replacer = nil
	}
}

// shortest is the length from which a secret is looked for in running text.
const shortest = 6

// tokenLike matches what nobody would write by hand: JWTs, and long runs of
// letters and digits. Servers name secrets that the run did not ask for.
var tokenLike = regexp.MustCompile(`eyJ[\w-]{6,}(?:\.[\w-]*){0,4}|[\w+/~-]{20,}={0,2}`)

func (s *secrets) mask(text string) string {
	if text == "" {
		return ""
	}
	s.mu.Lock()
	if s.replacer == nil {
		s.replacer = s.build()
	}
	replacer := s.replacer
	s.mu.Unlock()
	text = replacer.Replace(text)
	return tokenLike.ReplaceAllStringFunc(text, func(run string) string {
		if !strings.HasPrefix(run, "eyJ") && (!strings.ContainsAny(run, "0123456789") || !hasLetter.MatchString(run)) {
			return run
		}
		return masked(run)
	})
}

var hasLetter = regexp.MustCompile(`[A-Za-z]`)

// build makes the replacer: longest values first, each also as it looks in a URL
// and in JSON.
func (s *secrets) build() *strings.Replacer {
	values := make([]string, 0, len(s.names))
	for value := range s.names {
		if len(value) >= shortest {
			values = append(values, value)
		}
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, value := range values {
		to := masked(value)
		inJSON, err := json.Marshal(value)
		if err != nil {
			inJSON = []byte(`""`) // a string always encodes
		}
		forms := []string{value, url.QueryEscape(value), url.PathEscape(value), strings.Trim(string(inJSON), `"`)}
		slices.Sort(forms)
		for _, form := range slices.Compact(forms) {
			pairs = append(pairs, form, to)
		}
	}
	return strings.NewReplacer(pairs...)
}

// masked is the printed form of a secret: its length, and for what is long enough
// not to be guessed also its beginning and the beginning of its hash, by which two
// of them can be told apart.
func masked(value string) string {
	n := len(value)
	if n < 20 {
		return fmt.Sprintf("…(%d characters)", n)
	}
	sum := sha256.Sum256([]byte(value))
	begin := ""
	switch {
	case strings.HasPrefix(value, "eyJ"):
		begin = value[:8]
	case n >= 32:
		begin = value[:4]
	}
	return fmt.Sprintf("%s…(%d characters, sha256 %s)", begin, n, hex.EncodeToString(sum[:4]))
}

// shellName makes a name into that of a variable of the shell: "access token"
// becomes "ACCESS_TOKEN".
func shellName(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name), "_")
}

// fields prints a header. Cookies and credentials are masked by their place.
func (s *secrets) fields(header http.Header) []Field {
	var fields []Field
	for name, values := range header {
		for _, value := range values {
			fields = append(fields, Field{name, s.field(name, value)})
		}
	}
	slices.SortFunc(fields, func(a, b Field) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value)) })
	return fields
}

func (s *secrets) field(name, value string) string {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Proxy-Authorization":
		scheme, credentials, two := strings.Cut(value, " ")
		if !two {
			return masked(value)
		}
		return scheme + " " + masked(credentials)
	case "Cookie":
		var parts []string
		for part := range strings.SplitSeq(value, ";") {
			parts = append(parts, maskPair(strings.TrimSpace(part)))
		}
		return strings.Join(parts, "; ")
	case "Set-Cookie":
		pair, attributes, more := strings.Cut(value, ";")
		if more {
			attributes = ";" + attributes
		}
		return maskPair(pair) + attributes
	}
	return s.mask(value)
}

func maskPair(pair string) string {
	name, value, two := strings.Cut(pair, "=")
	if !two || value == "" {
		return pair
	}
	return name + "=" + masked(value)
}

// secretMember matches names of JSON members and form fields whose values are
// secrets, however short.
var secretMember = regexp.MustCompile(`(?i)("[^"]*(?:token|secret|passw|jwt|session|sid|csrf|xsrf|api_?key|otp|credential)[^"]*"\s*:\s*)"((?:[^"\\]|\\.)*)"`)

// bodyShown is how much of a body is printed, in characters, and bodyRead how much
// of it is looked at for that, in bytes.
const (
	bodyShown = 600
	bodyRead  = 16 * bodyShown
)

// body prints a body that came from a server.
func (s *secrets) body(text []byte) string {
	if len(text) > bodyRead {
		text = text[:bodyRead]
	}
	shown := strings.ToValidUTF8(string(text), "·")
	shown = secretMember.ReplaceAllStringFunc(shown, func(member string) string {
		parts := secretMember.FindStringSubmatch(member)
		if parts[2] == "" {
			return member
		}
		return parts[1] + `"` + masked(parts[2]) + `"`
	})
	shown = s.mask(shown)
	if runes := []rune(shown); len(runes) > bodyShown {
		shown = string(runes[:bodyShown]) + "…"
	}
	return shown
}
