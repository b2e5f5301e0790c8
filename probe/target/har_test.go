package target

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// browser sends requests as a browser would, and records them as HAR.
type browser struct {
	t       *testing.T
	base    string
	client  *http.Client
	mu      sync.Mutex
	entries []map[string]any
	// clean leaves cookies and Authorization out, as browsers do by default.
	clean bool
}

func newBrowser(t *testing.T, base string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, base: base}
	b.client = &http.Client{Jar: jar, Transport: b}
	return b
}

func (b *browser) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, _ := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	pairs := func(h http.Header) []map[string]string {
		all := []map[string]string{}
		for name, values := range h {
			if b.clean && (name == "Cookie" || name == "Set-Cookie" || name == "Authorization") {
				continue
			}
			for _, value := range values {
				all = append(all, map[string]string{"name": strings.ToLower(name), "value": value})
			}
		}
		return all
	}
	request := map[string]any{"method": r.Method, "url": r.URL.String(), "headers": pairs(r.Header)}
	if len(sent) > 0 {
		request["postData"] = map[string]any{"mimeType": r.Header.Get("Content-Type"), "text": string(sent)}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, map[string]any{
		"startedDateTime": "2026-11-20T16:00:00Z", "request": request,
		"response": map[string]any{
			"status": response.StatusCode, "headers": pairs(response.Header), "redirectURL": response.Header.Get("Location"),
			"content": map[string]any{"mimeType": response.Header.Get("Content-Type"), "text": string(body)},
		},
	})
	return response, nil
}

// do sends a request and returns the body.
func (b *browser) do(method, path, body string, header ...string) string {
	b.t.Helper()
	ref := path
	if strings.HasPrefix(path, "/") {
		ref = b.base + path
	}
	r, err := http.NewRequest(method, ref, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode >= 400 {
		b.t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, text)
	}
	return string(text)
}

func (b *browser) har() []byte {
	out, err := json.Marshal(map[string]any{"log": map[string]any{"version": "1.2", "creator": map[string]any{"name": "test"}, "pages": []any{}, "entries": b.entries}})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

const (
	adaPassword = "correct-Horse7battery"
	adaName     = "ada@example.org"
)

// play runs a description as the probe does, only simpler: login, protected
// routes, refresh, logout; and returns the statuses of the protected routes before
// and after the logout.
func play(t *testing.T, d *Target, environment func(string) (string, bool)) (before, after []int) {
	t.Helper()
	text, err := Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	d, err = Parse(text, environment)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	vars := d.Vars(d.Users[0])
	send := func(r *Request, carry Carry) *http.Response {
		t.Helper()
		sent, err := r.Render(d.Instances[0], vars)
		if err != nil {
			t.Fatalf("%s: %v\n%s", r, err, text)
		}
		if carry == CarryAll && d.Present != nil {
			if err := RenderHeaders(sent.Header, d.Present.Headers, vars); err != nil {
				t.Fatal(err)
			}
		} else if token := vars["access_token"]; carry == CarryAll && token != "" {
			sent.Header.Set("Authorization", "Bearer "+token.Reveal())
		}
		request, err := sent.HTTP(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		response.Body = io.NopCloser(bytes.NewReader(body))
		return response
	}
	steps := func(what string, all Steps, carry Carry) {
		t.Helper()
		for i := range all {
			r := &all[i]
			response := send(r, r.Carry.Or(carry))
			for redirects := 0; ; redirects++ {
				body, _ := io.ReadAll(response.Body)
				if redirects == 0 && !r.Expect.Matches(response.StatusCode) {
					t.Fatalf("%s: %s answered %d %s\n%s", what, r, response.StatusCode, body, text)
				}
				found, err := r.Find(Answer{response.Header, body})
				if err == nil {
					for name, value := range found {
						vars[name] = value
					}
				}
				to, wrong := response.Location()
				if wrong != nil || redirects > 5 || err == nil && len(found) > 0 {
					if err != nil {
						t.Fatalf("%s: %v\n%s", what, err, text)
					}
					break
				}
				next := Get(to.String())
				response = send(&next, CarryCookies)
			}
		}
	}
	steps("login", d.Login, CarryCookies)
	routes := func() (all []int) {
		for i := range d.Protected {
			all = append(all, send(&d.Protected[i], CarryAll).StatusCode)
		}
		return all
	}
	before = routes()
	steps("refresh", d.Refresh, CarryCookies)
	steps("logout", d.Logout, CarryAll)
	return before, routes()
}

// spa is an application with tokens in JSON.
func spa(t *testing.T) string {
	var mu sync.Mutex
	live, refresh, n := map[string]bool{}, map[string]bool{}, 0
	issue := func(w http.ResponseWriter) {
		n++
		access, next := fmt.Sprintf("eyJhbGciOiJIUzI1NiJ9.eyJuIjoiJW4ifQ.%032x", n), fmt.Sprintf("rt-%032x", n)
		live[access], refresh[next] = true, true
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"data":{"tokens":{"accessToken":%q,"refreshToken":%q},"user":{"id":42,"email":%q}}}`, access, next, adaName)
	}
	mux := http.NewServeMux()
	lock := func(f http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { mu.Lock(); defer mu.Unlock(); f(w, r) }
	}
	need := func(f http.HandlerFunc) http.HandlerFunc {
		return lock(func(w http.ResponseWriter, r *http.Request) {
			if !live[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] || r.Header.Get("X-Api-Key") != "app-key-0123456789abcdef" {
				w.WriteHeader(401)
				return
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			f(w, r)
		})
	}
	mux.HandleFunc("POST /api/v1/auth/login", lock(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email, Password, GrantType string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Email != adaName || in.Password != adaPassword {
			w.WriteHeader(401)
			return
		}
		issue(w)
	}))
	mux.HandleFunc("GET /api/v1/me", need(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"profile":{"email":%q,"id":42}}`, adaName)
	}))
	mux.HandleFunc("GET /api/v1/users/42/notes", need(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"id":1}]`) }))
	mux.HandleFunc("POST /api/v1/auth/refresh-token", lock(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ RefreshToken string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || !refresh[in.RefreshToken] {
			w.WriteHeader(401)
			return
		}
		delete(refresh, in.RefreshToken)
		issue(w)
	}))
	mux.HandleFunc("POST /api/v1/auth/logout", need(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ RefreshToken string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || !refresh[in.RefreshToken] {
			w.WriteHeader(400)
			return
		}
		clear(live)
		clear(refresh)
		w.WriteHeader(204)
	}))
	mux.HandleFunc("GET /app.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `fetch("/api")`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

var (
	accessMember  = regexp.MustCompile(`"accessToken":"([^"]+)"`)
	refreshMember = regexp.MustCompile(`"refreshToken":"([^"]+)"`)
)

func browseSPA(t *testing.T, b *browser) {
	json := []string{"Content-Type", "application/json", "X-Api-Key", "app-key-0123456789abcdef", "X-Requested-With", "XMLHttpRequest"}
	b.do("GET", "/app.js", "")
	answer := b.do("POST", "/api/v1/auth/login", fmt.Sprintf(`{"email":%q,"password":%q,"grantType":"password","remember":true}`, adaName, adaPassword), json...)
	bearer := func() []string {
		return append([]string{"Authorization", "Bearer " + accessMember.FindStringSubmatch(answer)[1]}, json...)
	}
	b.do("GET", "/api/v1/me", "", bearer()...)
	b.do("GET", "/api/v1/users/42/notes?sort=new", "", bearer()...)
	answer = b.do("POST", "/api/v1/auth/refresh-token", fmt.Sprintf(`{"refreshToken":%q}`, refreshMember.FindStringSubmatch(answer)[1]), json...)
	b.do("GET", "/api/v1/users/42/notes?sort=old", "", bearer()...)
	b.do("POST", "/api/v1/auth/logout", fmt.Sprintf(`{"refreshToken":%q}`, refreshMember.FindStringSubmatch(answer)[1]), bearer()...)
}

func fromBrowser(t *testing.T, b *browser) *Draft {
	t.Helper()
	d, err := FromHAR(b.har(), "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.Write()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	for _, secret := range []string{adaPassword, url.QueryEscape(adaPassword)} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the password is in the description")
		}
	}
	for _, e := range b.entries {
		text := string(text)
		raw, _ := json.Marshal(e)
		for _, token := range regexp.MustCompile(`[A-Za-z0-9]{20,}`).FindAllString(string(raw), -1) {
			if strings.Contains(text, token) {
				t.Errorf("%s is in the description", token)
			}
		}
	}
	return d
}

func adaEnv(more ...string) func(string) (string, bool) {
	return env(append([]string{"PROBE_USER", adaName, "PROBE_PASSWORD", adaPassword, "PROBE_X_API_KEY", "app-key-0123456789abcdef"}, more...)...)
}

func allAre(t *testing.T, what string, got []int, want int) {
	t.Helper()
	for _, status := range got {
		if status != want {
			t.Errorf("%s: %v, want %d", what, got, want)
			return
		}
	}
	if len(got) == 0 {
		t.Errorf("%s: there are no routes", what)
	}
}

// A description from a recording logs in, reaches what needs a session, refreshes
// and logs out, without a value of the recording.
func TestRecordingOfTokensBecomesADescriptionThatWorks(t *testing.T) {
	b := newBrowser(t, spa(t))
	browseSPA(t, b)
	d := fromBrowser(t, b)
	before, after := play(t, d.Target, adaEnv())
	allAre(t, "before the logout", before, 200)
	allAre(t, "after the logout", after, 401)
}

// Wherever a secret of the recording would stand in a description, none is made.
func TestDescriptionWithARecordedSecretIsRefused(t *testing.T) {
	const secret = "4f2a9c0011223344"
	fine := func() *Target {
		return &Target{
			Instances: []string{"http://127.0.0.1:3000"}, Login: Steps{{Line: "POST /login", JSON: map[string]any{"password": "{{user.password}}"}}},
			Protected: []Request{Get("/me")},
		}
	}
	for name, spoil := range map[string]func(*Target){
		"":                     func(*Target) {},
		"in a path":            func(t *Target) { t.Protected[0].Line = "GET /me/" + secret + "/x" },
		"in JSON":              func(t *Target) { t.Login[0].JSON = map[string]any{"a": []any{"b " + secret}} },
		"as the name of JSON":  func(t *Target) { t.Login[0].JSON = map[string]any{secret: "a"} },
		"in a form":            func(t *Target) { t.Logout = Steps{{Line: "POST /x", Form: map[string]Template{"a": secret}}} },
		"in a header":          func(t *Target) { t.Present = &Present{Headers: map[string]Template{"X-A": "a " + secret}} },
		"in a pattern":         func(t *Target) { t.Login[0].Finds = map[string]Finder{"a": {Pattern: secret + "(.*)"}} },
		"in a pointer":         func(t *Target) { t.Login[0].Finds = map[string]Finder{"a": {JSON: "/" + secret}} },
		"in a socket":          func(t *Target) { t.Sockets = []Socket{{SSE: "/events?t=" + secret}} },
		"as a short password":  func(t *Target) { t.Login[0].JSON = map[string]any{"password": "pw"} },
		"as part of basic":     func(t *Target) { t.Login[0].JSON, t.Login[0].Basic = nil, "web:"+secret },
		"beside an unfinished": func(t *Target) { t.Login[0].Body, t.Login[0].JSON = "x"+secret+"{{random}}", nil },
	} {
		d := fine()
		spoil(d)
		s := newScribe(d.Instances[0])
		s.password, s.secrets = "pw", []string{secret}
		_, err := s.finish(d)
		if (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
