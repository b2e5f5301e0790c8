package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/rescind/rescind"
)

var (
	ruleName   = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)
	cookieName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{0,128}$")
	scopeWords = regexp.MustCompile(`^[!#-\[\]-~]*( [!#-\[\]-~]+)*$`) // RFC 6749 section 3.3
)

func (r *Rule) validate(name string) error {
	switch {
	case !ruleName.MatchString(name):
		return fmt.Errorf("httpapi: rule %q: a name has 1 to 64 characters of A-Z a-z 0-9 _ -", name)
	case !cookieName.MatchString(r.Cookie):
		return fmt.Errorf("httpapi: rule %q: %q cannot be the name of a cookie", name, r.Cookie)
	case !scopeWords.MatchString(r.Scope) || len(r.Scope) > rescind.MaxScope:
		return fmt.Errorf("httpapi: rule %q: %q is no scope (RFC 6749 section 3.3)", name, r.Scope)
	}
	for _, aud := range r.Audience {
		if aud == "" || len(aud) > rescind.MaxAudience {
			return fmt.Errorf("httpapi: rule %q: an audience has 1 to %d characters", name, rescind.MaxAudience)
		}
	}
	return nil
}

// forwardAuth answers a gateway that asks whether a request may pass: 200 and who
// it is, 401, 403, or 503. It takes any method, ignores what follows the prefix
// and the query, and reads no body. A preflight (OPTIONS) is a request like any
// other here: it carries no token, so whoever wants to let it pass says so in the
// gateway, where the routes are known.
func (c *call) forwardAuth() error {
	rule := c.rules[c.param]
	if rule == nil || (c.param == "" && c.route.path == forwardRulesPath) {
		// The gateway names a rule that is not configured: nobody passes.
		return &fault{status: http.StatusForbidden, code: codeForbidden, detail: "no such rule"}
	}
	token, err := c.presented(rule)
	if err != nil {
		return err
	}
	access, err := c.authority.Check(c.context(), token, rescind.Want{Audience: rule.Audience, Scope: rule.Scope})
	c.metrics.checked(byForwardAuth, err)
	switch {
	case err == nil:
	case errors.Is(err, rescind.ErrInactive):
		return challenge(http.StatusUnauthorized, codeInvalidToken, "the token is not valid", "")
	case errors.Is(err, rescind.ErrScope):
		return challenge(http.StatusForbidden, codeScope, "the token lacks a scope", rule.Scope)
	default:
		return err
	}
	// All four, always: a gateway that copies only what is there would let the
	// client's own header of that name through (GHSA-7r4p-vjf4-gxv4).
	h := c.w.Header()
	h["X-Rescind-Subject"] = []string{access.Subject}
	h["X-Rescind-Session"] = []string{access.Session.String()}
	h["X-Rescind-Client"] = []string{access.Client}
	h["X-Rescind-Scope"] = []string{access.Scope}
	return c.answer(http.StatusOK, nil, nil)
}

// challenge refuses a request in the words of RFC 6750 section 3.
func challenge(status int, code, detail, scope string) *fault {
	words := challengeBearer + `, error="` + code + `"`
	if scope != "" {
		words += `, scope="` + scope + `"`
	}
	return &fault{status: status, code: code, detail: detail, challenge: words}
}

// presented returns the token that came with a request: as a bearer token, or in
// the rule's cookie.
func (c *call) presented(rule *Rule) (string, error) {
	// RFC 6750 section 3.1 wants 400 for more than one; gateways know no 400.
	two := challenge(http.StatusUnauthorized, codeInvalidRequest, "more than one credential", "")
	token, err := parseBearer(c.r.Header["Authorization"])
	switch {
	case errors.Is(err, errTwoTokens):
		return "", two
	case errors.Is(err, errBadBearer):
		return "", challenge(http.StatusUnauthorized, codeInvalidToken, "the token is not valid", "")
	}
	var cookies []*http.Cookie
	if rule.Cookie != "" {
		cookies = c.r.CookiesNamed(rule.Cookie)
	}
	switch {
	case len(cookies) == 0 && err == nil:
		return token, nil
	case len(cookies) == 0:
		// RFC 6750 section 3.1: who has sent nothing is told no error code.
		return "", &fault{status: http.StatusUnauthorized, code: codeInvalidToken, detail: "a token is needed", challenge: challengeBearer}
	case len(cookies) > 1 || err == nil:
		return "", two
	case cookies[0].Quoted: // a second spelling, which no browser makes
		return "", challenge(http.StatusUnauthorized, codeInvalidToken, "the token is not valid", "")
	case !c.sameOrigin():
		return "", &fault{status: http.StatusForbidden, code: codeForbidden, detail: "a cookie is taken for this method only from the same origin"}
	}
	return cookies[0].Value, nil
}

// sameOrigin reports whether a request that a browser may have sent with its
// cookies, without its user wanting it, is safe or comes from the same origin.
func (c *call) sameOrigin() bool {
	h := c.r.Header
	if !c.unsafe() {
		return true
	}
	if site := h["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) == 1 && site[0] == "same-origin"
	}
	origin := h["Origin"]
	if len(origin) != 1 {
		return false
	}
	u, err := url.Parse(origin[0])
	if err != nil || u.Host == "" {
		return false
	}
	if proto := first(h, "X-Forwarded-Proto"); proto != "" && webScheme(proto) != u.Scheme {
		return false
	}
	host := first(h, "X-Forwarded-Host")
	if host == "" {
		host = c.r.Host
	}
	return strings.EqualFold(u.Host, withoutDefaultPort(host, u.Scheme))
}

// unsafe reports whether the original request changes something. Gateways say its
// method in a header or use it themselves; if any of them is unsafe, it is. A
// WebSocket is opened by GET and then does anything.
func (c *call) unsafe() bool {
	h := c.r.Header
	if len(h["Upgrade"]) > 0 || len(h["Sec-Websocket-Key"]) > 0 || first(h, "Sec-Fetch-Mode") == "websocket" {
		return true
	}
	methods := append([]string{c.r.Method}, h["X-Forwarded-Method"]...)
	for _, m := range append(methods, h["X-Original-Method"]...) {
		switch m {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
		default:
			return true
		}
	}
	return false
}

// first returns what the gateway nearest to the browser has said: a browser's
// page cannot set these headers.
func first(h http.Header, name string) string {
	v, _, _ := strings.Cut(h.Get(name), ",")
	return strings.TrimSpace(v)
}

func webScheme(proto string) string {
	switch proto {
	case "ws":
		return "http"
	case "wss":
		return "https"
	}
	return proto
}

// withoutDefaultPort takes off what an Origin header never has.
func withoutDefaultPort(host, scheme string) string {
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}
