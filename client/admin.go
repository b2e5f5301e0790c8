package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/rescind/rescind"
)

// receipt makes a call that ends something, or says what it would end. Without a
// receipt that names the ledger's epoch nothing has been promised.
func (c *Client) receipt(ctx context.Context, q request, dryRun bool) (rescind.Receipt, error) {
	q.writes, q.must = true, []string{"position", "epoch", "changed"}
	var r rescind.Receipt
	if err := c.fetch(ctx, q, http.StatusOK, &r); err != nil {
		return rescind.Receipt{}, err
	}
	if r.Epoch == "" || r.DryRun != dryRun {
		return rescind.Receipt{}, unknown(q.path, "the answer is no receipt")
	}
	return r, nil
}

// Revoke ends what the selector names; see [rescind.Authority.Revoke]. Tokens and
// sessions of its own client need the role issue, others and subjects the role
// revoke, the rest admin. The server knows by itself whose sessions this client
// may end: Owner and OwnerSubject are refused here; see [Client.EndSession].
func (c *Client) Revoke(ctx context.Context, r rescind.Revocation) (rescind.Receipt, error) {
	if r.Owner != "" || r.OwnerSubject != "" {
		return rescind.Receipt{}, invalid("an owner cannot be named over HTTP: end the session by EndSession")
	}
	if r.Token != "" && !rescind.WellFormed(r.Token) {
		return rescind.Receipt{}, rescind.ErrMalformed
	}
	body := struct {
		Token         string            `json:"token,omitempty"`
		Session       rescind.SessionID `json:"session,omitzero"`
		Subject       string            `json:"subject,omitempty"`
		ExceptSession rescind.SessionID `json:"except_session,omitzero"`
		Client        string            `json:"client,omitempty"`
		Key           rescind.KeyID     `json:"key,omitzero"`
		All           bool              `json:"all,omitempty"`
		Reason        string            `json:"reason,omitempty"`
		DryRun        bool              `json:"dry_run,omitempty"`
	}{r.Token, r.Session, r.Subject, r.ExceptSession, r.Client, r.Key, r.All, r.Reason, r.DryRun}
	receipt, err := c.receipt(ctx, request{method: "POST", path: "/v1/revocations", json: body, token: r.Token}, r.DryRun)
	if err == nil && !r.Session.IsZero() && receipt.Session != r.Session {
		return rescind.Receipt{}, unknown("/v1/revocations", "the receipt is for something else")
	}
	return receipt, err
}

// EndSession ends one session. With a subject it must be that subject's, else it
// is ErrNotFound, as if it were not there.
func (c *Client) EndSession(ctx context.Context, id rescind.SessionID, subject string) (rescind.Receipt, error) {
	q := request{method: "DELETE", path: "/v1/sessions/" + id.String()}
	if subject != "" {
		q.query = url.Values{"subject": {subject}}
	}
	receipt, err := c.receipt(ctx, q, false)
	if err == nil && receipt.Session != id {
		return rescind.Receipt{}, unknown("/v1/sessions", "the receipt is for something else")
	}
	return receipt, err
}

// Session shows one session. ErrNotFound if there is none, or if it is another
// client's and this one is no admin.
func (c *Client) Session(ctx context.Context, id rescind.SessionID) (rescind.View, error) {
	var v rescind.View
	err := c.fetch(ctx, request{method: "GET", path: "/v1/sessions/" + id.String()}, http.StatusOK, &v)
	if err == nil && v.ID != id {
		err = unknown("/v1/sessions", "the answer is another session")
	}
	if err != nil {
		return rescind.View{}, err
	}
	return v, nil
}

// Sessions lists sessions in the order of their ids; those of this client, unless
// it is an admin.
func (c *Client) Sessions(ctx context.Context, q rescind.SessionQuery) (rescind.SessionPage, error) {
	query := values("subject", q.Subject, "client_id", q.Client, "state", q.State, "after", q.After, "limit", number(q.Limit))
	var page rescind.SessionPage
	err := c.fetch(ctx, request{method: "GET", path: "/v1/sessions", query: query, limit: maxPage}, http.StatusOK, &page)
	if err == nil && page.Sessions == nil {
		err = unknown("/v1/sessions", "the answer is no page")
	}
	return page, err
}

// Events reads the audit log, newest first. It needs the role admin.
func (c *Client) Events(ctx context.Context, q rescind.EventQuery) (rescind.EventPage, error) {
	query := values("subject", q.Subject, "session", q.Session, "client_id", q.Client, "kind", string(q.Kind),
		"since", moment(q.Since), "until", moment(q.Until), "after", q.After, "limit", number(q.Limit))
	var page rescind.EventPage
	err := c.fetch(ctx, request{method: "GET", path: "/v1/events", query: query, limit: maxPage}, http.StatusOK, &page)
	if err == nil && page.Events == nil {
		err = unknown("/v1/events", "the answer is no page")
	}
	return page, err
}

// values is a query of the pairs that say something.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			v.Set(pair[0], pair[1])
		}
	}
	return v
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Clients returns all clients, by id, without the hashes of their secrets. This
// and everything below needs the role admin.
func (c *Client) Clients(ctx context.Context) ([]rescind.Client, error) {
	var list struct {
		Clients []rescind.Client `json:"clients"`
	}
	err := c.fetch(ctx, request{method: "GET", path: "/v1/clients", limit: maxPage}, http.StatusOK, &list)
	if err == nil && list.Clients == nil {
		err = unknown("/v1/clients", "the answer is no list")
	}
	return list.Clients, err
}

// AddClient registers a client. Where cl is not public and secret is empty, the
// server makes the secret, and this is the only time that it is shown. With
// replace a client of this id is changed, secret included, and its sessions stay;
// without, it is ErrConflict. The hash in cl is not sent.
func (c *Client) AddClient(ctx context.Context, cl rescind.Client, secret rescind.Secret, replace bool) (rescind.Client, rescind.Secret, error) {
	body := struct {
		ID          string              `json:"id"`
		Name        string              `json:"name,omitempty"`
		Public      bool                `json:"public,omitempty"`
		Roles       []rescind.Role      `json:"roles,omitempty"`
		Audiences   []string            `json:"audiences,omitempty"`
		IssuesFor   []string            `json:"issues_for,omitempty"`
		Format      rescind.TokenFormat `json:"access_token_format,omitempty"`
		Strict      bool                `json:"strict,omitempty"`
		Grace       rescind.Duration    `json:"grace,omitzero"`
		NoLogoutAll bool                `json:"no_logout_all,omitempty"`
		Secret      rescind.Secret      `json:"secret,omitempty"`
		Replace     bool                `json:"replace,omitempty"`
	}{cl.ID, cl.Name, cl.Public, cl.Roles, cl.Audiences, cl.IssuesFor, cl.Format, cl.Strict, cl.Grace, cl.NoLogoutAll, secret, replace}
	var made struct {
		Client rescind.Client `json:"client"`
		Secret rescind.Secret `json:"client_secret"`
	}
	q := request{method: "POST", path: "/v1/clients", json: body, token: secret.Reveal(), writes: true, once: true}
	err := c.fetch(ctx, q, http.StatusCreated, &made)
	if err == nil && (made.Client.ID != cl.ID || !cl.Public && secret == "" && made.Secret == "") {
		err = unknown(q.path, "the answer is not the client")
	}
	if err != nil {
		return rescind.Client{}, "", err
	}
	if made.Secret == "" {
		made.Secret = secret
	}
	return made.Client, made.Secret, nil
}

// RemoveClient removes a client and, in the same step, ends its sessions.
func (c *Client) RemoveClient(ctx context.Context, id string) (rescind.Receipt, error) {
	return c.receipt(ctx, request{method: "DELETE", path: "/v1/clients/" + url.PathEscape(id), once: true}, false)
}

// ListKeys returns what may be shown of every key.
func (c *Client) ListKeys(ctx context.Context) ([]rescind.KeyInfo, error) {
	return c.keys(ctx, request{method: "GET", path: "/v1/keys"})
}

// RotateKey brings in a new key of a use, and returns the keys as they are then.
func (c *Client) RotateKey(ctx context.Context, use rescind.KeyUse) ([]rescind.KeyInfo, error) {
	body := struct {
		Use rescind.KeyUse `json:"use"`
	}{use}
	return c.keys(ctx, request{method: "POST", path: "/v1/keys/rotate", json: body, writes: true, once: true})
}

func (c *Client) keys(ctx context.Context, q request) ([]rescind.KeyInfo, error) {
	var list struct {
		Keys []rescind.KeyInfo `json:"keys"`
	}
	err := c.fetch(ctx, q, http.StatusOK, &list)
	if err == nil && list.Keys == nil {
		err = unknown(q.path, "the answer is no list")
	}
	return list.Keys, err
}

// Erase ends all sessions of a subject and then forgets them and every event that
// names it; see [rescind.Authority.Erase]. It takes as long as the context allows.
func (c *Client) Erase(ctx context.Context, subject string) (rescind.Purged, error) {
	body := struct {
		Subject string `json:"subject"`
	}{subject}
	var sum struct{ Sessions, Events *int }
	q := request{method: "POST", path: "/v1/erasures", json: body, unbounded: true}
	err := c.fetch(ctx, q, http.StatusOK, &sum)
	if err == nil && (sum.Sessions == nil || sum.Events == nil) {
		err = unknown(q.path, "the answer does not say what was erased")
	}
	if err != nil {
		return rescind.Purged{}, err
	}
	return rescind.Purged{Sessions: *sum.Sessions, Events: *sum.Events}, nil
}

// Backup writes a consistent copy of the store as a tar archive, while the server
// serves. It takes as long as the context allows, but no pause may be longer than
// six write time-outs: a minute by default. After an error, what was written is
// no backup: throw it away.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pause := 6 * c.write
	idle := time.AfterFunc(pause, cancel)
	defer idle.Stop()
	q := request{method: "GET", path: "/v1/backup"}
	res, err := c.open(ctx, &q, nil)
	if err != nil {
		return c.lost(&q, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
		if err != nil {
			return c.lost(&q, err)
		}
		return c.refusal(&q, &reply{res.StatusCode, res.Header, body})
	}
	// An answer that ends where its connection does could have been cut short.
	measured := res.ContentLength >= 0 || res.ProtoMajor >= 2 || slices.Contains(res.TransferEncoding, "chunked")
	if mediaType(res.Header) != "application/x-tar" || !measured {
		return unknown(q.path, "the answer is no archive")
	}
	to := &progress{w: w, idle: idle, pause: pause}
	if _, err := io.Copy(to, res.Body); err != nil {
		if to.err != nil {
			return fmt.Errorf("write the backup: %w", to.err)
		}
		return c.lost(&q, err)
	}
	return nil
}

// progress puts a stall off with every write, and remembers whose error it was.
type progress struct {
	w     io.Writer
	idle  *time.Timer
	pause time.Duration
	err   error
}

func (p *progress) Write(b []byte) (n int, err error) {
	p.idle.Reset(p.pause)
	n, p.err = p.w.Write(b)
	return n, p.err
}

// Ready reports whether the server and its store answer.
func (c *Client) Ready(ctx context.Context) error {
	var said struct {
		Status string `json:"status"`
	}
	err := c.fetch(ctx, request{method: "GET", path: "/readyz", as: none}, http.StatusOK, &said)
	if err == nil && said.Status != "ready" {
		err = unknown("/readyz", "the server does not say that it is ready")
	}
	return err
}
