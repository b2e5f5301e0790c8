package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind"
)

// Issue records a new session and returns its tokens; see [rescind.Authority.Issue].
// It needs the role issue. Lifetimes are whole seconds, and Client defaults to
// this client. After ErrUnavailable there may be a session whose tokens nobody
// has; it ends with its idle time-out.
func (c *Client) Issue(ctx context.Context, l rescind.Login) (rescind.Grant, error) {
	body := struct {
		Subject         string            `json:"subject"`
		Client          string            `json:"client_id,omitempty"`
		Audience        []string          `json:"audience,omitempty"`
		Scope           string            `json:"scope,omitempty"`
		Claims          json.RawMessage   `json:"claims,omitempty"`
		Device          rescind.Device    `json:"device,omitzero"`
		AccessLifetime  int64             `json:"expires_in,omitempty"`
		SessionLifetime int64             `json:"session_expires_in,omitempty"`
		IdleTimeout     int64             `json:"idle_timeout,omitempty"`
		Replaces        rescind.SessionID `json:"replaces,omitzero"`
	}{Subject: l.Subject, Client: l.Client, Audience: l.Audience, Scope: l.Scope, Claims: l.Claims, Device: l.Device, Replaces: l.Replaces}
	var err1, err2, err3 error
	body.AccessLifetime, err1 = seconds("the lifetime of access tokens", l.AccessLifetime)
	body.SessionLifetime, err2 = seconds("the lifetime of a session", l.SessionLifetime)
	body.IdleTimeout, err3 = seconds("an idle time-out", l.IdleTimeout)
	if err := errors.Join(err1, err2, err3); err != nil {
		return rescind.Grant{}, err
	}
	var g rescind.Grant
	err := c.fetch(ctx, request{method: "POST", path: "/v1/sessions", json: body, writes: true, once: true, must: ofGrant}, http.StatusCreated, &g)
	return granted("/v1/sessions", g, err)
}

// ofGrant are the members of every grant.
var ofGrant = []string{"session", "access_token", "token_type", "expires_in", "refresh_token", "refresh_token_timeout", "authorization_expires_in"}

// granted lets a grant pass that has everything.
func granted(path string, g rescind.Grant, err error) (rescind.Grant, error) {
	tokens := rescind.WellFormed(g.AccessToken.Reveal()) && rescind.WellFormed(g.RefreshToken.Reveal()) && strings.EqualFold(g.TokenType, "Bearer")
	if err == nil && (!tokens || g.Session.IsZero() || min(g.ExpiresIn, g.RefreshTokenTimeout, g.AuthorizationEnds) < 0) {
		err = unknown(path, "the answer holds no tokens")
	}
	if err != nil {
		return rescind.Grant{}, err
	}
	return g, nil
}

// Refresh rotates a refresh token of this client's; see [rescind.Authority.Refresh].
// Over HTTP every reason why a token is refused is ErrInactive, reuse among it.
func (c *Client) Refresh(ctx context.Context, r rescind.Refresh) (rescind.Grant, error) {
	if r.Client != "" && r.Client != c.id {
		return rescind.Grant{}, invalid("a client refreshes its own tokens only")
	}
	if !rescind.WellFormed(r.Token) {
		return rescind.Grant{}, rescind.ErrMalformed
	}
	form := c.form("grant_type", "refresh_token", "refresh_token", r.Token)
	if r.Scope != "" {
		form.Set("scope", r.Scope)
	}
	var g rescind.Grant
	err := c.fetch(ctx, request{method: "POST", path: "/oauth/token", form: form, token: r.Token, writes: true, must: ofGrant}, http.StatusOK, &g)
	return granted("/oauth/token", g, err)
}

// form is a form of the OAuth endpoints, which a public client signs with its id.
func (c *Client) form(pairs ...string) url.Values {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	if c.basic == "" {
		form.Set("client_id", c.id)
	}
	return form
}

// Check says whether an access token stands, now; see [rescind.Authority.Check].
// It asks the server every time, by introspection (RFC 7662), with the role
// introspect or guard. The server answers for the audiences that this client is
// registered with, also where want says that the audience does not matter.
//
// ErrInactive comes from a 200 with {"active":false} or with a token of another
// kind, audience or form, and from nothing else; that the server refuses this
// client is ErrUnavailable too, for it says nothing about the token.
func (c *Client) Check(ctx context.Context, token string, want rescind.Want) (rescind.Access, error) {
	if !rescind.WellFormed(token) {
		return rescind.Access{}, rescind.ErrMalformed
	}
	form := c.form("token", token)
	if want.NoTouch {
		form.Set("touch", "false")
	}
	const path = "/oauth/introspect"
	// A map, because names that differ in case alone are different members: the
	// session's own claims stand beside the standard ones.
	var said map[string]json.RawMessage
	err := c.fetch(ctx, request{method: "POST", path: path, form: form, token: token}, http.StatusOK, &said)
	switch {
	case errors.Is(err, rescind.ErrUnavailable):
		return rescind.Access{}, err
	case err != nil:
		return rescind.Access{}, unknown(path, err.Error())
	}
	switch string(said["active"]) {
	case "false":
		return rescind.Access{}, rescind.ErrInactive
	case "true":
	default:
		return rescind.Access{}, unknown(path, "the answer does not say whether the token is active")
	}
	if said["token_type"] == nil {
		return rescind.Access{}, rescind.ErrMalformed // a refresh token, which is never an access token
	}
	access, err := readAccess(said)
	if err != nil {
		return rescind.Access{}, unknown(path, "the answer lacks something, or has it in another form")
	}
	if err := access.Meets(want, c.audience); err != nil {
		return rescind.Access{}, err
	}
	return access, nil
}

// maxExact is the largest number that JSON carries exactly everywhere (RFC 8259
// section 6).
const maxExact = 1<<53 - 1

// readAccess reads an active answer of RFC 7662 section 2.2. What is not of the
// standard is the session's own claims.
func readAccess(said map[string]json.RawMessage) (rescind.Access, error) {
	var a rescind.Access
	var kind, sid, jti string
	var exp, iat int64
	for _, m := range []struct {
		name string
		to   any
		must bool
	}{
		{"token_type", &kind, true}, {"sid", &sid, true}, {"jti", &jti, true}, {"exp", &exp, true}, {"iat", &iat, true},
		{"sub", &a.Subject, true}, {"client_id", &a.Client, true}, {"aud", &a.Audience, true}, {"scope", &a.Scope, false},
	} {
		raw, there := said[m.name]
		if !there && !m.must {
			continue
		}
		if string(raw) == "null" { // which would be nothing in every type
			return a, errors.New("a member is null")
		}
		if err := json.Unmarshal(raw, m.to); err != nil {
			return a, err
		}
	}
	var err1, err2 error
	a.Session, err1 = rescind.ParseSessionID(sid)
	a.Token, err2 = rescind.ParseTokenID(jti)
	if err := errors.Join(err1, err2); err != nil {
		return a, err
	}
	if !strings.EqualFold(kind, "Bearer") || a.Session.IsZero() || a.Subject == "" || a.Client == "" || slices.Contains(a.Audience, "") {
		return a, errors.New("a member is empty")
	}
	if min(exp, iat) <= 0 || max(exp, iat) > maxExact {
		return a, errors.New("a member is no time")
	}
	a.ExpiresAt, a.IssuedAt = time.Unix(exp, 0), time.Unix(iat, 0)
	claims := map[string]json.RawMessage{}
	for name, value := range said {
		if !standard(name) {
			claims[name] = value
		}
	}
	if len(claims) > 0 {
		a.Claims, err1 = json.Marshal(claims)
	}
	return a, err1
}

// standard reports whether the answer's member is not one of the session's claims.
func standard(name string) bool {
	switch name {
	case "active", "scope", "client_id", "username", "token_type", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "sid", "cnf":
		return true
	}
	return false
}

// refreshPrefix is what refresh tokens begin with: they are presented differently.
const refreshPrefix = "rsr_"

// Logout ends the session that a token belongs to; see [rescind.Authority.Logout].
// The token is the credential, so any client may call it, public ones too.
// ErrInactive says that the server knows the token for forged, or, with all, that
// it does not stand.
func (c *Client) Logout(ctx context.Context, token string, all bool) (rescind.Receipt, error) {
	if !rescind.WellFormed(token) {
		return rescind.Receipt{}, rescind.ErrMalformed
	}
	body := struct {
		RefreshToken string `json:"refresh_token,omitempty"`
		All          bool   `json:"all,omitempty"`
	}{All: all}
	q := request{method: "POST", path: pathLogout, token: token, as: ofToken}
	if strings.HasPrefix(token, refreshPrefix) {
		q.as, body.RefreshToken = none, token
	}
	q.json = body
	return c.receipt(ctx, q, false)
}
