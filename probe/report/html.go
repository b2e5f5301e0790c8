package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rescind/rescind/probe"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// HTML writes one file that needs nothing else: no script, no font and no picture
// from anywhere, which its content security policy also says to the browser.
func HTML(w io.Writer, r *probe.Report, about About) error {
	r = clean(r)
	catalogue := probe.Checks()
	page, err := template.New("page").Funcs(template.FuncMap{
		"span": span, "sentence": sentence, "date": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
		"asvs":  func(id string) string { return strings.TrimPrefix(id, "v5.0.0-") },
		"level": func(id string) int { return catalogue.Requirements[id].Level }, "about": func(id string) string { return catalogue.Requirements[id].About },
		"weakness": func(id string) string { return catalogue.Weaknesses[id] },
		"number":   func(id string) string { return strings.TrimPrefix(id, "CWE-") },
		"sign":     func(v probe.Verdict) string { mark, _ := sign(v); return mark },
		"finished": finished,
		"last":     func(i int, e entry) bool { return &e.Evidence[i] == e.Shown() },
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(pageCSS))
	return page.Execute(w, map[string]any{
		"Report": r, "About": about, "Home": Home,
		"Policy":   "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		"Style":    template.CSS(pageCSS),
		"Headline": headline(r), "Summary": summary(r), "Took": r.Ended.Sub(r.Started),
		"Findings": findings(r, catalogue), "Inconclusive": entries(r, catalogue, probe.Inconclusive),
		"Passes": entries(r, catalogue, probe.Pass), "Notes": entries(r, catalogue, probe.Note),
		"NotApplicable": entries(r, catalogue, probe.NotApplicable),
		"Pictures":      galleryOf(pictures(r)),
	})
}

// finished makes a sentence of what the engine says: it begins large and has an end.
func finished(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
