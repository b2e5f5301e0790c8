// Package guard protects net/http handlers: every request's access token is
// checked before the handler runs, so that
//
//	When a revocation returns without error, every check that begins
//	afterwards, on any guard, on any node, fails.
//
// [Guard] takes bearer tokens by RFC 6750, from the Authorization header alone.
// [Cookies] keeps the tokens of a browser in cookies that scripts cannot read,
// and brings login, refresh and logout for them.
//
// Answers a guard gives itself, and no others; what the handler answers is never
// touched, whatever its status:
//
//	401  no credentials (a challenge without an error code), or a token that does not stand
//	403  the token stands and lacks a scope; or a cookie came with a request from another origin
//	400  two credentials, or a header that is no bearer header
//	503  the state could not be known; the token may be as good as ever
//
// They carry Cache-Control: no-store and a small JSON object. The ResponseWriter
// is handed on as it came: [http.Flusher], [http.Hijacker] and
// [http.ResponseController] work as they do without a guard.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/rescind/rescind"
)

// Checker says whether an access token stands. It is asked on every request and
// may be called concurrently. An error wraps [rescind.ErrInactive] if the token
// is no good, is [rescind.ErrScope] if it is good for something else, and wraps
// [rescind.ErrUnavailable] if that could not be known; every other error counts
// as that one.
//
// [rescind.Authority] is a Checker, and so is the client of a remote server. A
// cache that answers from memory while it holds a lease has its place here too:
// it is a Checker that asks another one, and nothing above it changes.
type Checker interface {
	Check(ctx context.Context, token string, want rescind.Want) (rescind.Access, error)
}

// Options of a [Guard]. The zero value is ready for use.
type Options struct {
	Realm  string       // of the challenge; default "rescind"
	Logger *slog.Logger // hears why a state could not be known; default: nobody

	// Now tells how old a token is; default: time.Now. Whether one stands, the
	// checker knows alone.
	Now func() time.Time
}

// Guard checks the token of each request before a handler runs. All methods may
// be called concurrently.
type Guard struct {
	checker Checker
	realm   string
	log     *slog.Logger
	now     func() time.Time
}

// New returns a guard that asks checker, which must not be nil.
func New(checker Checker, o Options) *Guard {
	if checker == nil {
		panic("guard: a guard without a checker would have to guess")
	}
	g := &Guard{checker: checker, realm: quotable(o.Realm), log: o.Logger, now: o.Now}
	if g.realm == "" {
		g.realm = "rescind"
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	return g
}

// Handler lets next handle requests whose token stands and is meant for the
// Authority's own audience.
func (g *Guard) Handler(next http.Handler) http.Handler { return g.Require(rescind.Want{})(next) }

// Require returns middleware that lets requests pass whose token is good for
// want. Guards may be nested: each one checks.
func (g *Guard) Require(want rescind.Want) func(http.Handler) http.Handler {
	return g.require(want, bearer)
}

// require protects handlers with the token that take finds in a request.
func (g *Guard) require(want rescind.Want, take func(*http.Request) (string, *denial)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, bad := take(r)
			if bad != nil {
				g.deny(w, bad, want.Scope)
				return
			}
			access, err := g.checker.Check(r.Context(), token, want)
			if err != nil {
				g.refuse(w, r, err, want.Scope)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), accessKey{}, &access)))
		})
	}
}

type accessKey struct{}

// From returns what the guard in front of a handler learned about the request's
// token. It is false where there is no guard.
func From(ctx context.Context) (rescind.Access, bool) {
	if a, ok := ctx.Value(accessKey{}).(*rescind.Access); ok {
		return *a, true
	}
	return rescind.Access{}, false
}

// refuse answers for an error of a Checker or of Sessions. An outage comes first:
// it says nothing about the token, whatever else the error wraps.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error, scope string) {
	switch {
	case errors.Is(err, rescind.ErrUnavailable):
		g.log.WarnContext(r.Context(), "token state unavailable", "error", err)
		g.deny(w, unavailable, "")
	case errors.Is(err, rescind.ErrScope):
		g.deny(w, insufficientScope, scope)
	case errors.Is(err, rescind.ErrInactive), errors.Is(err, rescind.ErrReuse), errors.Is(err, rescind.ErrForeign):
		g.deny(w, invalidToken, "")
	default:
		// What is not understood is not known either. That this application may
		// not ask belongs here too: its users can do nothing about it.
		g.log.ErrorContext(r.Context(), "token state unavailable: unexpected error", "error", err)
		g.deny(w, unavailable, "")
	}
}
