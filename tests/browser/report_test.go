package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// noteForbidden notes what the content security policy forbids.
const noteForbidden = `addEventListener('securitypolicyviolation', e => (window.violations ??= []).push(e.effectiveDirective))`

// A report of the probe is read in a browser, perhaps by somebody who was attacked:
// it is styled by its own style, drawn inside its frames, as wide as the window,
// and nothing in it runs, loads or sends anything.
func TestProbeReportInTheBrowser(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "probe", "report", "testdata", "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	show := func(p *profile, name, text string) *window {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w := p.open(t, "about:blank")
		w.first(noteForbidden)
		w.visit("file://" + path)
		w.until("document.readyState === 'complete'")
		return w
	}
	p := newProfile(t)
	w := show(p, "report.html", string(text))
	if got := eval[int](w, "(window.violations ?? []).length + performance.getEntriesByType('resource').length"); got != 0 {
		t.Errorf("%d things were forbidden or loaded", got)
	}
	if got := eval[string](w, "getComputedStyle(document.querySelector('article')).borderLeftWidth"); got != "5px" {
		t.Errorf("the style is not applied: a border of %s", got)
	}
	// The text of a picture ends inside it, and names and fates do not cover each other.
	if got := eval[string](w, `[...document.querySelectorAll('svg[role=img] text')].filter(t => {
		const box = t.getBBox(), all = t.ownerSVGElement.viewBox.baseVal
		return box.x < 0 || box.x + box.width > all.width || box.y + box.height > all.height
	}).map(t => t.textContent).join(', ')`); got != "" {
		t.Errorf("outside its picture: %s", got)
	}
	if pictures := eval[int](w, "document.querySelectorAll('svg[role=img]').length"); pictures < 2 {
		t.Errorf("%d pictures", pictures)
	}
	for _, width := range []int64{1400, 390} {
		if _, err := chromedp.Call(w.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900}); err != nil {
			t.Fatal(err)
		}
		if over := eval[int](w, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
			t.Errorf("in a window of %d the page is %d too wide", width, over)
		}
	}

	planted := strings.Replace(string(text), "</main>", `<script>window.ran = true</script><img src="x.png" onerror="window.ran = true"><p style="color: red" id="own">x</p></main>`, 1)
	w = show(p, "planted.html", planted)
	w.until("new Set(window.violations ?? []).size >= 4") // they are reported one by one
	if eval[bool](w, "Boolean(window.ran)") {
		t.Error("a script in the page ran")
	}
	if got := eval[string](w, "[...new Set(window.violations ?? [])].sort().join(' ')"); got != "img-src script-src-attr script-src-elem style-src-attr" {
		t.Errorf("forbidden: %q", got)
	}
}
