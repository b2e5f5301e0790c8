package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/rescindtest"
	"github.com/rescind/rescind/store/storetest"
)

// harness is a server and a browserless client, which holds every answer against
// the server's own OpenAPI document.
type harness struct {
	*rescindtest.Server
	t testing.TB
}

func start(t testing.TB, options ...rescindtest.Option) *harness {
	t.Helper()
	return &harness{rescindtest.Start(t, options...), t}
}

// answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

// edit prepares a request.
type edit func(*http.Request)

func header(name string, values ...string) edit {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

func basic(c rescindtest.Credentials) edit {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret)) }
}

func bearer[T ~string](token T) edit { return header("Authorization", "Bearer "+string(token)) }

func body(contentType, text string) edit {
	return func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(text))
		r.ContentLength = int64(len(text))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
	}
}

// form sends pairs of names and values.
func form(pairs ...string) edit {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return body("application/x-www-form-urlencoded", v.Encode())
}

func jsonText(text string) edit { return body("application/json", text) }

func (h *harness) do(method, path string, edits ...edit) answer {
	h.t.Helper()
	r, err := http.NewRequest(method, h.URL+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range edits {
		e(r)
	}
	res, err := direct.Do(r)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	h.conforms(r, res)
	return answer{res.StatusCode, res.Header, string(b)}
}

// direct follows no redirect: there must be none.
var direct = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// described holds the validator: the document is the same for every server of the
// suite but for its address.
var described struct {
	sync.Mutex
	by validator.Validator
}

func (h *harness) description() validator.Validator {
	described.Lock()
	defer described.Unlock()
	if described.by != nil {
		return described.by
	}
	res, err := direct.Get(h.URL + "/openapi.json")
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	// Paths are matched without the server's address, which differs by test.
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		h.t.Fatal(err)
	}
	delete(doc, "servers")
	if b, err = json.Marshal(doc); err != nil {
		h.t.Fatal(err)
	}
	d, err := libopenapi.NewDocument(b)
	if err != nil {
		h.t.Fatal(err)
	}
	v, errs := validator.NewValidator(d)
	if len(errs) > 0 {
		h.t.Fatal(errs)
	}
	described.by = v
	return v
}

// conforms holds a response against the document. Forward-auth, and methods and
// paths that are not in it, have no description to be held against.
func (h *harness) conforms(r *http.Request, res *http.Response) {
	h.t.Helper()
	if strings.HasPrefix(r.URL.Path, "/forward-") || r.Method == http.MethodHead || r.Method == http.MethodOptions ||
		res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed {
		return
	}
	if ok, errs := h.description().ValidateHttpResponse(r, res); !ok {
		for _, e := range errs {
			h.t.Errorf("%s %s: %d is not as described: %s: %s", r.Method, r.URL.Path, res.StatusCode, e.Message, e.Reason)
		}
	}
}

// want fails the test unless the answer has this status; it returns the answer.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// member returns a member of a JSON answer.
func (a answer) member(t testing.TB, name string) any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%v: %q", err, a.body)
	}
	return m[name]
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v: %q", err, a.body)
	}
}

// oauthError wants an error of RFC 6749 section 5.2, in its form.
func (a answer) oauthError(t testing.TB, status int, word string) answer {
	t.Helper()
	a.want(t, status)
	if got := a.member(t, "error"); got != word {
		t.Fatalf("error %v, want %s: %s", got, word, a.body)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		t.Fatalf("content type %q", ct)
	}
	a.notStored(t)
	return a
}

// problem wants problem details of RFC 9457, in their form.
func (a answer) problem(t testing.TB, status int, code string) answer {
	t.Helper()
	a.want(t, status)
	if got := a.member(t, "code"); got != code {
		t.Fatalf("code %v, want %s: %s", got, code, a.body)
	}
	if got := a.member(t, "status"); got != float64(status) {
		t.Fatalf("status member %v, want %d", got, status)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("content type %q", ct)
	}
	a.notStored(t)
	return a
}

func (a answer) notStored(t testing.TB) {
	t.Helper()
	if a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("Cache-Control %q: this must not be stored", a.header.Get("Cache-Control"))
	}
}

// challenge wants a WWW-Authenticate of a scheme that holds certain parts.
func (a answer) challenge(t testing.TB, parts ...string) answer {
	t.Helper()
	got := a.header.Values("WWW-Authenticate")
	if len(got) != 1 {
		t.Fatalf("challenges: %q", got)
	}
	for _, p := range parts {
		if !strings.Contains(got[0], p) {
			t.Fatalf("challenge %q lacks %s", got[0], p)
		}
	}
	return a
}

func (h *harness) introspect(token string, by rescindtest.Credentials) answer {
	h.t.Helper()
	return h.do("POST", "/oauth/introspect", basic(by), form("token", token))
}

func (h *harness) refresh(token string, by rescindtest.Credentials) answer {
	h.t.Helper()
	return h.do("POST", "/oauth/token", basic(by), form("grant_type", "refresh_token", "refresh_token", token))
}

// grantOf reads the tokens of an answer.
func grantOf(t testing.TB, a answer) rescind.Grant {
	t.Helper()
	var g rescind.Grant
	a.into(t, &g)
	if g.AccessToken == "" || g.RefreshToken == "" {
		t.Fatalf("no tokens: %d", a.status)
	}
	return g
}

// outage is a store that can be made to fail in every way.
type outage struct {
	*storetest.Faulty
	store rescind.Store
	cut   atomic.Bool // backups end after some bytes
}

func (o *outage) wrap(set *rescindtest.Settings) {
	set.WrapStore = func(s rescind.Store) rescind.Store {
		o.store, o.Faulty = s, storetest.NewFaulty(s, nil)
		return o
	}
}

// down makes every call of the store fail, and up none.
func (o *outage) down() {
	o.Follow(func(string, int) storetest.Fault { return storetest.FailBefore })
}

func (o *outage) up() { o.Follow(nil) }

// Backup passes on to the store within.
func (o *outage) Backup(ctx context.Context, w io.Writer) error {
	if o.cut.Load() {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return err
		}
		return errors.New("disk on fire")
	}
	b, ok := o.store.(rescind.Backuper)
	if !ok {
		return errors.New("the store within makes no backups")
	}
	return b.Backup(ctx, w)
}
