package browser

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"
)

// A thief has copied somebody's cookies, and uses them without a browser. A real
// one would send whatever headers the server wants to see.
type thief struct {
	app     *app
	cookies map[string]*network.Cookie
}

// rob copies the cookies of a profile.
func rob(t *testing.T, a *app, p *profile) thief {
	t.Helper()
	jar := p.cookies(t)
	if len(jar) != 2 {
		t.Fatalf("%d cookies, not those of a session: %v", len(jar), jar)
	}
	return thief{a, jar}
}

// send sends a request with the cookies as they were, and returns its status.
func (x thief) send(t *testing.T, method, path string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, x.app.front.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range x.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, // a connection of its own, to a name that is not its
	}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

// everything is each route of the example that wants a token, and the refresh.
var everything = [][2]string{
	{"GET", "/api/me"}, {"GET", "/api/notes"}, {"POST", "/api/notes"}, {"GET", "/api/devices"},
	{"DELETE", "/api/devices/x"}, {"POST", "/logout-all"}, {"POST", "/refresh"},
}

// mustBeOut says that nothing passes any more.
func (x thief) mustBeOut(t *testing.T) {
	t.Helper()
	for _, route := range everything {
		if status := x.send(t, route[0], route[1]); status != http.StatusUnauthorized {
			t.Errorf("%s %s after logout: %d", route[0], route[1], status)
		}
	}
}

// mustBeIn says that the cookies serve, so that a later refusal means something.
// The refresh is repeated by the browser's own later, which is no theft in time.
func (x thief) mustBeIn(t *testing.T) {
	t.Helper()
	for _, route := range [][2]string{{"GET", "/api/me"}, {"GET", "/api/notes"}, {"GET", "/api/devices"}, {"POST", "/refresh"}} {
		if status := x.send(t, route[0], route[1]); status != http.StatusOK {
			t.Errorf("%s %s before logout: %d", route[0], route[1], status)
		}
	}
}
