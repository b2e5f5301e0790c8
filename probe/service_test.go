package probe

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/probe/target"
)

// A service is a small API whose logout ends access, unless a flaw is planted.
type service struct {
	t       *testing.T
	flaws   map[string]bool
	key     *ecdsa.PrivateKey
	handler http.Handler

	mu       sync.Mutex
	sessions map[string]*serviceSession
	blocked  map[string]bool // texts of tokens, for the flaw of that name
	password map[string]string
	cutoff   map[string]int64
	number   int
	closers  map[string][]func() // of sockets, by session
	meetings map[string]bool     // sessions of which two refreshes have met
	locked   bool                // everybody is refused: an outage, or a lock-out

	logins     []time.Time
	metadata   string // where the key set is, by the service's metadata
	onPassword func() // called when a password has changed
}

type serviceSession struct {
	id, user   string
	ended      bool
	generation int
	refreshes  map[string]int // refresh token → generation
	used       map[string]bool
	rotating   map[string]bool // looked up, and not noted as used yet
	access     string          // the newest
	refresh    string
}

// serviceURL is where the probe finds a service. Nothing listens there: a connection
// is a pipe.
const serviceURL = "http://127.0.0.1:8000"

// newService makes one. Each flaw has a name.
func newService(t *testing.T, flaws ...string) *service {
	s := &service{
		t: t, flaws: map[string]bool{}, key: ecKey(t, elliptic.P256()), sessions: map[string]*serviceSession{}, blocked: map[string]bool{},
		password: map[string]string{"ada": "first-password", "alan": "other-password"}, cutoff: map[string]int64{}, closers: map[string][]func(){}, meetings: map[string]bool{},
	}
	for _, flaw := range flaws {
		s.flaws[flaw] = true
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /refresh", s.refresh)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /logout", func(w http.ResponseWriter, q *http.Request) {
		if !s.flaws["logout by GET"] {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		s.logout(w, q)
	})
	mux.HandleFunc("POST /logout-all", s.logoutAll)
	mux.HandleFunc("POST /password", s.changePassword)
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, q *http.Request) {
		user := s.user(w, q)
		if user == nil {
			return
		}
		if s.flaws["cached"] {
			w.Header().Set("Cache-Control", "public, max-age=60")
		}
		s.write(w, http.StatusOK, map[string]any{"user": user.user, "mail": user.user + "@example.org"})
	})
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, q *http.Request) {
		if s.user(w, q) != nil {
			s.write(w, http.StatusOK, map[string]any{"notes": []string{"milk", "bread"}})
		}
	})
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		s.write(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, q *http.Request) {
		if s.metadata == "" {
			http.NotFound(w, q)
			return
		}
		s.write(w, http.StatusOK, map[string]any{"jwks_uri": s.metadata})
	})
	s.sockets(mux)
	s.handler = s.faults(mux)
	return s
}

// faults are what no flaw is, and nothing can be concluded from. Each request takes a
// millisecond.
func (s *service) faults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if time.Sleep(time.Millisecond); s.flaws["slow"] {
			time.Sleep(9900 * time.Millisecond)
		}
		if !s.flaws["cached"] {
			w.Header().Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, q)
	})
}

func (s *service) write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.t.Log(err) // the client is gone
	}
}

func (s *service) refuse(w http.ResponseWriter) {
	s.write(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
}

func (s *service) login(w http.ResponseWriter, q *http.Request) {
	var in struct{ User, Password string }
	if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.flaws["ten logins"] {
		s.logins = slices.DeleteFunc(s.logins, func(at time.Time) bool { return now.Sub(at) > 300*time.Millisecond })
		if len(s.logins) >= 10 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		s.logins = append(s.logins, now)
	}
	if in.Password == "" || s.locked || s.password[in.User] != in.Password {
		s.refuse(w)
		return
	}
	for _, other := range s.sessions {
		if s.flaws["one session"] && other.user == in.User {
			s.end(other)
		}
	}
	s.number++
	session := &serviceSession{id: fmt.Sprint("session-", s.number), user: in.User, refreshes: map[string]int{}, used: map[string]bool{}, rotating: map[string]bool{}}
	s.sessions[session.id] = session
	s.hand(w, session)
}

// hand gives a session its next tokens.
func (s *service) hand(w http.ResponseWriter, session *serviceSession) {
	session.generation++
	refresh := randomText()
	session.refreshes[refresh] = session.generation
	access := s.access(session, map[string]any{})
	if s.flaws["refresh token is a JWT of the same kind"] {
		refresh = s.access(session, map[string]any{"use": "refresh"})
		session.refreshes[refresh] = session.generation
	}
	session.access, session.refresh = access, refresh
	s.give(w, access, refresh)
}

func (s *service) give(w http.ResponseWriter, access, refresh string) {
	if s.flaws["cookies"] {
		site := http.SameSiteNoneMode
		if s.flaws["lax"] {
			site = http.SameSiteLaxMode
		}
		http.SetCookie(w, &http.Cookie{Name: "access", Value: access, Path: "/", HttpOnly: !s.flaws["cookie for scripts"], SameSite: site})
		w.Header().Set("X-Also", "also")
		if s.flaws["another JWT"] {
			http.SetCookie(w, &http.Cookie{Name: "looks", Value: compact(`{"alg":"HS256"}`, `{"theme":"dark"}`, "x"), Path: "/"})
		}
		http.SetCookie(w, &http.Cookie{Name: "refresh", Value: refresh, Path: "/", HttpOnly: true, SameSite: site})
		s.write(w, http.StatusOK, map[string]any{"ok": true})
		return
	}
	s.write(w, http.StatusOK, map[string]any{"access_token": access, "refresh_token": refresh})
}

func randomText() string {
	noise := make([]byte, 16)
	_, _ = rand.Read(noise)
	return fmt.Sprintf("%x", noise)
}

func (s *service) access(session *serviceSession, claims map[string]any) string {
	now := time.Now()
	claims["sub"], claims["iat"] = session.user, now.Unix()
	if !s.flaws["no exp"] {
		claims["exp"] = now.Add(10 * time.Minute).Unix()
	}
	if s.flaws["long"] {
		claims["exp"] = now.Add(30 * 24 * time.Hour).Unix()
	}
	claims["s"] = session.id
	if !s.flaws["no id"] {
		claims["sid"], claims["jti"] = session.id, randomText()
	}
	token := gojwt.NewWithClaims(gojwt.SigningMethodES256, gojwt.MapClaims(claims))
	token.Header["kid"] = "k"
	text, err := token.SignedString(s.key)
	if err != nil {
		s.t.Error(err)
	}
	return text
}

// session is the one that a request carries; nil if it is not good.
func (s *service) session(q *http.Request) (*serviceSession, string) {
	text := bearer(q)
	if c, err := q.Cookie("access"); err == nil {
		text = c.Value
	}
	if s.flaws["needs both"] && q.Header.Get("X-Also") != "also" {
		return nil, text
	}
	if s.flaws["token in query"] {
		text = cmp.Or(text, q.URL.Query().Get("access_token"), q.URL.Query().Get("access"))
	}
	if s.flaws["locks at forged tokens"] && (strings.HasSuffix(text, ".") || text == "nonsense" || strings.Contains(text, "=")) {
		s.locked = true
	}
	claims, ok := s.verify(text)
	if !ok || s.locked {
		return nil, text
	}
	session := s.sessions[fmt.Sprint(claims["s"])]
	switch {
	case session == nil:
	case claims["use"] == "refresh" && !s.flaws["refresh token as bearer"]:
		s.locked = s.locked || s.flaws["locks at refresh token"]
	case s.flaws["cutoff in seconds kills the next login"] && claims["iat"].(float64) <= float64(s.cutoff[session.user]):
	case s.flaws["cutoff in seconds spares this second"] && claims["iat"].(float64) < float64(s.cutoff[session.user]):
	case s.flaws["client only"]:
		return session, text
	case s.flaws["keyed by text"]:
		if !s.blocked[text] {
			return session, text
		}
	case !session.ended:
		return session, text
	}
	return nil, text
}

func bearer(q *http.Request) string {
	scheme, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func (s *service) verify(text string) (map[string]any, bool) {
	claims := gojwt.MapClaims{}
	if s.flaws["unverified"] {
		if _, _, err := gojwt.NewParser().ParseUnverified(text+strings.Repeat(".", max(0, 2-strings.Count(text, "."))), claims); err != nil {
			return nil, false
		}
		return claims, true
	}
	_, err := gojwt.ParseWithClaims(text, claims, func(t *gojwt.Token) (any, error) {
		switch alg := t.Header["alg"]; {
		case alg == "none" && s.flaws["alg none"]:
			return gojwt.UnsafeAllowNoneSignatureType, nil
		case alg == "HS256" && s.flaws["alg confusion"]:
			der, err := x509.MarshalPKIXPublicKey(s.key.Public())
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
		case alg == "ES256":
			return s.key.Public(), nil
		}
		return nil, fmt.Errorf("algorithm %v", t.Header["alg"])
	})
	return claims, err == nil
}

func (s *service) user(w http.ResponseWriter, q *http.Request) *serviceSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, text := s.session(q)
	if claims, ok := s.verify(text); session == nil && ok && s.flaws["503 for ended sessions"] && s.sessions[fmt.Sprint(claims["s"])] != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	} else if session == nil {
		s.refuse(w)
	} else if s.flaws["request saves the session"] {
		s.mu.Unlock()
		time.Sleep(3 * time.Millisecond)
		s.mu.Lock()
		session.ended = false
	}
	return session
}

// bySecret is the session of a refresh token, and the token.
func (s *service) bySecret(q *http.Request) (*serviceSession, string) {
	var in struct {
		Token string `json:"refresh_token"`
	}
	if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
		in.Token = ""
	}
	if c, err := q.Cookie("refresh"); err == nil {
		in.Token = c.Value
	}
	for _, session := range s.sessions {
		if session.refreshes[in.Token] > 0 {
			return session, in.Token
		}
	}
	return nil, in.Token
}

func (s *service) refresh(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	session, token := s.bySecret(q)
	ok := session != nil && !s.locked && (!session.ended || s.flaws["client only"] || s.flaws["refresh outlives the password"])
	if ok && s.flaws["refresh outlives the password"] {
		session.ended = false
	}
	if ok && s.flaws["refresh reads, then writes"] {
		s.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		s.mu.Lock()
		session.ended = false
	}
	defer s.mu.Unlock()
	if !ok {
		s.refuse(w)
		return
	}
	if session.refreshes[token] < session.generation && !s.flaws["rotation reads, then writes"] || ok && s.stale(session, token) {
		switch {
		case s.flaws["grace"] && session.refreshes[token] == session.generation-1:
			s.give(w, session.access, session.refresh)
			return
		case s.flaws["refresh fails after reuse"]:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case s.flaws["locks at reuse"]:
			s.locked = true
			s.refuse(w)
			return
		case s.flaws["reuse spares access"]:
			session.refreshes = map[string]int{}
			s.refuse(w)
			return
		case s.flaws["old refresh token"]:
		case s.flaws["reuse is no alarm"]:
			s.refuse(w)
			return
		default:
			session.ended = true
			s.refuse(w)
			return
		}
	}
	if s.flaws["no rotation"] {
		s.give(w, s.access(session, map[string]any{}), token)
		return
	}
	s.hand(w, session)
}

// stale looks whether a token was used before, and a while later notes that it was:
// a row for each token, and no lock on it.
func (s *service) stale(session *serviceSession, token string) bool {
	if !s.flaws["rotation reads, then writes"] {
		return false
	}
	used := session.used[token]
	if session.rotating[token] {
		s.meetings[session.id] = true
	}
	session.rotating[token] = true
	s.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	s.mu.Lock()
	if s.flaws["the fourth meeting forks"] && len(s.meetings) < 4 {
		used = session.used[token]
	}
	session.used[token] = true
	return used
}

func (s *service) logout(w http.ResponseWriter, q *http.Request) {
	if s.flaws["cookies"] && !s.flaws["cross origin"] && !slices.Contains([]string{"", "same-origin"}, q.Header.Get("Sec-Fetch-Site")) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if kind := q.Header.Get("Content-Type"); s.flaws["logout wants JSON"] && kind != "text/plain" || s.flaws["logout wants its own type"] && kind != "application/json" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	session, text := s.session(q)
	if session == nil {
		if session, _ = s.bySecret(q); session == nil {
			s.refuse(w)
			return
		}
	}
	s.blocked[text] = true
	s.locked = s.locked || s.flaws["locks at logout"]
	s.end(session)
	if s.flaws["cookies"] {
		for _, name := range []string{"access", "refresh"} {
			http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1})
		}
	}
	if !s.flaws["browser keeps"] {
		w.Header().Set("Clear-Site-Data", `"cookies"`)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *service) end(session *serviceSession) {
	session.ended = true
	for id, all := range s.closers {
		if id != session.id && !s.flaws["logout closes all sockets"] || s.flaws["socket left open"] {
			continue
		}
		delete(s.closers, id)
		for _, stop := range all {
			if s.flaws["sockets close late"] {
				time.AfterFunc(150*time.Millisecond, stop)
			} else {
				stop()
			}
		}
	}
}

func (s *service) logoutAll(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, _ := s.session(q)
	if session == nil {
		s.refuse(w)
		return
	}
	if s.flaws["logout everywhere does nothing"] {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.cutoff[session.user] = time.Now().Unix()
	if !s.flaws["cutoff in seconds kills the next login"] && !s.flaws["cutoff in seconds spares this second"] {
		for _, other := range s.sessions {
			if other.user == session.user {
				s.end(other)
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *service) changePassword(w http.ResponseWriter, q *http.Request) {
	var in struct{ Old, New string }
	if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	session, _ := s.session(q)
	if session == nil || s.password[session.user] != in.Old || s.flaws["passwords stay"] {
		s.refuse(w)
		return
	}
	s.password[session.user] = in.New
	if s.onPassword != nil {
		s.mu.Unlock() // who waits for a mutex stops the clock of a bubble
		s.onPassword()
		s.mu.Lock()
	}
	s.locked = s.locked || s.flaws["locks at password change"]
	for _, other := range s.sessions {
		if other.user == session.user && (other != session || s.flaws["password change ends all"]) && !s.flaws["password change keeps sessions"] {
			s.end(other)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// bearerTarget describes a service that hands tokens to its clients in JSON.
const bearerTarget = `
instances: [%s]
users:
  - {name: ada, password: first-password, new_password: second-password}
  - {name: alan, password: other-password}
login: {request: POST /login, json: {user: "{{user.name}}", password: "{{user.password}}"}}
protected: [GET /me, GET /notes]
identity: {request: GET /me, find: {json: /user}}
refresh: {request: POST /refresh, json: {refresh_token: "{{refresh_token}}"}}
logout: {request: POST /logout, json: {refresh_token: "{{refresh_token}}"}}
logout_all: {request: POST /logout-all}
change_password: {request: POST /password, json: {old: "{{user.password}}", new: "{{user.new_password}}"}}
delays: [0s, 100ms]
`

// cookieTarget describes one that sets cookies.
const cookieTarget = `
instances: [%s]
users:
  - {name: ada, password: first-password, new_password: second-password}
login: {request: POST /login, json: {user: "{{user.name}}", password: "{{user.password}}"}}
protected: [GET /me, GET /notes]
refresh: {request: POST /refresh}
logout: {request: POST /logout}
delays: [0s, 100ms]
`

// probed runs the checks against a service, and returns their results. Both are in a
// bubble, whose clock goes on only when all of it waits: no machine is too slow or
// too fast for it.
func probed(t *testing.T, description string, s *service, checks ...string) *Report {
	t.Helper()
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		report = probedHere(t, t.Context(), description, s, checks...)
	})
	return report
}

// probedHere does so in the bubble that it is called in.
func probedHere(t *testing.T, ctx context.Context, description string, s *service, checks ...string) *Report {
	t.Helper()
	described, err := target.Parse(fmt.Appendf(nil, description, serviceURL), nil)
	if err != nil {
		t.Fatal(err)
	}
	listener := servePipes(t, s.handler)
	report, err := Run(ctx, described, Options{Only: checks, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return listener.dial(ctx) }})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// want compares the verdicts of a check with those expected, and says what the
// report says otherwise.
func want(t *testing.T, report *Report, check string, verdict Verdict) {
	t.Helper()
	seen := false
	for _, result := range report.Results {
		if result.Check != check {
			continue
		}
		seen = true
		if result.Verdict != verdict {
			t.Errorf("%s, %q: %s, want %s (%s%s)", check, result.Subject, result.Verdict, verdict, result.Says, result.Reason)
		}
	}
	if !seen {
		t.Errorf("%s: no result", check)
	}
	if t.Failed() {
		t.Logf("remarks: %q", report.Remarks)
		for _, result := range report.Results {
			for _, x := range result.Evidence {
				t.Logf("%s: %s %s %s %s → %d %s %s %s", result.Check, x.Role, x.Artefact, x.Request.Method, x.Request.URL, x.Status, x.Class, x.Note, x.Error)
			}
		}
	}
}
