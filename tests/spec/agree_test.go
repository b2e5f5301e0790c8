package spec

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLanguagesAgree sends the same random requests to the guarded applications
// of all languages, with RESCIND_SLOW=1: whatever stands in the headers, they
// give the same answer, make the same kinds of calls, and set as many cookies.
//
// Left out are headers that come twice, which servers join in front of Python,
// characters that no cookie may hold, with which net/http drops one, and bodies,
// which frameworks parse first.
func TestLanguagesAgree(t *testing.T) {
	if os.Getenv("RESCIND_SLOW") != "1" {
		return
	}
	server := startServer(t)
	languages := append(nodeLanguages(t), pythonLanguage(t), goLanguage())
	for name, cookies := range map[string]string{
		"bearer": `null`, "cookies": `true`, "trusted": `{"trusted_origins":["https://trusted.example"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, server.URL)
			a := started{app: app{Cookies: json.RawMessage(cookies), Timeout: 5000}, URL: w.url, ID: "app", Secret: server.vars["secret_app"]}
			plays := map[string]reply{}
			for call, body := range map[string]string{
				"POST /oauth/introspect": `{"active":true,"token_type":"Bearer","sub":"ada","client_id":"app","aud":["notes"],"exp":4102444800,"iat":1700000000,"jti":"AAAAAAAAAAAAAAAAAAAAAA","sid":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
				"POST /oauth/token":      `{"session":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","access_token":"abc","token_type":"Bearer","expires_in":300,"refresh_token":"rsr_abc","refresh_token_timeout":3600,"authorization_expires_in":86400}`,
				"POST /v1/logout":        `{"position":1,"epoch":"e","changed":true}`,
			} {
				plays[call] = reply{JSON: json.RawMessage(body)}
			}
			w.begin(plays)
			var names, addrs []string
			for _, l := range languages {
				names, addrs = append(names, l.name), append(addrs, l.start(t, []started{a})...)
			}
			seed := uint64(time.Now().UnixNano())
			rnd := rand.New(rand.NewPCG(seed, 0))
			for range 3000 {
				request, method := randomRequest(rnd)
				var said []string
				for _, addr := range addrs {
					said = append(said, w.hear(t, addr, request, method))
				}
				for i := range said {
					if said[i] != said[0] {
						t.Errorf("seed %d: %q\n%s: %s\n%s: %s", seed, request, names[0], said[0], names[i], said[i])
					}
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// hear sends a request to an application, and says what came of it.
func (w *wire) hear(t *testing.T, addr, request, method string) string {
	t.Helper()
	w.mu.Lock()
	w.calls = nil
	w.mu.Unlock()
	a, err := send(addr, []byte(request), method)
	must(t, err)
	said := fmt.Sprint(a.status, " ", a.header["Www-Authenticate"], a.header["Retry-After"], " ", len(a.header["Set-Cookie"]), " cookies ", slices.Compact(w.heard()))
	if body, ok := a.json.(map[string]any); ok && a.status >= 400 {
		said += fmt.Sprint(" ", body["error"])
	}
	return said
}

// randomRequest is one with headers that mean something, or nearly.
func randomRequest(rnd *rand.Rand) (request, method string) {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	mutate := func(s string, junk ...string) string {
		if rnd.IntN(3) > 0 {
			return s
		}
		i := rnd.IntN(len(s) + 1)
		if rnd.IntN(3) == 0 && i < len(s) {
			return s[:i] + s[i+1:]
		}
		return s[:i] + pick(junk...) + s[i:]
	}
	method = pick("GET", "GET", "HEAD", "POST", "POST", "POST", "PUT", "DELETE")
	host := pick("127.0.0.1", "localhost:80", "app.example.com")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n", method, pick("/api/me", "/api/me", "/auth/refresh", "/auth/logout", "/auth/logout-all"), host)
	header := func(percent int, name, value string) {
		if rnd.IntN(100) < percent {
			fmt.Fprintf(&b, "%s: %s\r\n", name, strings.TrimRight(value, " \t")) // not every server does
		}
	}
	ascii := []string{" ", "=", "%20", "a", "abc", "/", "null", ":", "@", "://", "0", ".", "-", "A", ";", ","}
	token := append([]string{"\t", "\xa0", "é", "\"", "\\", "  "}, ascii[:len(ascii)-1]...)
	header(50, "Authorization", mutate(pick("Bearer abc", "bearer  abc", "Bearer", "Basic abc", "Bearer a b", "Bearer abc=="), token...))
	header(60, "Cookie", mutate(pick("__Host-rescind-at=abc", "__Host-rescind-rt=rsr_abc", "__Host-rescind-at=abc; __Host-rescind-rt=rsr_abc", "a=b; __Host-rescind-at=abc",
		"__Host-rescind-at=abc; __Host-rescind-at=abc", "rescind-at=abc; __Secure-rescind-rt=rsr_abc", "rescind-at=abc", "__Host-rescind-at="), ascii...))
	header(60, "Sec-Fetch-Site", mutate(pick("same-origin", "none", "cross-site", "same-site", ""), "a", "-", "A", ",", " "))
	header(50, "Origin", mutate(pick("http://"+host, "https://"+host, "https://evil.example", "https://trusted.example", "null", ""), "a", ".", ":", "0", "A"))
	header(10, "Upgrade", "websocket")
	if method != "GET" && method != "HEAD" {
		b.WriteString("Content-Length: 0\r\n")
	}
	b.WriteString("\r\n")
	return b.String(), method
}
