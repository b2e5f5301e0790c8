package target

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// pages is an application of the old kind: forms with hidden tokens, a cookie
// before the login and another one after it, redirects.
func pages(t *testing.T) string {
	var mu sync.Mutex
	n := 0
	csrf, live := map[string]string{}, map[string]bool{}
	fresh := func(prefix string) string { n++; return fmt.Sprintf("%s%032x", prefix, n*7919) }
	mux := http.NewServeMux()
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			f(w, r)
		})
	}
	cookie := func(r *http.Request, name string) string {
		if c, err := r.Cookie(name); err == nil {
			return c.Value
		}
		return ""
	}
	handle("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		pre, token := fresh("pre-"), fresh("")
		csrf[pre] = token
		http.SetCookie(w, &http.Cookie{Name: "visit", Value: pre, Path: "/"})
		fmt.Fprintf(w, `<form method=post><input type="hidden" name="_csrf" value="%s"><input name=user></form>`, token)
	})
	handle("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if csrf[cookie(r, "visit")] == "" || r.PostFormValue("_csrf") != csrf[cookie(r, "visit")] || r.PostFormValue("user[email]") != adaName || r.PostFormValue("user[password]") != adaPassword {
			fmt.Fprint(w, "wrong")
			return
		}
		sid := fresh("s-")
		live[sid] = true
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: sid, Path: "/", HttpOnly: true})
		http.Redirect(w, r, "/home", http.StatusFound)
	})
	handle("GET /home", func(w http.ResponseWriter, r *http.Request) {
		sid := cookie(r, "sid")
		if !live[sid] {
			http.Redirect(w, r, "/login", http.StatusFound)
			return
		}
		csrf[sid] = fresh("")
		fmt.Fprintf(w, "<html><head>\n<meta name=\"csrf-token\" content=\"%s\">\n</head>Hello %s</html>", csrf[sid], adaName)
	})
	handle("GET /account/settings", func(w http.ResponseWriter, r *http.Request) {
		if !live[cookie(r, "sid")] {
			http.Redirect(w, r, "/login", http.StatusFound)
			return
		}
		fmt.Fprint(w, "<html>settings</html>")
	})
	handle("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		sid := cookie(r, "sid")
		if !live[sid] || r.Header.Get("X-CSRF-Token") != csrf[sid] {
			w.WriteHeader(403)
			return
		}
		delete(live, sid)
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

var (
	hiddenInput = regexp.MustCompile(`name="_csrf" value="([^"]+)"`)
	metaTag     = regexp.MustCompile(`csrf-token" content="([^"]+)"`)
)

func TestRecordingOfFormsAndCookiesBecomesADescriptionThatWorks(t *testing.T) {
	b := newBrowser(t, pages(t))
	form := url.Values{"_csrf": {hiddenInput.FindStringSubmatch(b.do("GET", "/login", ""))[1]}, "user[email]": {adaName}, "user[password]": {adaPassword}, "commit": {"Log in"}}
	home := b.do("POST", "/login", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	b.do("GET", "/account/settings", "")
	b.do("POST", "/logout", "", "X-CSRF-Token", metaTag.FindStringSubmatch(home)[1])
	d := fromBrowser(t, b)
	before, after := play(t, d.Target, adaEnv())
	allAre(t, "before the logout", before, 200)
	allAre(t, "after the logout", after, 302)
}

// laravel is an application with a cookie whose value has to come back unescaped
// in a header of every request that changes something.
func laravel(t *testing.T) string {
	var mu sync.Mutex
	n := 0
	tokens, live := map[string]string{}, map[string]bool{}
	mux := http.NewServeMux()
	handle := func(pattern string, f func(w http.ResponseWriter, r *http.Request, sid string)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			sid := ""
			if c, err := r.Cookie("app_session"); err == nil {
				sid = c.Value
			}
			w.Header().Set("Content-Type", "application/json")
			f(w, r, sid)
		})
	}
	renew := func(w http.ResponseWriter) string {
		n++
		sid := fmt.Sprintf("%040x", n*104729)
		tokens[sid] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("token %d of a session", n)))
		http.SetCookie(w, &http.Cookie{Name: "app_session", Value: sid, Path: "/"})
		w.Header().Add("Set-Cookie", "XSRF-TOKEN="+url.QueryEscape(tokens[sid])+"; Path=/")
		return sid
	}
	handle("GET /sanctum/csrf-cookie", func(w http.ResponseWriter, _ *http.Request, _ string) { renew(w); w.WriteHeader(204) })
	handle("POST /login", func(w http.ResponseWriter, r *http.Request, sid string) {
		if sid == "" || r.Header.Get("X-XSRF-TOKEN") != tokens[sid] || r.PostFormValue("password") != adaPassword {
			w.WriteHeader(419)
			return
		}
		live[renew(w)] = true
		fmt.Fprint(w, `{"two_factor":false}`)
	})
	handle("GET /api/user", func(w http.ResponseWriter, _ *http.Request, sid string) {
		if !live[sid] {
			w.WriteHeader(401)
			return
		}
		fmt.Fprintf(w, `{"id":1,"name":"Ada","email":%q}`, adaName)
	})
	handle("POST /logout", func(w http.ResponseWriter, r *http.Request, sid string) {
		if !live[sid] || r.Header.Get("X-XSRF-TOKEN") != tokens[sid] {
			w.WriteHeader(419)
			return
		}
		delete(live, sid)
		w.WriteHeader(204)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestRecordingWithAnEscapedCookieBecomesADescriptionThatWorks(t *testing.T) {
	b := newBrowser(t, laravel(t))
	home, _ := url.Parse(b.base)
	xsrf := func() string {
		for _, c := range b.client.Jar.Cookies(home) {
			if c.Name == "XSRF-TOKEN" {
				value, _ := url.QueryUnescape(c.Value)
				return value
			}
		}
		return ""
	}
	b.do("GET", "/sanctum/csrf-cookie", "")
	form := url.Values{"email": {adaName}, "password": {adaPassword}}
	b.do("POST", "/login", form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "X-XSRF-TOKEN", xsrf())
	b.do("GET", "/api/user", "")
	b.do("POST", "/logout", "", "X-XSRF-TOKEN", xsrf())
	d := fromBrowser(t, b)
	before, after := play(t, d.Target, adaEnv())
	allAre(t, "before the logout", before, 200)
	allAre(t, "after the logout", after, 401)
	if d.Target.Identity == nil || d.Target.Identity.Find.JSON != "/email" {
		t.Errorf("identity: %+v", d.Target.Identity)
	}
}

// code is a login whose redirect brings a code that is exchanged for a token.
func code(t *testing.T) string {
	var mu sync.Mutex
	codes, live, n := map[string]bool{}, map[string]bool{}, 0
	mux := http.NewServeMux()
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { mu.Lock(); defer mu.Unlock(); f(w, r) })
	}
	handle("POST /authorize", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("username") != adaName || r.PostFormValue("password") != adaPassword {
			w.WriteHeader(401)
			return
		}
		n++
		code := fmt.Sprintf("c0de-%030x", n)
		codes[code] = true
		http.Redirect(w, r, "/callback?code="+code+"&state="+r.PostFormValue("state"), http.StatusFound)
	})
	handle("GET /callback", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<script src=/app.js></script>")
	})
	handle("POST /oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if !codes[r.PostFormValue("code")] || id != "web-app" || secret != "s3cr3t-of-the-client" {
			w.WriteHeader(400)
			return
		}
		delete(codes, r.PostFormValue("code"))
		n++
		token := fmt.Sprintf("at-%032x", n)
		live[token] = true
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":300}`, token)
	})
	handle("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if !live[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
			w.WriteHeader(401)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"sub":"u-1"}`)
	})
	handle("POST /oauth2/revoke", func(_ http.ResponseWriter, r *http.Request) { delete(live, r.PostFormValue("token")) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestRecordingOfACodeThatIsExchangedBecomesADescriptionThatWorks(t *testing.T) {
	b := newBrowser(t, code(t))
	kind := []string{"Content-Type", "application/x-www-form-urlencoded"}
	form := url.Values{"username": {adaName}, "password": {adaPassword}, "state": {"x7Gh2Kp9Qw4Zt6Lm"}}
	b.do("POST", "/authorize", form.Encode(), kind...)
	location := b.entries[len(b.entries)-1]["request"].(map[string]any)["url"].(string)
	landed, _ := url.Parse(location)
	exchange := url.Values{"grant_type": {"authorization_code"}, "code": {landed.Query().Get("code")}}
	answer := b.do("POST", "/oauth2/token", exchange.Encode(), append(kind, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("web-app:s3cr3t-of-the-client")))...)
	token := regexp.MustCompile(`"access_token":"([^"]+)"`).FindStringSubmatch(answer)[1]
	b.do("GET", "/userinfo", "", "Authorization", "Bearer "+token)
	b.do("POST", "/oauth2/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode(), kind...)
	d := fromBrowser(t, b)
	var more []string
	for _, v := range d.Target.Variables() {
		if strings.Contains(v.Name, "PASSWORD_OF") {
			more = append(more, v.Name, "s3cr3t-of-the-client")
		}
	}
	before, after := play(t, d.Target, adaEnv(more...))
	allAre(t, "before the logout", before, 200)
	allAre(t, "after the logout", after, 401)
}

// Browsers leave cookies and Authorization out of what they export. The draft says
// so, and is still one to go on with.
func TestRecordingWithoutSensitiveDataIsSaidToBeOne(t *testing.T) {
	b := newBrowser(t, spa(t))
	b.clean = true
	browseSPA(t, b)
	d := fromBrowser(t, b)
	if !strings.Contains(strings.Join(d.Remarks, "\n"), "sensitive data") {
		t.Errorf("remarks: %q", d.Remarks)
	}
	before, after := play(t, d.Target, adaEnv())
	allAre(t, "before the logout", before, 200)
	allAre(t, "after the logout", after, 401)
}

// What other programs write into a recording is no reason to refuse it.
func TestRecordingWithOddEntriesIsRead(t *testing.T) {
	odd := []string{
		`{}`, `{"request":7}`, `{"request":{"method":"GET","url":"data:text/plain,x"}}`, `{"request":{"method":"GET","url":"http://127.0.0.1:3000/x","headers":"none"},"response":{"status":"200"}}`,
		`{"request":{"method":"GET","url":"wss://127.0.0.1:3000/ws"},"response":{"status":101}}`, `{"request":{"method":"OPTIONS","url":"http://127.0.0.1:3000/login"}}`,
		`{"request":{"method":"GET","url":"http://127.0.0.1:3000/a.png"},"response":{"status":200,"content":{"mimeType":"image/png","encoding":"base64","text":"%%%"}}}`,
		`{"request":{"method":"GET","url":":"},"response":null}`,
	}
	recording := `{"log":{"version":"1.2","pages":[{"entries":1}],"entries":[` + strings.Join(append(odd,
		harLine("POST", "/login", `{"user":"ada","password":"pw"}`, `{"token":"abc"}`, ""), odd[4], harLine("GET", "/me", "", `{"sub":"ada"}`, "abc"), odd[1]), ",") + `]},"comment":"x"}`
	d, err := FromHAR([]byte("\xef\xbb\xbf"+recording), "")
	if err != nil {
		t.Fatal(err)
	}
	// However short the token is.
	if got := d.Target.Login[0].Finds["access_token"]; got != (Finder{JSON: "/token"}) || len(d.Target.Protected) != 1 {
		t.Errorf("%+v %+v", got, d.Target)
	}
}

func TestRecordingThatIsNoneIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "text": "hello", "array": "[]", "no entries": `{"log":{}}`, "entries are no list": `{"log":{"entries":7}}`,
		"cut off": `{"log":{"entries":[{"request":{"method":"GET","url":"http://a/"}}`, "nothing in it": `{"log":{"entries":[]}}`,
		"no login": `{"log":{"entries":[{"request":{"method":"GET","url":"http://a/"}}]}}`,
	} {
		if d, err := FromHAR([]byte(text), ""); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if _, err := FromHAR(make([]byte, MaxHAR+1), ""); err == nil {
		t.Error("a recording that is too large was read")
	}
}
