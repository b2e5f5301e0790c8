package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/rescind/rescind/probe"
)

// filled is a report with one of the texts in every string, in turn, and two of
// every slice.
func filled(texts ...string) *probe.Report {
	r, i := &probe.Report{}, 0
	fill(reflect.ValueOf(r).Elem(), func() string {
		i++
		return texts[i%len(texts)]
	})
	for i := range r.Results {
		r.Results[i].Lives = []int{0, 1}
		r.Results[i].Verdict = []probe.Verdict{probe.Finding, probe.Inconclusive}[i]
	}
	other := r.Results[0]
	other.Verdict = probe.NotApplicable
	note := r.Results[0]
	note.Verdict = probe.Note
	r.Results = append(r.Results, other, note)
	return r
}

func fill(v reflect.Value, text func() string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text())
	case reflect.Int, reflect.Int64:
		v.SetInt(200)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Struct:
		if v.Type() == moment {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	}
}

// Tokens as servers make them. None of them stands for anything.
var tokens = map[string]string{
	"JWT":             "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE3OTAwMDAwMDB9.c2lnbmF0dXJlLW9mLW5vYm9keS1hdC1hbGwtMTIzNDU2Nzg",
	"JWT, unsecured":  "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
	"JWE":             "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji.XFBoMYUZodetZdvTiFvSkQ",
	"refresh token":   "rsr_AbkZ31xq0TtHZ8mFp4oW2LQd7vYcK9eRjN5sUaGhXiBw",
	"session cookie":  "s:4Xk29dQmPz81LrTnVc7JyWb63HsEaFgU.Qd7vYcK9eRjN5sUaGhXiBw31xq0TtHZ8mFp4oW2L",
	"hexadecimal":     "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	"UUID":            "6fa459ea-ee8a-3ca4-894e-db77e160355e",
	"base64":          "dGhpcyBpcyBubyB0b2tlbiBhdCBhbGwsIGl0IG9ubHkgbG9va3M/bGlrZSt0aGF0MTIzNA==",
	"percent-encoded": "dGhpcyBpcyBubyB0b2tlbiBhdCBhbGwsIGl0IG9ubHkgbG9va3M%2FbGlrZSt0aGF0MTIzNA%3D%3D",
}

// No token reaches a file or a screen, wherever in a report it stands, and however
// the engine may have missed it.
func TestNoTokenInAnyReport(t *testing.T) {
	forms := strings.Join([]string{
		"%[1]s", `{"access_token":"%[1]s"}`, "Bearer %[1]s", "https://notes.example/cb?code=%[1]s&x=1", "sid=%[1]s; Path=/", "/reset/%[1]s/now", "curl -H 'Authorization: Bearer %[1]s' http://x/",
	}, " ")
	var all []string
	pieces := map[string]string{} // of 12 characters, and of which token
	for _, kind := range slices.Sorted(maps.Keys(tokens)) {
		token := tokens[kind]
		all = append(all, fmt.Sprintf(forms, token))
		for i := range len(token) - pieceOf + 1 {
			pieces[token[i:i+pieceOf]] = kind
		}
	}
	for name, write := range writers() {
		var out bytes.Buffer
		if err := write(&out, filled(all...)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, piece := range leaks(out.String(), pieces) {
			t.Errorf("%s: a piece of a %s stands in it: %q", name, pieces[piece], piece)
		}
	}
}

// pieceOf is how much of a token, in characters, must not get out.
const pieceOf = 12

// leaks are the pieces that stand in the text, each once.
func leaks(text string, pieces map[string]string) []string {
	var begins [256][256]bool // most of the text needs no look-up
	for piece := range pieces {
		begins[piece[0]][piece[1]] = true
	}
	seen := map[string]bool{}
	for i := range max(0, len(text)-pieceOf+1) {
		if begins[text[i]][text[i+1]] && pieces[text[i:i+pieceOf]] != "" {
			seen[text[i:i+pieceOf]] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// What the engine has masked, and what is no secret, stays readable.
func TestPlainTextIsNotMasked(t *testing.T) {
	c := cleaner{hosts: []string{"notes-7f9c6d5b4-abcde12345.example.com"}}
	for _, text := range []string{
		"eyJhbGci…(312 characters, sha256 1a2b3c4d)", "access-token-alive-after-logout", "http://127.0.0.1:3000/api/v2/notes/123456789/comments/2",
		"GET /api/organizations/42/projects/7/environments", `curl -i -H "Authorization: Bearer ${ACCESS_TOKEN}" http://127.0.0.1:3000/api/me`,
		"Mozilla/5.0 (X11; Linux x86_64)", "http://notes-7f9c6d5b4-abcde12345.example.com/api", "Fri, 20 Nov 2026 16:02:03 GMT", "line\n\tfeed", "größer als 5 €",
	} {
		if got := c.text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// hostile texts try to leave the place where they are printed.
var hostile = []string{
	"\x1b[2J\x1b[31mred\x1b]0;title\x07\x1bP1$r\x1b\\", "\u009b31m\u009d0;title\u009c", "over\rwrite\b\b\bten", "\u202etxt.exe\u202c", "\u2066isolated\u2069 zero\u200bwidth\ufeff",
	"</script><script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "<!--", "-->", "]]>", "<![CDATA[", "&amp;&#x3c;b&gt;", "{{.}}", "javascript:alert(1)",
	"</style><style>*{display:none}", "</title>", "</svg><b>", "'; alert(1); '", "\x00null\x01", "\xff\xfe not UTF-8 \xc3(", "\ufffe\uffff", strings.Repeat("A", 4_000),
	"[link](http://evil.example/)", "{0}", "\\u0022", "\u2028\u2029", "`$(id)`", "%s%n", "😀🏴‍☠️",
}

func FuzzHostileTextIsText(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// The text stands in some 400 places, each of which is written six times.
		checkHostile(t, text[:min(len(text), 4_000)])
	})
}

func checkHostile(t *testing.T, text string) {
	t.Helper()
	for name, write := range writers() {
		var out bytes.Buffer
		if err := write(&out, filled(text)); err != nil {
			if name == "report.sarif" && strings.Contains(err.Error(), "sarif: rule") {
				continue // an empty text is no id of a rule
			}
			t.Fatalf("%s: %v", name, err)
		}
		if !utf8.Valid(out.Bytes()) {
			t.Errorf("%s: not UTF-8", name)
		}
		var err error
		switch name {
		case "report.txt":
			err = plainText(out.String())
		case "verbose.txt":
			err = plainText(colours.ReplaceAllString(out.String(), ""))
		case "report.json", "report.sarif":
			err = wholeJSON(out.Bytes())
		case "report.xml":
			err = wholeXML(out.Bytes())
		case "report.html":
			err = wholeHTML(out.Bytes())
		}
		if err != nil {
			t.Errorf("%s, with %.80q: %v", name, text, err)
		}
	}
}

// The colours that this package writes, and no other sequence.
var colours = regexp.MustCompile("\x1b\\[(?:[0-9]+)m")

func plainText(text string) error {
	for _, r := range text {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return fmt.Errorf("control character %U", r)
		}
	}
	return nil
}

func wholeJSON(text []byte) error {
	var any any
	return json.Unmarshal(text, &any)
}

// wholeXML sees no element and no attribute that JUnit does not have.
func wholeXML(text []byte) error {
	known := map[string]bool{}
	for _, name := range strings.Fields("testsuites testsuite properties property testcase failure error skipped system-out name tests failures errors time timestamp value classname message type") {
		known[name] = true
	}
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := token.(type) {
		case xml.Comment, xml.Directive:
			return fmt.Errorf("%T", e)
		case xml.StartElement:
			names := []string{e.Name.Local}
			for _, a := range e.Attr {
				names = append(names, a.Name.Local)
			}
			for _, name := range names {
				if !known[name] {
					return fmt.Errorf("<%s> or its attribute is none of JUnit's", name)
				}
			}
		}
	}
}

// wholeHTML sees no element that the page does not have, no handler, no style of
// its own, and no address but those of the page.
func wholeHTML(text []byte) error {
	known := map[string]bool{}
	for _, name := range strings.Fields("html head meta title style body header div p h1 h2 h3 h4 dl dt dd main ul ol li svg rect circle path line g text figure figcaption span article code pre details summary table tbody tr th td a br strong footer") {
		known[name] = true
	}
	root, err := html.Parse(bytes.NewReader(text))
	if err != nil {
		return err
	}
	styles := 0
	for n := range root.Descendants() {
		if n.Type == html.CommentNode {
			return fmt.Errorf("comment %.60q", n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		if !known[n.Data] {
			return fmt.Errorf("<%s> is none of the page's", n.Data)
		}
		if n.DataAtom == atom.Style {
			styles++
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "src", a.Key == "srcdoc":
				return fmt.Errorf("<%s %s=%.60q>", n.Data, a.Key, a.Val)
			case a.Key == "href" && a.Val != Home && !strings.HasPrefix(a.Val, "https://cwe.mitre.org/data/definitions/"):
				return fmt.Errorf("a link to %.60q", a.Val)
			}
		}
	}
	if styles != 1 {
		return fmt.Errorf("%d style elements", styles)
	}
	return nil
}

// A browser applies the style of the page, and would run, load or send nothing else.
func TestPolicyAllowsTheStyleAlone(t *testing.T) {
	var out bytes.Buffer
	if err := HTML(&out, sample(), About{}); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	var policy, style string
	for n := range root.Descendants() {
		switch n.DataAtom {
		case atom.Meta:
			if attribute(n, "http-equiv") == "Content-Security-Policy" {
				policy = attribute(n, "content")
			}
		case atom.Style:
			style = n.FirstChild.Data
		}
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	if style == "" || policy != want {
		t.Errorf("the policy is\n%s, want\n%s", policy, want)
	}
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// The checks above must be able to fail.
func TestHostileChecksTurnRed(t *testing.T) {
	for what, err := range map[string]error{
		"a sequence":        plainText(colours.ReplaceAllString("\x1b[1mbold\x1b[0m \x1b[2J", "")),
		"a mark of order":   plainText("\u202etxt"),
		"cut JSON":          wholeJSON([]byte(`{"a":"b"`)),
		"a foreign element": wholeXML([]byte(`<testsuites><b/></testsuites>`)),
		"a script":          wholeHTML([]byte(`<style></style><script>1</script>`)),
		"a handler":         wholeHTML([]byte(`<style></style><p onclick=x>`)),
		"a link":            wholeHTML([]byte(`<style></style><a href="javascript:x">`)),
		"a second style":    wholeHTML([]byte(`<style></style><style></style>`)),
		"a comment":         wholeHTML([]byte(`<style></style><!-- -->`)),
	} {
		if err == nil {
			t.Errorf("%s is not seen", what)
		}
	}
	if leaks("x 123456789012 y", map[string]string{"123456789012": "token"}) == nil {
		t.Error("a leak is not seen")
	}
}

// Any number of lives gives a picture that a browser can draw, and what went wrong
// is in it.
func TestCrowdIsDrawn(t *testing.T) {
	r := crowd()
	bad := r.Lives[2] // it is alive at the end
	bad.ID = len(r.Lives)
	bad.Route = "GET /the/last/one"
	r.Lives = append(r.Lives, bad)
	p := pictures(r)[0]
	if len(p.Rows) != mostRows || p.More == 0 {
		t.Errorf("%d rows, %d more", len(p.Rows), p.More)
	}
	found := false
	for _, row := range p.Rows {
		found = found || strings.Contains(row.Where, "/the/last/one")
		for _, b := range row.Bars {
			if b.Width < 0 || b.X < labels-20 || b.X+b.Width > labels+plot {
				t.Errorf("a bar from %f, %f wide", b.X, b.Width)
			}
		}
		for _, d := range row.Dots {
			if d.X < labels-20 || d.X > labels+plot {
				t.Errorf("a dot at %f", d.X)
			}
		}
	}
	if !found {
		t.Error("the life that went wrong is not drawn")
	}
}
