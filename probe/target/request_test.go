package target

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestTemplatesPutValuesIn(t *testing.T) {
	vars := Vars{"access_token": "tok", "user.name": "{{x}}${Y}", "$HOME_URL": "h"}
	for template, want := range map[Template]string{
		"":                              "",
		"Bearer {{access_token}}":       "Bearer tok",
		"{{ access_token }}!":           "tok!",
		"{{user.name}}":                 "{{x}}${Y}", // a value is not looked into
		"${HOME_URL}/{{access_token}}":  "h/tok",
		"{{{{a}} $${B} { $ }} {{{{{{{{": "{{a}} ${B} { $ }} {{{{",
		"a{b}$c":                        "a{b}$c",
	} {
		got, err := template.Render(vars)
		if err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", template, got, err, want)
		}
	}
	for template, says := range map[Template]string{
		"{{": "{{", "{{a b}}": "{{", "{{a": "{{", "${": "${", "${A-B}": "${", "${A": "${",
		"{{nothing}}": "no {{nothing}}", "{{user.x}}": `no "x"`, "${NOT_SET}": "does not set NOT_SET",
	} {
		if got, err := template.Render(vars); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %q %v, want %q", template, got, err, says)
		}
	}
	var missing *MissingError
	if _, err := Template("{{nothing}}").Render(vars); !errors.As(err, &missing) || missing.Name != "nothing" {
		t.Errorf("%v", err)
	}
	one, _ := Template("{{random}}").Render(nil)
	two, _ := Template("{{random}}").Render(nil)
	if len(one) != 32 || one == two {
		t.Errorf("random: %q, %q", one, two)
	}
}

// Values are encoded for where they stand, so that none of them changes what is
// around it.
func TestRenderedValuesStayWhereTheyAre(t *testing.T) {
	hostile := "a/../b?x=1&y=2#\"',\r\nX: y {{access_token}}"
	vars := Vars{"v": Secret(hostile), "access_token": "tok"}
	r := Request{Line: "GET /users/{{v}}/notes?q={{v}}&fixed=a+b"}
	sent, err := r.Render("http://127.0.0.1:3000/app/", vars)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(sent.URL)
	if err != nil {
		t.Fatal(err)
	}
	if u.Path != "/app/users/"+hostile+"/notes" || u.Query().Get("q") != hostile || u.Query().Get("fixed") != "a b" || u.Fragment != "" {
		t.Errorf("%q", sent.URL)
	}
	r = Request{Line: "POST /x", JSON: map[string]any{"a": "{{v}}", "b": []any{"{{v}}", int64(7), true, nil}}}
	if sent, err = r.Render("http://h", vars); err != nil {
		t.Fatal(err)
	}
	document, err := decodeJSON(sent.Body)
	if err != nil || scalar(pointer(document, "/a")) != hostile || scalar(pointer(document, "/b/0")) != hostile || scalar(pointer(document, "/b/1")) != "7" {
		t.Errorf("%s %v", sent.Body, err)
	}
	r = Request{Line: "POST /x", Form: map[string]Template{"a&b": "{{v}}"}}
	if sent, err = r.Render("http://h", vars); err != nil {
		t.Fatal(err)
	}
	if form, err := url.ParseQuery(string(sent.Body)); err != nil || form.Get("a&b") != hostile || len(form) != 1 {
		t.Errorf("%s %v", sent.Body, err)
	}
	r = Request{Line: "POST /x", Multipart: map[string]Template{"a": "{{v}}"}}
	if sent, err = r.Render("http://h", vars); err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(sent.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(strings.NewReader(string(sent.Body)), params["boundary"]).NextPart()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(part); err != nil || string(text) != hostile || part.FormName() != "a" {
		t.Errorf("%q %v", text, err)
	}
	r = Request{Line: "GET /x", Headers: map[string]Template{"X-Value": "{{v}}"}}
	if _, err = r.Render("http://h", vars); err == nil || strings.Contains(err.Error(), "a/../b") {
		t.Errorf("a line break got into a header: %v", err)
	}
	r = Request{Line: "GET /x", Basic: "web:{{access_token}}"}
	if sent, err = r.Render("http://h", vars); err != nil {
		t.Fatal(err)
	}
	request, err := sent.HTTP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if user, password, ok := request.BasicAuth(); !ok || user != "web" || password != "tok" {
		t.Errorf("%q %q %v", user, password, ok)
	}
}

func TestContentTypeIsThatOfTheBodyUnlessItIsNamed(t *testing.T) {
	for want, r := range map[string]Request{
		"application/json":                  {Line: "POST /x", JSON: map[string]any{}},
		"application/x-www-form-urlencoded": {Line: "POST /x", Form: map[string]Template{}},
		"text/plain; charset=utf-8":         {Line: "POST /x", Body: "a"},
		"application/vnd.api+json":          {Line: "POST /x", JSON: []any{}, Headers: map[string]Template{"content-type": "application/vnd.api+json"}},
		"":                                  {Line: "POST /x"},
	} {
		sent, err := r.Render("http://h", nil)
		if err != nil || sent.Header.Get("Content-Type") != want || len(sent.Header.Values("Content-Type")) > 1 {
			t.Errorf("%q, want %q: %v", sent.Header, want, err)
		}
	}
}

func TestFinders(t *testing.T) {
	a := Answer{
		Header: http.Header{
			"Set-Cookie": {"sid=first; Path=/", "sid=second; HttpOnly", "XSRF-TOKEN=a%2Fb%3D"}, "X-Token": {"bearer abc"},
			"Location": {"https://h/cb?code=c1&x=%26#access_token=frag&code=c2"},
		},
		Body: []byte(`{"a":{"b/c":[{"t~":"deep"}],"n":12345678901234567890,"yes":true,"none":null,"empty":""},"html":"<input name=\"csrf\" value=\"v1\">"}`),
	}
	for want, f := range map[string]Finder{
		"deep":                 {JSON: "/a/b~1c/0/t~0"},
		"12345678901234567890": {JSON: "/a/n"},
		"true":                 {JSON: "/a/yes"},
		"second":               {Cookie: "sid"},
		"a%2Fb%3D":             {Cookie: "XSRF-TOKEN"},
		"a/b=":                 {Cookie: "XSRF-TOKEN", Unescape: true},
		"abc":                  {Header: "x-token"},
		"c1":                   {Query: "code"},
		"frag":                 {Query: "access_token"},
		"v1":                   {Pattern: `value=\\"([^"\\]+)`},
		"csrf":                 {Pattern: `csrf`},
	} {
		if got, ok := f.Find(a); !ok || got.Reveal() != want {
			t.Errorf("%s: %q %v, want %q", f, got.Reveal(), ok, want)
		}
	}
	for _, f := range []Finder{{JSON: "/a/none"}, {JSON: "/a/empty"}, {JSON: "/a/b~1c/01/t"}, {JSON: "/a/b~1c/-1"}, {JSON: "/a"}, {JSON: "/x/y"}, {Cookie: "SID"}, {Header: "Y"}, {Query: "z"}, {Pattern: "nothing"}, {Pattern: "("}, {}} {
		if got, ok := f.Find(a); ok {
			t.Errorf("%s: %q", f, got.Reveal())
		}
	}
	if _, ok := (Finder{JSON: "/a"}).Find(Answer{Body: []byte("<html>")}); ok {
		t.Error("a page was taken for JSON")
	}
}

// Tokens are found under the names that applications commonly give them.
func TestWellKnownTokensAreFound(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"a","token_type":"Bearer","refresh_token":"r","id_token":"i"}`: "access_token=a id_token=i refresh_token=r",
		`{"accessToken":"a","refreshToken":"r"}`:                                        "access_token=a refresh_token=r",
		`{"token":"a"}`:                                                                 "access_token=a",
		`{"jwt":"a","user":{"id":1}}`:                                                   "access_token=a",
		`{"access":"a","refresh":"r"}`:                                                  "access_token=a refresh_token=r", // Simple JWT of Django
		`{"user":{},"tokens":{"access":{"token":"a","expires":"x"},"refresh":{"token":"r"}}}`: "access_token=a refresh_token=r",
		`{"data":{"attributes":{"token":"a"}}}`:                                               "access_token=a",
		`{"token":"weaker","access_token":"a"}`:                                               "access_token=a",
		`{"access_token":"a","data":{"access_token":"deeper"}}`:                               "access_token=a",
		`{"csrfToken":"c","token":""}`:                                                        "csrf=c",
		`{"access_token":17,"token":null}`:                                                    "",
		`{"login":{"user":{"password_reset_token":"no"}}}`:                                    "",
		`["a"]`:                          "",
		`<html>`:                         "",
		`{"token":{"access_token":"a"}}`: "access_token=a",
		`{"Token":{"AccessToken":"a"}}`:  "access_token=a",
		`{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"token":"too deep"}}}}}}}}`: "",
	} {
		got := WellKnown(Answer{Body: []byte(body)})
		var all []string
		for _, name := range []string{"access_token", "csrf", "id_token", "refresh_token"} {
			if value, ok := got[name]; ok {
				all = append(all, name+"="+value.Reveal())
			}
		}
		if strings.Join(all, " ") != want {
			t.Errorf("%s: %v, want %s", body, all, want)
		}
	}
	got := WellKnown(Answer{Header: http.Header{"Authorization": {"Bearer h"}}, Body: []byte("{}")})
	if got["access_token"].Reveal() != "h" {
		t.Error("the token in a header was not found")
	}
}

// Nothing is contacted that the description does not name.
func TestOnlyNamedHostsAreAllowed(t *testing.T) {
	d := &Target{Instances: []string{"http://127.0.0.1:3000/api", "https://shop.example.org"}, Hosts: []string{"auth.example.org", "idp.example.org:8443", "[::1]:4000"}}
	for ref, want := range map[string]bool{
		"http://127.0.0.1:3000/x": true, "ws://127.0.0.1:3000/ws": true, "https://shop.example.org:443/": true, "wss://SHOP.example.org./": true,
		"https://auth.example.org/token": true, "http://auth.example.org/": true, "https://idp.example.org:8443/": true, "http://[::1]:4000/": true,
		"http://127.0.0.1:3001/": false, "https://127.0.0.1:3000/": false, "http://shop.example.org/": false, "http://localhost:3000/": false,
		"https://auth.example.org:444/": false, "https://evil.example.org/": false, "https://auth.example.org.evil.org/": false, "https://idp.example.org/": false,
		"ftp://auth.example.org/": false, "file:///etc/passwd": false, "//auth.example.org/": false, "https://ada@auth.example.org/": false, "/": false,
	} {
		u, err := url.Parse(ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Allows(u); got != want {
			t.Errorf("%s: %v", ref, got)
		}
	}
	d.Instances = d.Instances[1:]
	if u := (&url.URL{Scheme: "http", Host: "auth.example.org", Path: "/token"}); d.Allows(u) {
		t.Error("a redirect may lead from HTTPS to plain HTTP")
	}
	d.Instances = append(d.Instances, "http://127.0.0.1:3000/api")
	for address, want := range map[string]bool{
		"127.0.0.1:3000": true, "shop.example.org:443": true, "auth.example.org:443": true, "auth.example.org:80": true, "[::1]:4000": true,
		"127.0.0.1:80": false, "shop.example.org:80": false, "evil.example.org:443": false, "169.254.169.254:80": false,
	} {
		if got := d.AllowsAddress(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestPasswordsAreSwappedToPutThemBack(t *testing.T) {
	vars := Vars{"user.password": "old", "user.new_password": "new", "x": "y"}
	back := vars.SwapPasswords()
	if back["user.password"] != "new" || back["user.new_password"] != "old" || back["x"] != "y" || vars["user.password"] != "old" {
		t.Errorf("%v", fmt.Sprintf("%q", map[string]string{"password": back["user.password"].Reveal()}))
	}
}

func TestExpectedStatuses(t *testing.T) {
	for _, c := range []struct {
		expect    Expect
		good, bad []int
		text      string
	}{
		{nil, []int{200, 204, 302, 399}, []int{199, 400, 500, 0}, "2xx or 3xx"},
		{Expect{{200, 200}}, []int{200}, []int{201, 302}, "200"},
		{Expect{{200, 299}, {302, 302}}, []int{201, 302}, []int{301, 404}, "2xx or 302"},
	} {
		for _, status := range c.good {
			if !c.expect.Matches(status) {
				t.Errorf("%s: %d does not match", c.expect, status)
			}
		}
		for _, status := range c.bad {
			if c.expect.Matches(status) {
				t.Errorf("%s: %d matches", c.expect, status)
			}
		}
		if c.expect.String() != c.text {
			t.Errorf("%q, want %q", c.expect, c.text)
		}
	}
}
