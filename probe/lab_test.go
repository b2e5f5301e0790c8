package probe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/probe/target"
)

// A lab is an application in memory whose flaws can be switched on. It runs in a
// bubble (testing/synctest), with a network of pipes, so that a run of seconds or
// hours takes no time, and takes it in the same way every time.
type lab struct {
	flaws labFlaws

	mu       sync.Mutex
	sessions map[string]*labSession
	number   int
	issued   map[string]bool
	requests map[string]int // by path
}

type labSession struct {
	id, user string
	ended    time.Time // zero while it lives
	endedAt  int
	used     int    // when it was used last
	refresh  string // the refresh token that is good; another one ends the session
}

// labFlaws is how the lab behaves. The zero value is without a flaw: a bearer
// token and a refresh token.
type labFlaws struct {
	instances      int // default: 1
	cookies        bool
	bearerAndAll   bool                                               // routes need the cookie beside the token
	opaque         bool                                               // tokens that say nothing of themselves
	lifetime       time.Duration                                      // of access tokens; default: 15 minutes
	skew           time.Duration                                      // of the lab's clock
	takes          time.Duration                                      // a request; without it which of two comes first is a matter of luck
	alive          func(l *lab, s *labSession, at int, p string) bool // takes ended sessions, if it says so
	refreshAlive   bool                                               // refresh tokens outlive their sessions
	noLogout       bool                                               // logout does nothing
	onlyOne        int                                                // sessions that a user may have; 0: any number
	endsIdle       bool                                               // beyond onlyOne it ends not the oldest, but what was idle for longest
	logoutEndsAll  bool
	logoutEndsSome bool // of everybody
	everywhere     func(l *lab, user string)
	disturb        func(l *lab, w http.ResponseWriter, q *http.Request) bool // answers itself, if it says so
	unprotected    []string
	polite         bool                             // refuses with 200
	strictLogout   bool                             // refuses expired access tokens
	second         func(w http.ResponseWriter) bool // answers a logout of what has ended
}

func newLab(flaws labFlaws) *lab {
	if flaws.instances == 0 {
		flaws.instances = 1
	}
	if flaws.lifetime == 0 {
		flaws.lifetime = 15 * time.Minute
	}
	return &lab{flaws: flaws, sessions: map[string]*labSession{}, issued: map[string]bool{}, requests: map[string]int{}}
}

var labKey = []byte("a key of 32 bytes for HS256 here")

// probe runs the probe against the lab, in a bubble.
func (l *lab) probe(t *testing.T, o Options, more ...string) *Report {
	t.Helper()
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		report = l.probeHere(t, t.Context(), o, more...)
	})
	return report
}

// probeHere runs the probe in the bubble that it is called in.
func (l *lab) probeHere(t *testing.T, ctx context.Context, o Options, more ...string) *Report {
	t.Helper()
	described, o := l.start(t, o, more...)
	report, err := Run(ctx, described, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// start starts the lab's instances, until the end of the test.
func (l *lab) start(t *testing.T, o Options, more ...string) (*target.Target, Options) {
	t.Helper()
	listeners := map[string]*pipeListener{}
	for i := range l.flaws.instances {
		listeners[fmt.Sprintf("notes.test:%d", 8000+i)] = servePipes(t, l.handler(i))
	}
	o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		if listeners[address] == nil {
			return nil, fmt.Errorf("nothing listens at %s", address)
		}
		return listeners[address].dial(ctx)
	}
	described, err := target.Parse([]byte(l.describe(more)), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return described, o
}

func (l *lab) describe(more []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	var instances []string
	for i := range l.flaws.instances {
		instances = append(instances, fmt.Sprintf("http://notes.test:%d", 8000+i))
	}
	line("name: lab")
	line("instances: [%s]", strings.Join(instances, ", "))
	given := strings.Join(more, "\n")
	unless := func(key, format string, args ...any) {
		if !strings.Contains("\n"+given, "\n"+key+":") {
			line(format, args...)
		}
	}
	unless("users", "users: [{name: ada, password: lovelace-1815}, {name: alan, password: turing-1912}]")
	unless("login", `login: {request: POST /login, json: {user: "{{user.name}}", password: "{{user.password}}"}}`)
	unless("protected", "protected: [GET /me, GET /notes]")
	unless("identity", "identity: {request: GET /me, find: {json: /user}}")
	if !l.flaws.cookies {
		unless("refresh", `refresh: {request: POST /refresh, json: {refresh_token: "{{refresh_token}}"}}`)
	}
	if !strings.Contains(given, "logout: none") {
		unless("logout", "logout: {request: POST /logout}")
	}
	for _, text := range more {
		if text != "logout: none" {
			line("%s", text)
		}
	}
	return b.String()
}

func (l *lab) handler(instance int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", l.login)
	mux.HandleFunc("POST /refresh", l.refresh)
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, q *http.Request) { l.logout(w, q, instance) })
	// Logouts that take a refresh token, beside the one that does not.
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, q *http.Request) { l.logoutBy(w, q, instance, true) })
	mux.HandleFunc("POST /pretend", func(w http.ResponseWriter, q *http.Request) { l.logoutBy(w, q, instance, false) })
	mux.HandleFunc("POST /yes", func(w http.ResponseWriter, q *http.Request) {
		if l.session(q, "access") != nil {
			l.logout(w, q, instance)
		}
	})
	mux.HandleFunc("POST /broken", func(w http.ResponseWriter, q *http.Request) {
		if l.session(q, "access") != nil {
			l.logout(w, q, instance)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	mux.HandleFunc("POST /logout-all", func(w http.ResponseWriter, q *http.Request) {
		s := l.session(q, "access")
		if s == nil || !s.ended.IsZero() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.flaws.everywhere != nil {
			l.flaws.everywhere(l, s.user)
		} else {
			l.endAll(s.user, instance)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	for _, path := range []string{"/me", "/notes", "/files"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, q *http.Request) { l.protected(w, q, instance) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		l.mu.Lock()
		l.requests[q.URL.Path]++
		l.mu.Unlock()
		if time.Sleep(l.flaws.takes); l.flaws.disturb != nil && l.flaws.disturb(l, w, q) {
			return
		}
		mux.ServeHTTP(w, q)
	})
}

func (l *lab) token(s *labSession, use string, lifetime time.Duration) string {
	if l.flaws.opaque {
		l.number++
		return fmt.Sprintf("%s-%s-0123456789abcdef%08d", use, s.id, l.number)
	}
	l.number++
	now := time.Now().Add(l.flaws.skew)
	token, err := gojwt.NewWithClaims(gojwt.SigningMethodHS256, gojwt.MapClaims{
		"sid": s.id, "use": use, "jti": fmt.Sprint(l.number), "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}).SignedString(labKey)
	if err != nil {
		panic(err)
	}
	return token
}

func (l *lab) login(w http.ResponseWriter, q *http.Request) {
	var in struct{ User, Password string }
	passwords := map[string]string{"ada": "lovelace-1815", "alan": "turing-1912"}
	if err := json.NewDecoder(q.Body).Decode(&in); err != nil || passwords[in.User] == "" || passwords[in.User] != in.Password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	s := &labSession{id: fmt.Sprintf("session%d", l.number), user: in.User, used: l.number}
	if l.flaws.onlyOne > 0 {
		var living []string
		for id, other := range l.sessions {
			if other.user == in.User && other.ended.IsZero() {
				living = append(living, id)
			}
		}
		slices.SortFunc(living, func(a, b string) int {
			if l.flaws.endsIdle {
				return l.sessions[a].used - l.sessions[b].used
			}
			return cmp.Or(len(a)-len(b), strings.Compare(a, b))
		})
		for n := 0; len(living)-n >= l.flaws.onlyOne; n++ {
			delete(l.sessions, living[n])
		}
	}
	l.sessions[s.id] = s
	l.answer(w, s)
}

func (l *lab) answer(w http.ResponseWriter, s *labSession) {
	access, refresh := l.token(s, "access", l.flaws.lifetime), l.token(s, "refresh", 30*24*time.Hour)
	l.issued[access], l.issued[refresh] = true, true
	s.refresh = refresh
	if l.flaws.cookies || l.flaws.bearerAndAll {
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: access, Path: "/", HttpOnly: true})
		http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark", Path: "/"})
	}
	if l.flaws.cookies {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": access, "refresh_token": refresh, "expires_in": l.flaws.lifetime.Seconds()})
}

// session is the one that a request carries, ended or not.
func (l *lab) session(q *http.Request, use string) *labSession {
	text := strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
	if l.flaws.cookies || l.flaws.bearerAndAll {
		c, err := q.Cookie("sid")
		if err != nil || l.flaws.bearerAndAll && text != c.Value {
			return nil
		}
		text = c.Value
	}
	if use == "refresh" {
		var in struct {
			Token string `json:"refresh_token"`
		}
		if err := json.NewDecoder(q.Body).Decode(&in); err == nil {
			text = in.Token
		}
	}
	return l.of(text, use)
}

// expired is the session of an access token whose time may be over.
func (l *lab) expired(q *http.Request) *labSession {
	claims := gojwt.MapClaims{}
	text := strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
	if _, err := gojwt.ParseWithClaims(text, claims, func(*gojwt.Token) (any, error) { return labKey, nil }, gojwt.WithoutClaimsValidation()); err != nil || claims["use"] != "access" {
		return nil
	}
	id, _ := claims["sid"].(string)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[id]
}

func (l *lab) of(text, use string) *labSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := ""
	if l.flaws.opaque {
		parts := strings.Split(text, "-")
		if len(parts) != 3 || parts[0] != use || !l.issued[text] {
			return nil
		}
		id = parts[1]
	} else {
		claims := gojwt.MapClaims{}
		now := func() time.Time { return time.Now().Add(l.flaws.skew) }
		if _, err := gojwt.ParseWithClaims(text, claims, func(*gojwt.Token) (any, error) { return labKey, nil }, gojwt.WithTimeFunc(now)); err != nil || claims["use"] != use {
			return nil
		}
		id, _ = claims["sid"].(string)
	}
	if s := l.sessions[id]; s != nil {
		l.number++
		s.used = l.number
		return s
	}
	return nil
}

func (l *lab) refresh(w http.ResponseWriter, q *http.Request) {
	var in struct {
		Token string `json:"refresh_token"`
	}
	if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s := l.of(in.Token, "refresh")
	l.mu.Lock()
	defer l.mu.Unlock()
	if s != nil && in.Token != s.refresh && s.ended.IsZero() {
		s.ended = time.Now()
	}
	if s == nil || !s.ended.IsZero() && !(l.flaws.refreshAlive && in.Token == s.refresh) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if !s.ended.IsZero() {
		l.number++
		s = &labSession{id: fmt.Sprintf("session%d", l.number), user: s.user}
		l.sessions[s.id] = s
	}
	l.answer(w, s)
}

func (l *lab) logout(w http.ResponseWriter, q *http.Request, instance int) {
	s := l.session(q, "access")
	if s == nil && !l.flaws.strictLogout {
		s = l.expired(q)
	}
	if s == nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.ended.IsZero() && l.flaws.second != nil && l.flaws.second(w) {
		return
	}
	switch {
	case l.flaws.noLogout:
	case l.flaws.logoutEndsAll:
		l.endAll(s.user, instance)
	case l.flaws.logoutEndsSome:
		l.endAll("ada", instance)
		l.endAll("alan", instance)
	case s.ended.IsZero():
		s.ended, s.endedAt = time.Now(), instance
	}
	if l.flaws.cookies {
		http.SetCookie(w, &http.Cookie{Name: "sid", Path: "/", MaxAge: -1})
	}
	w.WriteHeader(http.StatusNoContent)
}

// logoutBy takes either token. For a refresh token it may only pretend.
func (l *lab) logoutBy(w http.ResponseWriter, q *http.Request, instance int, really bool) {
	if l.session(q, "access") != nil {
		l.logout(w, q, instance)
		return
	}
	s := l.session(q, "refresh")
	if s == nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if really && s.ended.IsZero() {
		s.ended, s.endedAt = time.Now(), instance
	}
	w.WriteHeader(http.StatusNoContent)
}

func (l *lab) endAll(user string, instance int) {
	for _, s := range l.sessions {
		if s.user == user && s.ended.IsZero() {
			s.ended, s.endedAt = time.Now(), instance
		}
	}
}

func (l *lab) protected(w http.ResponseWriter, q *http.Request, instance int) {
	s := l.session(q, "access")
	l.mu.Lock()
	ended := s != nil && !s.ended.IsZero()
	l.mu.Unlock()
	allowed := s != nil && (!ended || l.flaws.alive != nil && l.flaws.alive(l, s, instance, q.URL.Path))
	w.Header().Set("Content-Type", "application/json")
	if !allowed && !slices.Contains(l.flaws.unprotected, q.URL.Path) {
		if !l.flaws.polite {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"problem": "please log in"})
		return
	}
	user := "somebody"
	if s != nil {
		user = s.user
	}
	if slices.Contains(l.flaws.unprotected, q.URL.Path) {
		user = "the public"
	}
	body := map[string]any{"user": user, "notes": []string{"milk", "bread"}}
	if q.URL.Path != "/me" {
		delete(body, "user")
	}
	_ = json.NewEncoder(w).Encode(body)
}

// A pipeListener is a network of one address.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// servePipes serves such a network until the end of the test.
func servePipes(t *testing.T, handler http.Handler) *pipeListener {
	t.Helper()
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	go server.Serve(listener) //nolint:errcheck // it ends with the test
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return listener
}

func (p *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// verdict is that of a check: the worst of its results.
func verdict(r *Report, check string) Verdict {
	worst := Verdict("")
	for _, v := range []Verdict{NotApplicable, Pass, Note, Inconclusive, Finding} {
		for _, result := range r.Results {
			if result.Check == check && result.Verdict == v {
				worst = v
			}
		}
	}
	return worst
}

func found(r *Report) []string {
	var all []string
	for _, result := range r.Results {
		if result.Verdict == Finding && !slices.Contains(all, result.Check) {
			all = append(all, result.Check)
		}
	}
	return all
}

// describeResults is for the messages of tests.
func describeResults(r *Report) string {
	var b strings.Builder
	for _, result := range r.Results {
		fmt.Fprintf(&b, "%s %s %q: %s%s\n", result.Verdict, result.Check, result.Subject, result.Says, result.Reason)
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(&b, "remark: %s\n", remark)
	}
	fmt.Fprintf(&b, "%d requests, %s\n", r.Requests, r.Ended.Sub(r.Started))
	return b.String()
}
