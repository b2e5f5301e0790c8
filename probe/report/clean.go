package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/rescind/rescind/probe"
)

// clean returns a copy of a report in which no text holds a token or a control
// character.
func clean(r *probe.Report) *probe.Report {
	c := cleaner{}
	for _, instance := range r.Instances {
		if u, err := url.Parse(instance); err == nil && u.Hostname() != "" {
			c.hosts = append(c.hosts, u.Hostname())
		}
	}
	out := c.value(reflect.ValueOf(*r)).Interface().(probe.Report)
	return &out
}

// A cleaner knows the names of hosts, which may look like tokens.
type cleaner struct{ hosts []string }

var moment = reflect.TypeFor[time.Time]()

// value copies what a report is made of: structs, slices, strings and plain values.
func (c cleaner) value(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch {
	case v.Kind() == reflect.String:
		out.SetString(c.text(v.String()))
	case v.Kind() == reflect.Slice && !v.IsNil():
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(c.value(v.Index(i)))
		}
	case v.Kind() == reflect.Struct && v.Type() != moment:
		for i := range v.NumField() {
			out.Field(i).Set(c.value(v.Field(i)))
		}
	default:
		out.Set(v)
	}
	return out
}

// tokenLike matches what nobody writes by hand: JWTs, and long runs of the letters
// and digits in which tokens are written.
var tokenLike = regexp.MustCompile(`eyJ[\w-]{6,}(?:\.[\w-]*){0,4}|[\w+/=~-]{20,}`)

func (c cleaner) text(text string) string {
	text = visible(strings.ToValidUTF8(text, "\uFFFD"))
	return tokenLike.ReplaceAllStringFunc(text, func(run string) string {
		if !strings.HasPrefix(run, "eyJ") && (!random(run) || c.isHost(run)) {
			return run
		}
		sum := sha256.Sum256([]byte(run))
		return fmt.Sprintf("…(%d characters, sha256 %s)", len(run), hex.EncodeToString(sum[:4]))
	})
}

func (c cleaner) isHost(run string) bool {
	for _, host := range c.hosts {
		if strings.Contains(host, run) {
			return true
		}
	}
	return false
}

// A run is random if a piece of it between slashes and signs is long and has both
// letters and digits. A path is none: its pieces are words or numbers.
func random(run string) bool {
	for piece := range strings.FieldsFuncSeq(run, func(r rune) bool { return r == '/' || r == '=' || r == '~' }) {
		letters, digits := 0, 0
		for _, r := range piece {
			switch {
			case r >= '0' && r <= '9':
				digits++
			case unicode.IsLetter(r):
				letters++
			}
		}
		if letters > 0 && digits > 0 && letters+digits >= 14 {
			return true
		}
	}
	return false
}

// visible writes control characters, and those that reorder or hide text, as
// escapes; line feeds and tabs stay.
func visible(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029')
}
