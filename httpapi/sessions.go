package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/swaggest/jsonschema-go"

	"github.com/rescind/rescind"
)

// sessionRequest is a login that the application has done. Times are whole
// seconds.
type sessionRequest struct {
	Subject          string            `json:"subject" maxLength:"255" description:"The user, in the application's own words: printable ASCII without spaces."`
	ClientID         string            `json:"client_id,omitempty" description:"Default: the caller. Another one takes issues_for, or the role admin."`
	Audience         audience          `json:"audience,omitempty"`
	Scope            string            `json:"scope,omitempty" maxLength:"1024"`
	Claims           json.RawMessage   `json:"claims,omitempty" description:"An object of at most 4 KiB without registered names."`
	Device           rescind.Device    `json:"device,omitempty"`
	ExpiresIn        *int64            `json:"expires_in,omitempty" minimum:"1" description:"Of the access token."`
	SessionExpiresIn *int64            `json:"session_expires_in,omitempty" minimum:"1"`
	IdleTimeout      *int64            `json:"idle_timeout,omitempty" minimum:"1"`
	Replaces         rescind.SessionID `json:"replaces,omitempty" description:"A session of the same subject and client, which ends in the same step."`
}

// audience is one name or a list of them, as in a JWT.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = audience{""}
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// JSONSchema says the same to readers of the OpenAPI document.
func (audience) JSONSchema() (jsonschema.Schema, error) {
	one, many := jsonschema.String.ToSchemaOrBool(), jsonschema.Array.ToSchemaOrBool()
	many.TypeObject.WithItems(*(&jsonschema.Items{}).WithSchemaOrBool(jsonschema.String.ToSchemaOrBool()))
	var s jsonschema.Schema
	s.WithOneOf(one, many).WithDescription("One or up to 8; default: the server's own.")
	return s, nil
}

func (c *call) createSession() error {
	var q sessionRequest
	if err := c.decode(&q, false); err != nil {
		return err
	}
	if q.ClientID == "" {
		q.ClientID = c.client.ID
	}
	if err := c.onlyOwn(q.ClientID); err != nil {
		return err
	}
	login := rescind.Login{
		Subject: q.Subject, Client: q.ClientID, Audience: q.Audience, Scope: q.Scope, Claims: q.Claims,
		Device: q.Device, Replaces: q.Replaces, Actor: c.client.ID,
	}
	var err1, err2, err3 error
	login.AccessLifetime, err1 = seconds("expires_in", q.ExpiresIn)
	login.SessionLifetime, err2 = seconds("session_expires_in", q.SessionExpiresIn)
	login.IdleTimeout, err3 = seconds("idle_timeout", q.IdleTimeout)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return err
		}
	}
	grant, err := c.authority.Issue(c.context(), login)
	c.metrics.issued(err)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, grant)
}

// onlyOwn keeps a client to the sessions it may issue.
func (c *call) onlyOwn(client string) error {
	if c.client.MayIssue(client) {
		return nil
	}
	return fmt.Errorf("%w: another client's sessions need issues_for, or the role %s", rescind.ErrForbidden, rescind.RoleAdmin)
}

type sessionsQuery struct {
	Subject string `query:"subject"`
	Client  string `query:"client_id" description:"Default: the caller; for the role admin, any."`
	State   string `query:"state" enum:"active,ended"`
	pageQuery
}

type pageQuery struct {
	After string `query:"after" description:"The cursor next of the page before."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (c *call) listSessions() error {
	n, err := c.limit()
	if err != nil {
		return err
	}
	q := rescind.SessionQuery{
		Subject: c.query.get("subject"), Client: c.query.get("client_id"), State: c.query.get("state"),
		After: c.query.get("after"), Limit: n,
	}
	if q.Client == "" && !c.is(rescind.RoleAdmin) {
		q.Client = c.client.ID
	}
	if q.Client != "" {
		if err := c.onlyOwn(q.Client); err != nil {
			return err
		}
	}
	page, err := c.authority.Sessions(c.context(), q)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, page)
}

type sessionPath struct {
	ID string `path:"id"`
}

// session reads the id in the path. What cannot be an id is not there.
func (c *call) session() (rescind.SessionID, error) {
	id, err := rescind.ParseSessionID(c.param)
	if err != nil || id.IsZero() {
		return id, errNoSession
	}
	return id, nil
}

var errNoSession = fmt.Errorf("%w: no such session", rescind.ErrNotFound)

func (c *call) showSession() error {
	id, err := c.session()
	if err != nil {
		return err
	}
	v, err := c.authority.Session(c.context(), id)
	switch {
	case errors.Is(err, rescind.ErrNotFound):
		return errNoSession
	case err != nil:
		return err
	case c.onlyOwn(v.Client) != nil:
		return errNoSession
	}
	return c.json(http.StatusOK, v)
}

type endQuery struct {
	ID      string `path:"id"`
	Subject string `query:"subject" description:"The owner: a session of another subject is not found."`
}

func (c *call) endSession() error {
	id, err := c.session()
	if err != nil {
		return err
	}
	r := rescind.Revocation{
		Selector: rescind.Selector{Session: id}, Actor: c.client.ID,
		Owner: c.owner(), OwnerSubject: c.query.get("subject"),
	}
	receipt, err := c.authority.Revoke(c.context(), r)
	c.metrics.revoked("session", err)
	if errors.Is(err, rescind.ErrNotFound) {
		return errNoSession
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, receipt)
}

// owner is whose sessions the caller may end: its own, or anybody's ("").
func (c *call) owner() string {
	if c.is(rescind.RoleRevoke) {
		return ""
	}
	return c.client.ID
}

type revocationRequest struct {
	Token         string            `json:"token,omitempty" description:"Any token of a session, live or not: ends that session."`
	Session       rescind.SessionID `json:"session,omitempty"`
	Subject       string            `json:"subject,omitempty" description:"All sessions of a subject. Needs the role revoke."`
	ExceptSession rescind.SessionID `json:"except_session,omitempty" description:"Goes with subject: all but this one."`
	Client        string            `json:"client,omitempty" description:"All sessions of a client. Needs the role admin."`
	Key           rescind.KeyID     `json:"key,omitempty" description:"All that carries this key. Needs the role admin."`
	All           bool              `json:"all,omitempty" description:"Everything. Needs the role admin."`
	Reason        string            `json:"reason,omitempty" maxLength:"255" description:"For the audit log."`
	DryRun        bool              `json:"dry_run,omitempty" description:"Only says how many sessions would end."`
	Wait          *bool             `json:"wait,omitempty" description:"false: 202 without waiting for guards."`
}

func (c *call) revocation() error {
	var q revocationRequest
	if err := c.decode(&q, false); err != nil {
		return err
	}
	var need rescind.Role
	kind := "session"
	switch {
	case q.All:
		need, kind = rescind.RoleAdmin, "all"
	case q.Client != "":
		need, kind = rescind.RoleAdmin, "client"
	case q.Key != rescind.KeyID{}:
		need, kind = rescind.RoleAdmin, "key"
	case q.Subject != "":
		need, kind = rescind.RoleRevoke, "subject"
	case q.Token != "":
		kind = "token"
	}
	if need != "" && !c.is(need) {
		return fmt.Errorf("%w: ending by %s needs the role %s", rescind.ErrForbidden, kind, need)
	}
	receipt, err := c.authority.Revoke(c.context(), rescind.Revocation{
		Selector: rescind.Selector{
			Token: q.Token, Session: q.Session, Subject: q.Subject, ExceptSession: q.ExceptSession,
			Client: q.Client, Key: q.Key, All: q.All,
		},
		Actor: c.client.ID, Reason: q.Reason, DryRun: q.DryRun, Owner: c.owner(),
	})
	if !q.DryRun {
		c.metrics.revoked(kind, err)
	}
	if err != nil {
		return err
	}
	if q.Wait != nil && !*q.Wait {
		return c.json(http.StatusAccepted, receipt)
	}
	return c.json(http.StatusOK, receipt)
}

type logoutRequest struct {
	RefreshToken rescind.Secret `json:"refresh_token,omitempty" description:"Without a bearer token."`
	All          bool           `json:"all,omitempty" description:"Every session of the subject; needs a token that stands."`
}

// logout takes the token itself for a credential, so that nobody needs more to
// log out than what he is logged in with.
func (c *call) logout() error {
	var q logoutRequest
	if err := c.decode(&q, true); err != nil {
		return err
	}
	token, err := parseBearer(c.r.Header["Authorization"])
	inBody := q.RefreshToken.Reveal()
	switch {
	case errors.Is(err, errTwoTokens), inBody != "" && !errors.Is(err, errNoBearer):
		return badRequest("more than one credential: send a bearer token or refresh_token")
	case errors.Is(err, errBadBearer):
		return c.refuseToken(rescind.ErrMalformed)
	case err != nil && inBody == "":
		return &fault{status: http.StatusUnauthorized, code: codeInvalidToken, detail: "send a bearer token or refresh_token", challenge: challengeBearer}
	case err != nil:
		token = inBody
	}
	receipt, err := c.authority.Logout(c.context(), token, q.All)
	kind := "logout"
	if q.All {
		kind = "logout_all"
	}
	c.metrics.revoked(kind, err)
	switch {
	case errors.Is(err, rescind.ErrInactive):
		return c.refuseToken(err)
	case err != nil:
		return err
	}
	return c.json(http.StatusOK, receipt)
}

func (c *call) refuseToken(err error) error {
	if limited := c.forged(err); limited != nil {
		return limited
	}
	return &fault{
		status: http.StatusUnauthorized, code: codeInvalidToken, detail: "the token is not valid",
		challenge: challengeBearer + `, error="invalid_token"`, cause: err,
	}
}

type eventsQuery struct {
	Subject string `query:"subject"`
	Session string `query:"session"`
	Client  string `query:"client_id"`
	Kind    string `query:"kind"`
	Since   string `query:"since" format:"date-time"`
	Until   string `query:"until" format:"date-time"`
	pageQuery
}

func (c *call) events() error {
	q := rescind.EventQuery{
		Subject: c.query.get("subject"), Session: c.query.get("session"), Client: c.query.get("client_id"),
		Kind: rescind.EventKind(c.query.get("kind")), After: c.query.get("after"),
	}
	var err1, err2, err3 error
	q.Since, err1 = c.moment("since")
	q.Until, err2 = c.moment("until")
	q.Limit, err3 = c.limit()
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return err
		}
	}
	page, err := c.authority.Events(c.context(), q)
	if err != nil {
		return err
	}
	if page.Events == nil {
		page.Events = []rescind.Event{}
	}
	return c.json(http.StatusOK, page)
}
