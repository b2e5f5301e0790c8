package browser

import (
	"fmt"
	"strings"
	"testing"
)

// watch notes what a page shows from its very first moments on, also when the
// browser brings it back from memory.
const watch = `
	window.shown = []
	window.restored = null
	addEventListener('pagehide', () => { window.restored = null }, { capture: true })
	addEventListener('pageshow', event => {
		window.restored = event.persisted
		window.shown = [document.documentElement.textContent]
	}, { capture: true })
	new MutationObserver(() => window.shown.push(document.documentElement.textContent)).observe(document, { childList: true, subtree: true, characterData: true })
`

// TestBackAfterLogoutShowsNoNotes goes away from the notes, logs out, and comes
// back by the button.
func TestBackAfterLogoutShowsNoNotes(t *testing.T) {
	a, evil := startApp(t), startEvil(t)
	for _, c := range []struct {
		name, start string
		elsewhere   string // where the window goes meanwhile; "": another site
		logout      func(other *window)
		memory      string // whether the browser brings the page back from memory; "": as it likes
	}{
		{"ended from another device", "/", "", func(*window) { a.end(t, "ada") }, "true"},
		{"logout in another window", "/", "", logoutInOther, ""}, // the message to a page in memory drops it, if it is there before the button
		{"logout in another window, with this one on the same origin", "/", "/page.css", logoutInOther, ""},
		{"the notes themselves", "/api/notes", "", logoutInOther, "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ada := newProfile(t)
			other := ada.open(t, a.at(home, "/"))
			other.login("ada", "lovelace")
			other.keep("a secret of ada's")
			w := ada.open(t, "about:blank")
			w.first(watch)
			w.visit(a.at(home, c.start))
			w.until("document.documentElement.textContent.includes('secret')")
			elsewhere := evil.at(foreign, "/")
			if c.elsewhere != "" {
				elsewhere = a.at(home, c.elsewhere)
			}
			w.visit(elsewhere)
			c.logout(other)
			w.back(a.at(home, c.start))
			if c.start == "/" {
				w.untilOut()
			}
			for i, text := range append(eval[[]string](w, "shown"), eval[string](w, "document.documentElement.textContent")) {
				if strings.Contains(text, "secret") {
					t.Errorf("after coming back, at moment %d, the page shows %q", i, text)
				}
			}
			if memory := eval[string](w, "String(restored)"); c.memory != "" && memory != c.memory {
				t.Errorf("from memory: %v; the other reasons are %s", memory, eval[string](w, "JSON.stringify(performance.getEntriesByType('navigation')[0].notRestoredReasons)"))
			}
		})
	}
}

func logoutInOther(other *window) {
	other.click("#logout")
	other.untilOut()
}

// TestBackBeforeLogoutShowsTheNotes: the page that the button leads to is not
// empty for other reasons.
func TestBackBeforeLogoutShowsTheNotes(t *testing.T) {
	a := startApp(t)
	evil := startEvil(t)
	w := newProfile(t).open(t, a.at(home, "/"))
	w.login("ada", "lovelace")
	w.keep("a secret of ada's")
	w.visit(evil.at(foreign, "/"))
	w.back(a.at(home, "/"))
	w.until("document.querySelector('#notes').innerText.includes('secret')")
}

// back presses the button. Its answer may be older than the page it leads to.
func (w *window) back(to string) {
	w.t.Helper()
	if _, err := try[bool](w, "(setTimeout(() => history.back()), true)"); err != nil { // after this answer, which the way back would cut off
		w.t.Fatal(err)
	}
	w.until(fmt.Sprintf("location.href === %q && document.readyState === 'complete' && window.restored !== null", to))
}
