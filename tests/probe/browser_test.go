package probe_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A browser is somebody who tries by hand what the probe says: it keeps cookies,
// and follows redirects as long as nothing is at stop.
type browser struct {
	t    testing.TB
	http *http.Client
	stop string // a part of the address at which it stops
}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t}
	b.http = &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if b.stop != "" && strings.Contains(r.URL.String(), b.stop) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

// A page is an answer.
type page struct {
	t      testing.TB
	status int
	header http.Header
	text   string
}

// do sends a request, with a form if it is not nil, and a credential: "Bearer …"
// or "name:password".
func (b *browser) do(method, address string, form url.Values, credential string) page {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if name, password, basic := strings.Cut(credential, ":"); basic {
		r.SetBasicAuth(name, password)
	} else if credential != "" {
		r.Header.Set("Authorization", credential)
	}
	return b.send(r)
}

func (b *browser) send(r *http.Request) page {
	b.t.Helper()
	response, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	return page{b.t, response.StatusCode, response.Header, string(text)}
}

// copied is a browser that has stolen the cookies of another for an address.
func (b *browser) copied(address string) *browser {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	c := newBrowser(b.t)
	c.http.Jar.SetCookies(u, b.http.Jar.Cookies(u))
	return c
}

// first is what a pattern's first group finds.
func (p page) first(pattern string) string {
	p.t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(p.text)
	if match == nil {
		p.t.Fatalf("no %s in %d %s", pattern, p.status, p.text)
	}
	return match[1]
}

// json reads the page into v.
func (p page) json(v any) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.text), v); err != nil {
		p.t.Fatalf("%d %s: %v", p.status, p.text, err)
	}
}
