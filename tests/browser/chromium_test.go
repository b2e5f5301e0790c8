package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"

	"github.com/rescind/rescind/tests/need"
)

// The names under which the browser finds servers on loopback. Two hosts of one
// site, and one of another.
const (
	home    = "app.notes.test"
	sibling = "www.notes.test"
	foreign = "evil.test"
)

// patience bounds whatever is waited for. It is longer than a busy machine ever
// takes: what takes longer hangs.
const patience = time.Minute

// launch starts a browser that knows no other names, and asks nobody about them.
// It lives until the context that it returns is cancelled.
func launch(dir string) (context.Context, context.CancelFunc, error) {
	flags := []chromedp.ExecAllocatorOption{chromedp.ExecPath("chromium"), chromedp.UserDataDir(dir), chromedp.WSURLReadTimeout(patience)}
	for _, f := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "no-default-browser-check",
		"disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps",
		"disable-dev-shm-usage", "ignore-certificate-errors",
	} {
		flags = append(flags, chromedp.Flag(f, true))
	}
	flags = append(flags, chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"))
	allocator, end := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, cancel := chromedp.NewContext(allocator)
	stop := func() { cancel(); end() }
	if err := chromedp.Do(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	return ctx, stop, nil
}

// A profile is somebody's browser, with cookies of its own.
type profile struct {
	first *window
	ctx   context.Context
}

func newProfile(t *testing.T) *profile {
	t.Helper()
	need.Commands(t, "CHROMIUM", "the tests in a browser", "chromium")
	chromium, err := shared.chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &profile{&window{t, ctx}, ctx}
}

// open opens a window at an address.
func (p *profile) open(t *testing.T, url string) *window {
	t.Helper()
	w := p.first
	if p.first = nil; w == nil {
		ctx, cancel := chromedp.NewContext(p.ctx)
		t.Cleanup(cancel)
		if err := chromedp.Do(ctx); err != nil { // what it opens lives as long as this context
			t.Fatal(err)
		}
		w = &window{t, ctx}
	}
	w.visit(url)
	return w
}

// cookies returns the cookie jar, by name.
func (p *profile) cookies(t *testing.T) map[string]*network.Cookie {
	t.Helper()
	id := chromedp.FromContext(p.ctx).BrowserContextID
	got, err := chromedp.CallBrowser(p.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: id})
	if err != nil {
		t.Fatal(err)
	}
	jar := map[string]*network.Cookie{}
	for _, c := range got.Cookies {
		jar[c.Name] = c
	}
	return jar
}

// A window shows a page.
type window struct {
	t   *testing.T
	ctx context.Context
}

func (w *window) visit(url string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		w.t.Fatalf("%s: %v", url, err)
	}
}

// first runs a script in every page that comes, before the page's own.
func (w *window) first(script string) {
	w.t.Helper()
	_, err := chromedp.Call(w.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
	if err != nil {
		w.t.Fatal(err)
	}
}

// eval runs a script in the page, waits for its promise, and returns what becomes of it.
func eval[T any](w *window, script string, args ...any) T {
	w.t.Helper()
	got, err := try[T](w, fmt.Sprintf(script, args...))
	if err != nil {
		w.t.Fatalf("%s: %v", script, err)
	}
	return got
}

func try[T any](w *window, script string) (T, error) {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script, func(p *runtime.EvaluateParams) {
		yes := true
		p.AwaitPromise, p.UserGesture = &yes, &yes
	}))
}

// until waits for a condition in the page to hold.
func (w *window) until(condition string) {
	w.t.Helper()
	began := time.Now()
	for time.Since(began) < patience {
		// While a page is being replaced there is nobody to ask.
		if yes, err := try[bool](w, "Boolean("+condition+")"); err == nil && yes {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, err := try[string](w, "location + ': ' + document.body?.innerText")
	w.t.Fatalf("not in %v: %s\nthe page: %s %v", patience, condition, text, err)
}

// call sends a request as the page's scripts can, and returns its status.
func (w *window) call(method, path string) int {
	w.t.Helper()
	return eval[int](w, "fetch(%q, {method: %q}).then(r => r.text().then(() => r.status))", path, method)
}

func (w *window) click(selector string) {
	w.t.Helper()
	eval[bool](w, "document.querySelector(%q).click() ?? true", selector)
}

// later makes the browser what it is when its access token is no longer new: then
// a refresh refreshes.
func (w *window) later() {
	w.t.Helper()
	url := eval[string](w, "location.href")
	if _, err := chromedp.Call(w.ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: accessCookie, URL: url}); err != nil {
		w.t.Fatal(err)
	}
}

// The page of the example.

func (w *window) login(user, password string) {
	w.t.Helper()
	w.until("document.querySelector('#login')?.hidden === false")
	eval[bool](w, "user.value = %q, password.value = %q, document.querySelector('#login').requestSubmit() ?? true", user, password)
	w.untilIn(user)
}

// look makes the page ask what there is, as it does when it is looked at.
func (w *window) look() {
	w.t.Helper()
	eval[bool](w, "dispatchEvent(new Event('focus'))")
}

func (w *window) keep(note string) {
	w.t.Helper()
	eval[bool](w, "document.querySelector('#text').value = %q, document.querySelector('#write').requestSubmit() ?? true", note)
	w.until(fmt.Sprintf("document.querySelector('#notes').innerText.includes(%q)", note))
}

func (w *window) untilIn(user string) {
	w.t.Helper()
	w.until(fmt.Sprintf("!document.querySelector('#inside').hidden && document.querySelector('#who').innerText === %q", user))
}

// untilOut waits until the page says that nobody is logged in, and shows nothing
// of anybody.
func (w *window) untilOut() {
	w.t.Helper()
	w.until("document.querySelector('#login')?.hidden === false")
	if text := eval[string](w, "document.querySelector('#inside').textContent"); strings.Contains(text, "secret") {
		w.t.Errorf("the page still holds %q", text)
	}
}
