package guard

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/rescind/rescind"
)

// Ledger is everything that an application needs of whoever keeps the tokens.
// [rescind.Authority] and the client of a remote server are Ledgers.
type Ledger interface {
	Checker
	Sessions
	Sessions(ctx context.Context, q rescind.SessionQuery) (rescind.SessionPage, error)
	EndSession(ctx context.Context, id rescind.SessionID, subject string) (rescind.Receipt, error)
}

// Tokens is for applications on the user's device, which keep their tokens
// themselves and send them as bearer tokens: a [Guard], and login, refresh,
// logout and "my devices" as HTTP. For browsers there are [Cookies].
//
//	mux.HandleFunc("POST /login", …)                                 // ends with tokens.Login
//	mux.Handle("POST /refresh", tokens.RefreshHandler())
//	mux.Handle("POST /logout", tokens.LogoutHandler())
//	mux.Handle("POST /logout-all", tokens.LogoutAllHandler())
//	mux.Handle("/api/", tokens.Handler(api))
//	mux.Handle("GET /api/devices", tokens.DevicesHandler())
//	mux.Handle("DELETE /api/devices/{id}", tokens.EndDeviceHandler())
//
// What is no success is answered as by a guard; besides, 404 says that there is
// no such session, and 409 that the subject has as many as it may have.
type Tokens struct {
	*Guard
	ledger Ledger
	client string
}

// TokenOptions are the options of [Tokens]. The zero value is ready for use.
type TokenOptions struct {
	Options
	Client string // whose sessions these are; empty leaves it to the Ledger
}

// NewTokens returns Tokens over l, which must not be nil.
func NewTokens(l Ledger, o TokenOptions) *Tokens {
	return &Tokens{Guard: New(l, o.Options), ledger: l, client: o.Client}
}

// Login opens a session and answers with its tokens (RFC 6749 section 5.1). It
// comes after the application has checked who the user is.
func (t *Tokens) Login(w http.ResponseWriter, r *http.Request, l rescind.Login) {
	if l.Client == "" {
		l.Client = t.client
	}
	grant, err := t.ledger.Issue(r.Context(), l)
	if err != nil {
		t.fail(w, r, err)
		return
	}
	reply(w, http.StatusOK, grant)
}

// RefreshHandler continues the session of the refresh_token in the body, a JSON
// object or a form, and answers with its next tokens. 401 says that the session
// has ended; 503 that the token is as good as before.
func (t *Tokens) RefreshHandler() http.Handler {
	return t.post(func(w http.ResponseWriter, r *http.Request) {
		token, bad := bodyToken(w, r)
		if bad != nil {
			t.deny(w, bad, "")
			return
		}
		grant, err := t.ledger.Refresh(r.Context(), rescind.Refresh{Client: t.client, Token: token})
		if err != nil {
			t.refuse(w, r, err, "")
			return
		}
		reply(w, http.StatusOK, grant)
	})
}

// LogoutHandler ends the session of the bearer token, and that of the
// refresh_token in the body, and answers 204. An expired token is enough. 401 says
// that one of them is not known, so that another may still be alive. On 503 the
// outcome is unknown: the token is what the user can try again with.
func (t *Tokens) LogoutHandler() http.Handler { return t.logout(false) }

// LogoutAllHandler is LogoutHandler for every session of the subject. It needs a
// token that stands. 403 where the client forbids it.
func (t *Tokens) LogoutAllHandler() http.Handler { return t.logout(true) }

func (t *Tokens) logout(everywhere bool) http.Handler {
	return t.post(func(w http.ResponseWriter, r *http.Request) {
		tokens, bad := named(w, r)
		if bad != nil {
			t.deny(w, bad, "")
			return
		}
		if everywhere && t.endSubject(w, r, t.ledger, tokens) {
			return
		}
		unknown, err := end(r.Context(), t.ledger, tokens)
		switch {
		case err != nil:
			t.refuse(w, r, err, "")
		case !everywhere && len(unknown) > 0:
			t.deny(w, invalidToken, "")
		default:
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

// maxDevices and maxPages bound a list of devices.
const (
	maxDevices = 100
	maxPages   = 100
)

// DevicesHandler answers with a JSON list of the [rescind.View] of every active
// session of the subject who asks, 100 at most. It guards itself.
func (t *Tokens) DevicesHandler() http.Handler {
	return t.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := From(r.Context())
		q := rescind.SessionQuery{Subject: who.Subject, State: rescind.StateActive}
		views := []rescind.View{}
		for range maxPages {
			page, err := t.ledger.Sessions(r.Context(), q)
			if err != nil {
				t.fail(w, r, err)
				return
			}
			views = append(views, page.Sessions...)
			if q.After = page.Next; q.After == "" || len(views) >= maxDevices {
				break
			}
		}
		reply(w, http.StatusOK, views[:min(len(views), maxDevices)])
	}))
}

// EndDeviceHandler ends the session whose id is the path value "id", if it is one
// of the subject who asks, and answers 204. It guards itself.
func (t *Tokens) EndDeviceHandler() http.Handler {
	return t.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := From(r.Context())
		id, err := rescind.ParseSessionID(r.PathValue("id"))
		if err != nil {
			t.deny(w, noSession, "")
			return
		}
		if _, err = t.ledger.EndSession(context.WithoutCancel(r.Context()), id, who.Subject); err != nil {
			t.fail(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	}))
}

// fail answers for an error that is not about the request's token.
func (t *Tokens) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, rescind.ErrUnavailable):
		t.refuse(w, r, err, "")
	case errors.Is(err, rescind.ErrNotFound):
		t.deny(w, noSession, "")
	case errors.Is(err, rescind.ErrLimit):
		t.deny(w, tooManySessions, "")
	default:
		t.log.ErrorContext(r.Context(), "unexpected error", "error", err)
		t.deny(w, serverError, "")
	}
}

// post lets POST requests pass.
func (t *Tokens) post(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			t.deny(w, onlyPost, "")
			return
		}
		next(w, r)
	})
}

// maxBody is what a body with a token may have.
const maxBody = rescind.MaxToken + 1024

// bodyToken takes the refresh_token out of a body.
func bodyToken(w http.ResponseWriter, r *http.Request) (string, *denial) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return "", badBody
	}
	if len(text) == 0 {
		return "", noCredentials
	}
	var token string
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return "", badBody
	case kind == "application/json":
		var body struct {
			RefreshToken *string `json:"refresh_token"`
		}
		if json.Unmarshal(text, &body) != nil {
			return "", badBody
		}
		if body.RefreshToken != nil {
			token = *body.RefreshToken
		}
	case kind == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(text))
		if err != nil || len(form["refresh_token"]) > 1 {
			return "", badBody
		}
		token = form.Get("refresh_token")
	default:
		return "", badBody
	}
	switch {
	case token == "":
		return "", noCredentials
	case !rescind.WellFormed(token):
		return "", invalidToken
	}
	return token, nil
}
