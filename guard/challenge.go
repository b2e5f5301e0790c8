package guard

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/rescind/rescind"
)

// A denial is one of the answers a guard gives itself.
type denial struct {
	status    int
	code      string // of RFC 6750 section 3.1
	about     string
	challenge bool // it is about the credentials
}

// All of them. They never change.
var (
	// Without credentials there is no error code (RFC 6750 section 3.1).
	noCredentials     = &denial{http.StatusUnauthorized, "", "", true}
	invalidToken      = &denial{http.StatusUnauthorized, "invalid_token", "the token is expired, revoked or malformed", true}
	insufficientScope = &denial{http.StatusForbidden, "insufficient_scope", "the token lacks a scope that this needs", true}
	twoCredentials    = &denial{http.StatusBadRequest, "invalid_request", "one credential is needed, more than one was sent", true}
	noBearer          = &denial{http.StatusBadRequest, "invalid_request", "the Authorization header holds no bearer token", true}

	badBody         = &denial{http.StatusBadRequest, "invalid_request", "the body is no JSON object or form with a refresh_token, or is too long", false}
	noSession       = &denial{http.StatusNotFound, "not_found", "there is no such session", false}
	tooManySessions = &denial{http.StatusConflict, "limit", "too many sessions at once", false}
	serverError     = &denial{http.StatusInternalServerError, "server_error", "this went wrong", false}

	forbidden     = &denial{http.StatusForbidden, "forbidden", "this is not allowed", false}
	crossOrigin   = &denial{http.StatusForbidden, "cross_origin", "the request comes from another origin", false}
	insecureHost  = &denial{http.StatusForbidden, "insecure_host", "cookies without protection are for loopback addresses only", false}
	onlyPost      = &denial{http.StatusMethodNotAllowed, "method_not_allowed", "use POST", false}
	unavailable   = &denial{http.StatusServiceUnavailable, "temporarily_unavailable", "the state of the token could not be known; try again", false}
	cookieTooLong = &denial{http.StatusInternalServerError, "server_error", "the token is too long for a cookie", false}
)

// retryAfter is what a 503 asks clients to wait, in seconds.
const retryAfter = "1"

// deny writes d. The scope stands in the challenge of insufficient_scope.
func (g *Guard) deny(w http.ResponseWriter, d *denial, scope string) {
	h := w.Header()
	if d.challenge {
		var b strings.Builder
		b.WriteString(`Bearer realm="` + g.realm + `"`)
		if d.code != "" {
			b.WriteString(`, error="` + d.code + `", error_description="` + d.about + `"`)
		}
		if d == insufficientScope {
			b.WriteString(`, scope="` + quotable(scope) + `"`)
		}
		h.Set("WWW-Authenticate", b.String())
	}
	switch d {
	case unavailable:
		h.Set("Retry-After", retryAfter)
	case onlyPost:
		h.Set("Allow", http.MethodPost)
	}
	reply(w, d.status, struct {
		Status int    `json:"status"`
		Error  string `json:"error,omitempty"`
		About  string `json:"error_description,omitempty"`
	}{d.status, d.code, d.about})
}

// reply writes a small JSON object that no cache may keep.
func reply(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain structs come here
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// quotable drops what may not stand in the attributes of a challenge, quotes and
// backslashes among it (RFC 6750 section 3).
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, s)
}

// bearer takes the token from the Authorization header: exactly one, and nowhere
// else. Tokens in the query or in a form end up in logs and histories (RFC 6750
// section 5.3, RFC 9700 section 4.3.2); here they are no credentials at all.
func bearer(r *http.Request) (string, *denial) {
	headers := r.Header["Authorization"]
	switch {
	case len(headers) == 0:
		return "", noCredentials
	case len(headers) > 1:
		return "", twoCredentials
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", noCredentials // another scheme is somebody else's business
	}
	token = strings.Trim(token, " ")
	switch {
	case token == "":
		return "", noBearer
	case strings.ContainsAny(token, " ,\t"):
		return "", twoCredentials // headers that a proxy has joined
	case !rescind.WellFormed(token):
		return "", invalidToken
	}
	return token, nil
}
