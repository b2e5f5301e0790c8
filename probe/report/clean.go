package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rescind/rescind/probe"
)

// clean returns a copy of a report in which no text holds a token or a control
// character.
func clean(r *probe.Report) *probe.Report { return cleaner{}.report(r) }

func (c cleaner) report(r *probe.Report) *probe.Report {
	for _, instance := range r.Instances {
		if u, err := url.Parse(instance); err == nil && u.Hostname() != "" {
			c.hosts = append(c.hosts, u.Hostname())
		}
	}
	out := c.value(reflect.ValueOf(*r)).Interface().(probe.Report)
	return &out
}

// A cleaner knows the names of hosts, which may look like tokens.
type cleaner struct {
	hosts []string
	flat  bool // line feeds and tabs are made visible too
}

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

// Two patterns match what nobody writes by hand: JWTs, and long runs of the letters
// and digits in which tokens are written.
var (
	jwtLike = regexp.MustCompile(`eyJ[\w-]{6,}(?:\.[\w-]*){0,4}`)
	runLike = regexp.MustCompile(`[\w+/~-]{20,}={0,2}`)
	// A piece of a path that somebody has named or counted.
	wordLike = regexp.MustCompile(`^(?:[a-z]*[a-z_-]*|[A-Z][a-z]+|v?[0-9]+)$`)
)

func (c cleaner) text(text string) string {
	text = c.visible(strings.ToValidUTF8(text, "\uFFFD"))
	text = jwtLike.ReplaceAllStringFunc(text, masked)
	return runLike.ReplaceAllStringFunc(text, c.run)
}

func masked(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("…(%d characters, sha256 %s)", len(text), hex.EncodeToString(sum[:4]))
}

// run masks what is random of a run; the words of a path before and after it stay.
func (c cleaner) run(run string) string {
	pieces := strings.Split(run, "/")
	if !slices.ContainsFunc(pieces, c.random) {
		return run
	}
	known := func(piece string) bool { return wordLike.MatchString(piece) || c.isHost(piece) }
	first, last := 0, len(pieces)
	for known(pieces[first]) {
		first++
	}
	for known(pieces[last-1]) {
		last--
	}
	secret := masked(strings.Join(pieces[first:last], "/"))
	return strings.Join(slices.Concat(pieces[:first], []string{secret}, pieces[last:]), "/")
}

// random reports whether a piece has so many letters and digits, of both, that
// somebody who could guess it would not have to.
func (c cleaner) random(piece string) bool {
	letters, digits := 0, 0
	for _, r := range piece {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case unicode.IsLetter(r):
			letters++
		}
	}
	return letters > 0 && digits > 0 && letters+digits >= 14 && !c.isHost(piece)
}

func (c cleaner) isHost(piece string) bool {
	return piece != "" && slices.ContainsFunc(c.hosts, func(host string) bool { return slices.Contains(strings.Split(host, "."), piece) })
}

// visible writes control characters, and those that reorder or hide text, as
// escapes. Line feeds and tabs stay, unless the text is to be flat.
func (c cleaner) visible(text string) string {
	if !strings.ContainsFunc(text, c.hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !c.hidden(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func (c cleaner) hidden(r rune) bool {
	if r == '\n' || r == '\t' {
		return c.flat
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}
