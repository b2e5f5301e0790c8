package probe

import (
	"cmp"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/rescind/rescind/probe/target"
)

// A request is rendered a second time for the shell: every variable of the
// description stands in it as a mark, which survives the encodings of URLs, forms
// and JSON, and becomes a variable of the shell at the end.
const markBegin, markEnd = "__rescind_", "__"

var markPattern = regexp.MustCompile(markBegin + `([A-Z0-9_]+?)` + markEnd)

func mark(name string) string { return markBegin + shellName(name) + markEnd }

// marks are variables whose values are marks.
func marks(vars target.Vars) target.Vars {
	marked := target.Vars{}
	for name := range vars {
		marked[name] = target.Secret(mark(name))
	}
	return marked
}

// curl is the command that sends a request again.
func curl(q request, s *secrets) string {
	form := shellForm{url: q.url.String(), header: q.header, body: string(q.body)}
	if q.shell != nil {
		form = *q.shell
	}
	var b strings.Builder
	b.WriteString("curl -i")
	switch {
	case q.method == http.MethodHead:
		b.WriteString(" --head")
	case q.method != http.MethodGet || form.body != "":
		b.WriteString(" -X " + q.method)
	}
	b.WriteString(" " + shellQuote(s.mask(form.url)))
	for _, name := range slices.Sorted(maps.Keys(form.header)) {
		for _, value := range form.header[name] {
			if !markPattern.MatchString(value) {
				value = s.field(name, value)
			}
			b.WriteString(" -H " + shellQuote(name+": "+value))
		}
	}
	if form.body != "" {
		b.WriteString(" --data-raw " + shellQuote(s.mask(form.body)))
	}
	return b.String()
}

var plainWord = regexp.MustCompile(`^[\w./:=@%+,-]+$`)

// shellQuote makes one word of a shell of it, in which marks are variables.
func shellQuote(text string) string {
	if !markPattern.MatchString(text) {
		if plainWord.MatchString(text) {
			return text
		}
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	text = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(text)
	return `"` + markPattern.ReplaceAllString(text, `$${$1}`) + `"`
}

// byName orders cookies for what is printed.
func byName(a, b cookie) int { return cmp.Compare(a.name, b.name) }
