// Package targets holds applications for the probe to be tried on: a notes
// application that is sound, with one switch for each flaw that people build into
// theirs, and servers that mean harm. All of them are real HTTP servers, on
// loopback or, in a bubble (testing/synctest), on pipes.
//
// Nothing here knows the probe. Each flaw is proven by hand, with plain requests,
// in this package's own tests: it shows where it is planted, and not in the twin
// that is the same application without it.
package targets

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
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options say how the application is built. The zero value is sound: bearer
// tokens, one instance, a table of sessions that every request looks at.
type Options struct {
	// Pipes: it listens in memory, for a test in a bubble, and not on loopback.
	Pipes bool

	// Its shape.
	Instances int           // of the application, on one database; 0 is 1
	Access    time.Duration // for which an access token lives; 0 is 5 minutes
	Cookies   bool          // a session is an opaque id in a cookie, and there are no tokens
	Jar       bool          // the tokens are in cookies of their own, and nowhere else
	Single    bool          // a login ends the user's other sessions
	Strict    bool          // a token has one spelling in base64
	Form      bool          // so it is, and the login is an HTML form with a token against forgery, which redirects
	Blocklist *Blocklist    // access tokens stand unless they are on it; nil: if their session does
	Cutoff    Cutoff        // what "logout everywhere" writes down
	Repeats   bool          // what a session is given twice within a second is the same text
	Takes     time.Duration // how long a refresh, or a request of a cookie, works between reading and writing
	Answers   Answers       // what the protected routes look like
	Trouble   Trouble       // what every route may do now and then
	Grace     time.Duration // for which the refresh token of before is answered with its successor once more

	// Its flaws.
	LogoutForgets    bool     // logout tells the client to forget its tokens
	AccessSurvives   bool     // logout ends the refresh token alone
	RefreshSurvives  bool     // logout ends the access token alone
	Blind            []string // routes that look at signatures only; "*" is all of them
	VerdictCache     time.Duration
	EndsLater        time.Duration // logout is answered, and takes effect so much later
	RevivesByRefresh bool          // a refresh writes back the whole session that it has read
	RevivesByTouch   bool          // so does any request
	RotatedAccepted  bool          // a refresh token that has been used is as good as new
	Forks            bool          // two refreshes at once get a successor each
	ReuseTolerated   bool          // it is refused, and the family lives on
	ForgetsEarlier   bool          // logout ends the access token that it is shown, and not those of before the last refresh
	RefreshLogout    bool          // logout with a refresh token ends that alone
	ExpiredStays     bool          // logout refuses an expired access token, and ends nothing
	AnyUse           bool          // a refresh token is taken where access tokens are
	SocketsStay      bool          // open sockets outlive the session
	StreamsStay      bool          // so do open event streams
	LogoutByGet      bool          // GET /logout logs out
	AnyOrigin        bool          // cookies are taken with requests from anybody's page
	OnlyThis         bool          // "logout everywhere" ends one session
	EverybodyOut     bool          // it ends everybody's
	OthersOut        bool          // logout ends all sessions of the user
	PasswordKeeps    bool          // a new password ends no session
	AlgNone          bool          // tokens without a signature by their own word
	AlgConfused      bool          // tokens signed with the public key as a secret
	SignatureLoose   bool          // a signature that is missing is none that is wrong
	WithoutID        bool          // tokens have no jti
	Eternal          bool          // tokens have no exp
	TokenInURL       bool          // the login redirects to an address that holds the token
	PlainCookies     bool          // cookies that scripts can read and other sites send
	Cached           bool          // nothing forbids to keep answers
	Remains          bool          // logout does not ask the browser to clear what it keeps
}

// Answers say what protected routes look like, which is no flaw.
type Answers struct {
	Drift  bool // no two bodies are alike, in length, order or content
	Empty  bool // 204 without a body
	Polite bool // a refusal is 200 with an error in its body
	Blank  bool // a refusal is 200 with an object that has no members
	Door   bool // a refusal is a redirect to the login
	Status int  // of a refusal, if it is not 401
}

// Trouble is what makes an experiment worth nothing.
type Trouble struct {
	Every int // each request of this number is answered with 500
	Limit int // requests a second, beyond which the answer is 429
	Locks int // logins of one user, after which there are no more: 423
}

// Notes is the application as it runs.
type Notes struct {
	Options
	URLs []string // of the instances
	// Dial connects to them; nil if they are on loopback.
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
	hands     *http.Client
	db        *database
	key       *ecdsa.PrivateKey
	public    []byte // the public key, which everybody can fetch, as text
	sockets   *hub
	instances []*instance
	requests  atomic.Int64
	inFlight  atomic.Int64
	most      atomic.Int64 // that were in flight at the same time

	given sync.Map // of grant, by session and second, if it repeats itself

	// refreshing is held by who writes back what it has read: one after the other. A
	// mutex would stop the clock of a bubble.
	refreshing chan struct{}
}

// An instance is one process of the application: it has a memory of its own.
type instance struct {
	*Notes
	verdicts cache
	own      list // a blocklist of this process
}

// Start starts the application, until the test ends.
func Start(t testing.TB, o Options) *Notes {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := &Notes{Options: o, db: newDatabase(), key: key, sockets: newHub(), refreshing: make(chan struct{}, 1),
		public: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	if a.Access == 0 {
		a.Access = 5 * time.Minute
	}
	listen := loopback
	if o.Pipes {
		n := &network{listeners: map[string]*pipeListener{}}
		listen, a.Dial = n.serve, n.dial
	}
	a.hands = newHands(t, a.Dial)
	for range max(1, o.Instances) {
		i := &instance{Notes: a}
		a.instances = append(a.instances, i)
		a.URLs = append(a.URLs, listen(t, i.handler()))
	}
	t.Cleanup(a.sockets.closeAll)
	return a
}

func loopback(t testing.TB, handler http.Handler) (url string) {
	s := httptest.NewServer(handler)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// The users and their passwords at the start.
var passwords = map[string]string{"ada": "lovelace", "alan": "turing"}

// Requests is how many the application has been sent, and how many of them at most
// at the same time.
func (a *Notes) Requests() (all, atOnce int) { return int(a.requests.Load()), int(a.most.Load()) }

func (i *instance) handler() http.Handler {
	mux := http.NewServeMux()
	if i.Form {
		mux.HandleFunc("GET /login", i.showLogin)
		mux.HandleFunc("POST /login", i.submitLogin)
		mux.HandleFunc("GET /{$}", i.home)
	} else {
		mux.HandleFunc("POST /login", i.login)
	}
	mux.HandleFunc("POST /refresh", i.refresh)
	mux.HandleFunc("POST /logout", i.logout)
	if i.LogoutByGet {
		mux.HandleFunc("GET /logout", i.logout)
	}
	mux.HandleFunc("POST /logout-all", i.logoutAll)
	mux.HandleFunc("POST /password", i.changePassword)
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), Algorithm: "ES256", Use: "sig"}}})
	})
	for _, route := range []string{"me", "notes", "files", "pages/{n}"} {
		mux.HandleFunc("GET /api/"+route, i.guarded(i.show))
	}
	mux.HandleFunc("POST /api/notes", i.guarded(i.show))
	mux.HandleFunc("GET /socket", i.guarded(i.socket))
	mux.HandleFunc("GET /events", i.guarded(i.stream))
	var handler http.Handler = mux
	if !i.AnyOrigin && (i.cookies() || i.Jar) {
		handler = http.NewCrossOriginProtection().Handler(handler)
	}
	return i.troubled(i.kept(handler))
}

// cookies reports whether a session is in a cookie; the browser's are all that
// carries it also with Jar.
func (a *Notes) cookies() bool { return a.Cookies || a.Form }

// kept says whether answers may be kept.
func (i *instance) kept(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !i.Cached {
			w.Header().Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, r)
	})
}

// troubled answers some requests as an application does that has trouble.
func (i *instance) troubled(next http.Handler) http.Handler {
	var window, sent atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, now := i.requests.Add(1), i.inFlight.Add(1)
		defer i.inFlight.Add(-1)
		for most := i.most.Load(); now > most && !i.most.CompareAndSwap(most, now); most = i.most.Load() {
		}
		if every := int64(i.Trouble.Every); every > 0 && n%every == 0 {
			http.Error(w, "something went wrong", http.StatusInternalServerError)
			return
		}
		if limit := int64(i.Trouble.Limit); limit > 0 {
			if now := time.Now().Unix(); window.Swap(now) != now {
				sent.Store(0)
			}
			if sent.Add(1) > limit {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "slow down", http.StatusTooManyRequests)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// guarded lets a request pass that brings what stands.
func (i *instance) guarded(next func(http.ResponseWriter, *http.Request, claims)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := i.check(r)
		switch {
		case err == nil:
			next(w, r, who)
			if i.RevivesByTouch {
				time.Sleep(i.Takes)
				i.db.put(who.row) // the session as it was when the request came, with another time
			}
		case err == errDown:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "try again", http.StatusServiceUnavailable)
		case i.Answers.Door || i.Form:
			http.Redirect(w, r, "/login?next="+r.URL.Path, http.StatusFound)
		case i.Answers.Polite:
			reply(w, http.StatusOK, map[string]any{"error": "please log in"})
		case i.Answers.Blank:
			reply(w, http.StatusOK, map[string]any{})
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, cmp.Or(i.Answers.Status, http.StatusUnauthorized), map[string]any{"error": "please log in"})
		}
	}
}

// show is every protected route's answer.
func (i *instance) show(w http.ResponseWriter, r *http.Request, who claims) {
	if i.Answers.Empty {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body := map[string]any{"subject": who.Subject, "route": r.URL.Path}
	if i.Answers.Drift {
		body["now"] = time.Now().Format(time.RFC3339Nano)
		body["advice_"+rand.Text()[:4]] = strings.Repeat(rand.Text(), int(time.Now().UnixNano()%50))
	}
	if i.Form {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>Notes</title><h1>Notes of <b id=subject>%s</b></h1><p>%s</p>", who.Subject, r.URL.Path)
		return
	}
	reply(w, http.StatusOK, body)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	return json.NewDecoder(http.MaxBytesReader(w, r.Body, 10_000)).Decode(v) == nil
}

// blind reports whether a route looks at no state.
func (i *instance) blind(r *http.Request) bool {
	return slices.Contains(i.Blind, "*") || slices.Contains(i.Blind, r.URL.Path)
}
