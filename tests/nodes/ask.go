package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/server"
)

// ErrLost means that there was no answer: the connection ended, or the asker's
// patience did. It wraps ErrUnavailable: the outcome is unknown.
var ErrLost = fmt.Errorf("%w: no answer", rescind.ErrUnavailable)

// Asker asks nodes over HTTP, as the documentation says, with no code of the
// project in between. Errors are ErrInactive, ErrNotFound, ErrUnavailable (503, or
// ErrLost), or something that no node should say.
type Asker struct{ http *http.Client }

// NewAsker returns one that waits so long for an answer.
func NewAsker(patience time.Duration) *Asker {
	return &Asker{&http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// Close ends its idle connections.
func (a *Asker) Close() { a.http.CloseIdleConnections() }

// as signs a request in.
type as func(*http.Request)

func admin(r *http.Request) { r.SetBasicAuth("admin", server.AdminSecret) }

func client(id string) as { return func(r *http.Request) { r.SetBasicAuth(id, secret) } }

func bearer(token string) as {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func nobody(*http.Request) {}

func (a *Asker) send(ctx context.Context, method, url string, who as, kind string, body []byte, into any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	who(req)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK || code == http.StatusCreated:
		if into != nil {
			if err := json.Unmarshal(text, into); err != nil {
				return nil, fmt.Errorf("answer %q: %w", text, err)
			}
		}
		return resp.Header, nil
	case code == http.StatusServiceUnavailable:
		return nil, fmt.Errorf("%w: %s", rescind.ErrUnavailable, text)
	case code == http.StatusUnauthorized && strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token"),
		code == http.StatusBadRequest && bytes.Contains(text, []byte(`"invalid_grant"`)):
		return nil, rescind.ErrInactive
	case code == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", rescind.ErrNotFound, text)
	}
	return nil, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
}

func (a *Asker) json(ctx context.Context, url string, who as, body, into any) error {
	text, err := json.Marshal(body)
	if err == nil {
		_, err = a.send(ctx, http.MethodPost, url, who, "application/json", text, into)
	}
	return err
}

func (a *Asker) form(ctx context.Context, url string, who as, form url.Values, into any) error {
	_, err := a.send(ctx, http.MethodPost, url, who, "application/x-www-form-urlencoded", []byte(form.Encode()), into)
	return err
}

// Tokens are what a login and a refresh hand out.
type Tokens struct {
	Session rescind.SessionID `json:"session"`
	Access  string            `json:"access_token"`
	Refresh string            `json:"refresh_token"`
}

// Login opens a session; the one that it replaces, if any, ends in the same step.
func (a *Asker) Login(ctx context.Context, node, id, subject string, replaces rescind.SessionID) (g Tokens, err error) {
	body := map[string]any{"subject": subject, "client_id": id}
	if !replaces.IsZero() {
		body["replaces"] = replaces
	}
	return g, a.json(ctx, node+"/v1/sessions", admin, body, &g)
}

// Refresh redeems a refresh token.
func (a *Asker) Refresh(ctx context.Context, node, id, token string) (g Tokens, err error) {
	return g, a.form(ctx, node+"/oauth/token", client(id), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, &g)
}

// Introspect asks whether a token of either kind stands.
func (a *Asker) Introspect(ctx context.Context, node, token string) error {
	var is struct{ Active *bool }
	err := a.form(ctx, node+"/oauth/introspect", admin, url.Values{"token": {token}}, &is)
	switch {
	case err != nil:
		return err
	case is.Active == nil:
		return errors.New("an introspection does not say whether the token is active")
	case !*is.Active:
		return rescind.ErrInactive
	}
	return nil
}

// ForwardAuth asks as a gateway does whether an access token may pass.
func (a *Asker) ForwardAuth(ctx context.Context, node, token string) error {
	h, err := a.send(ctx, http.MethodGet, node+"/forward-auth/any/path", bearer(token), "", nil, nil)
	if err == nil && h.Get("X-Rescind-Session") == "" {
		return errors.New("a request passes, and nobody says whose it is")
	}
	return err
}

// Logout ends the session of a token, or with all every session of its subject.
func (a *Asker) Logout(ctx context.Context, node, token string, all bool) error {
	if strings.HasPrefix(token, "rsr_") {
		return a.json(ctx, node+"/v1/logout", nobody, map[string]any{"refresh_token": token, "all": all}, nil)
	}
	return a.json(ctx, node+"/v1/logout", bearer(token), map[string]any{"all": all}, nil)
}

// End ends a session by its id.
func (a *Asker) End(ctx context.Context, node string, id rescind.SessionID) error {
	_, err := a.send(ctx, http.MethodDelete, node+"/v1/sessions/"+id.String(), admin, "", nil, nil)
	return err
}

// Revoke ends what the members of a selector name, as in subject.
func (a *Asker) Revoke(ctx context.Context, node string, selector map[string]any) error {
	return a.json(ctx, node+"/v1/revocations", admin, selector, nil)
}

// Events reads the newest events of a kind.
func (a *Asker) Events(ctx context.Context, node string, kind rescind.EventKind) ([]rescind.Event, error) {
	var page struct{ Events []rescind.Event }
	_, err := a.send(ctx, http.MethodGet, node+"/v1/events?kind="+string(kind), admin, "", nil, &page)
	return page.Events, err
}
