package browser

import "testing"

func TestLogoutInOneWindowEndsTheOther(t *testing.T) {
	a := startApp(t)
	ada := newProfile(t)
	one := ada.open(t, a.at(home, "/"))
	one.login("ada", "lovelace")
	one.keep("a secret of ada's")
	two := ada.open(t, "about:blank")
	two.first("setInterval = () => 0") // it does not ask: it is told
	two.visit(a.at(home, "/"))
	two.untilIn("ada")
	two.until("document.querySelector('#notes').innerText.includes('secret')")
	alan := newProfile(t)
	other := alan.open(t, a.at(home, "/"))
	other.login("alan", "turing")
	if text := eval[string](other, "document.querySelector('#notes').innerText"); text != "" {
		t.Errorf("alan sees %q", text)
	}
	stolen := rob(t, a, ada)
	stolen.mustBeIn(t)

	one.click("#logout")
	one.untilOut()
	two.untilOut()
	// Not only its page says so.
	for _, route := range everything {
		if status := two.call(route[0], route[1]); status != 401 {
			t.Errorf("%s %s from the other window: %d", route[0], route[1], status)
		}
	}
	stolen.mustBeOut(t)
	if n := a.sessions(t, "ada"); n != 0 {
		t.Errorf("%d sessions of ada's stand", n)
	}
	other.untilIn("alan")
	if status := other.call("GET", "/api/notes"); status != 200 {
		t.Errorf("alan: %d", status)
	}
}

// A window of another browser hears of it without anybody touching it.
func TestEndedDeviceIsOut(t *testing.T) {
	a := startApp(t)
	desk, phone := newProfile(t), newProfile(t)
	d, p := desk.open(t, a.at(home, "/")), phone.open(t, a.at(home, "/"))
	d.login("ada", "lovelace")
	d.keep("a secret of ada's")
	p.login("ada", "lovelace")
	stolen := rob(t, a, desk)

	p.until("document.querySelectorAll('#devices li').length === 2")
	eval[bool](p, "[...document.querySelectorAll('#devices li')].find(li => !li.querySelector('small').innerText.includes('this one')).querySelector('button').click() ?? true")
	d.untilOut()
	stolen.mustBeOut(t)
	p.until("document.querySelectorAll('#devices li').length === 1")
	if n := a.sessions(t, "ada"); n != 1 {
		t.Errorf("%d sessions of ada's stand", n)
	}
	if status := p.call("GET", "/api/notes"); status != 200 {
		t.Errorf("the device that ended the other: %d", status)
	}
	// Nobody ends the session of somebody else.
	alan := newProfile(t).open(t, a.at(home, "/"))
	alan.login("alan", "turing")
	id := eval[string](p, "fetch('/api/me').then(r => r.json()).then(me => me.session)")
	if status := alan.call("DELETE", "/api/devices/"+id); status != 404 {
		t.Errorf("alan ends ada's session: %d", status)
	}
	if status := p.call("GET", "/api/notes"); status != 200 {
		t.Errorf("ada after alan's attempt: %d", status)
	}
}

func TestLogoutEverywhereEndsEveryBrowser(t *testing.T) {
	a := startApp(t)
	var stolen []thief
	var windows []*window
	for range 3 {
		p := newProfile(t)
		w := p.open(t, a.at(home, "/"))
		w.login("ada", "lovelace")
		stolen, windows = append(stolen, rob(t, a, p)), append(windows, w)
	}
	alan := newProfile(t).open(t, a.at(home, "/"))
	alan.login("alan", "turing")
	for _, s := range stolen {
		s.mustBeIn(t)
	}
	windows[1].click("#logout-all")
	for _, w := range windows {
		w.untilOut()
	}
	for _, s := range stolen {
		s.mustBeOut(t)
	}
	if n := a.sessions(t, "ada"); n != 0 {
		t.Errorf("%d sessions of ada's stand", n)
	}
	if status := alan.call("GET", "/api/notes"); status != 200 {
		t.Errorf("alan: %d", status)
	}
}

// TestPageRunsNobodyElsesScripts: what gets into the page is not run, and what
// got into the notes is text.
func TestPageRunsNobodyElsesScripts(t *testing.T) {
	a := startApp(t)
	w := newProfile(t).open(t, a.at(home, "/"))
	w.login("ada", "lovelace")
	const note = "<img src=x onerror='window.stolen = 1'><script>window.stolen = 2</script>"
	w.keep(note)
	evil := startEvil(t)
	eval[bool](w, `[
		document.createRange().createContextualFragment("<script>window.stolen = 3<\/script><img src='x' onerror='window.stolen = 4'>"),
		Object.assign(document.createElement('script'), { src: %q }),
	].every(node => document.body.append(node) ?? true)`, evil.at(foreign, "/script.js"))
	w.until("fetch('/api/me').then(r => r.ok)") // what is loaded has been
	if got := eval[string](w, "String(window.stolen)"); got != "undefined" {
		t.Errorf("script %s has run", got)
	}
	if n := len(evil.passages("GET", "/script.js")); n != 0 {
		t.Errorf("%d scripts were fetched from elsewhere", n)
	}
	if eval[string](w, "fetch(%q).then(() => 'sent', () => 'kept')", evil.at(foreign, "/")) != "kept" || len(evil.passages("GET", "/")) != 0 {
		t.Error("the page can send to elsewhere")
	}
}
