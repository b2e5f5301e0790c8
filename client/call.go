package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rescind/rescind"
)

// Limits on what is read of an answer, in bytes. A page of sessions has at most
// 1000 of them, each with claims and access tokens.
const (
	maxReply = 256 << 10
	maxPage  = 64 << 20
)

// request is one call on its way to the server.
type request struct {
	method, path string
	query        url.Values
	form         url.Values // either
	json         any        // or
	token        string     // that the call carries, and no error may show
	as           credential
	writes       bool     // takes the longer time-out
	unbounded    bool     // takes as long as the context allows
	once         bool     // to send it twice is not the same as once
	limit        int64    // of the answer; 0 means maxReply
	must         []string // members that the answer has, or it is none
}

// credential is what stands in the Authorization header.
type credential uint8

const (
	ofClient credential = iota
	ofToken             // the token itself, as bearer
	none                // the body has it
)

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// fetch makes a call and reads an answer of the wanted status into v. It is the
// only way to an error other than ErrUnavailable.
func (c *Client) fetch(ctx context.Context, q request, status int, v any) error {
	r, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	if r.status != status {
		return c.refusal(&q, r)
	}
	if mediaType(r.header) != "application/json" {
		return unknown(q.path, "the answer is no JSON")
	}
	if err := decode(r.body, v); err != nil {
		return unknown(q.path, "the answer is not what it should be")
	}
	if len(q.must) > 0 {
		var said map[string]json.RawMessage
		err := decode(r.body, &said)
		for _, name := range q.must {
			if raw, there := said[name]; err != nil || !there || string(raw) == "null" {
				return unknown(q.path, "the answer lacks something")
			}
		}
	}
	return nil
}

// decode reads JSON. What is no UTF-8 is none: the decoder would repair it.
func decode(body []byte, v any) error {
	if !utf8.Valid(body) {
		return errors.New("the answer is no UTF-8")
	}
	return json.Unmarshal(body, v)
}

// send makes a call, a second time if its connection broke and that does no harm.
func (c *Client) send(ctx context.Context, q request) (*reply, error) {
	var body []byte
	switch {
	case q.form != nil:
		body = []byte(q.form.Encode())
	case q.json != nil:
		var err error
		if body, err = json.Marshal(q.json); err != nil {
			return nil, invalid("the request cannot be encoded: " + err.Error())
		}
	}
	r, err := c.attempt(ctx, &q, body)
	if err != nil && !q.once && ctx.Err() == nil && broken(err) {
		r, err = c.attempt(ctx, &q, body)
	}
	if err != nil {
		return nil, c.lost(&q, err)
	}
	return r, nil
}

var errTooLong = errors.New("the answer is too long")

// broken reports whether a connection was there and broke.
func broken(err error) bool {
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() || errors.Is(err, errTooLong) {
		return false
	}
	var op *net.OpError
	return !errors.As(err, &op) || op.Op != "dial"
}

func (c *Client) attempt(ctx context.Context, q *request, body []byte) (*reply, error) {
	timeout := c.read
	if q.writes {
		timeout = c.write
	}
	if !q.unbounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	res, err := c.open(ctx, q, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	limit := q.limit
	if limit == 0 {
		limit = maxReply
	}
	r := &reply{status: res.StatusCode, header: res.Header}
	if r.body, err = io.ReadAll(io.LimitReader(res.Body, limit+1)); err != nil {
		return nil, err
	}
	if int64(len(r.body)) > limit {
		return nil, errTooLong
	}
	return r, nil
}

// open sends a request and returns as soon as the header of the answer is there.
func (c *Client) open(ctx context.Context, q *request, body []byte) (*http.Response, error) {
	u := c.base + q.path
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "rescind-go")
	switch {
	case q.form != nil:
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case q.json != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case q.as == ofToken:
		req.Header.Set("Authorization", "Bearer "+q.token)
	case q.as == ofClient && c.basic != "":
		req.Header.Set("Authorization", c.basic)
	}
	return c.http.Do(req)
}

// lost is the error of a call that got no answer: its outcome is unknown. The
// address is left out, for its query names subjects.
func (c *Client) lost(q *request, err error) error {
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err
	}
	if c.shows(q, err.Error()) {
		err = errors.New("no answer")
	}
	return fmt.Errorf("%w: %s: %w", rescind.ErrUnavailable, q.path, err)
}

// unknown is the error of an answer that cannot be relied on.
func unknown(path, why string) error {
	return fmt.Errorf("%w: %s: %s", rescind.ErrUnavailable, path, why)
}

// shows reports whether a text holds what only this client and its users may know.
func (c *Client) shows(q *request, text string) bool {
	return q.token != "" && strings.Contains(text, q.token) ||
		c.secret != "" && (strings.Contains(text, c.secret) || strings.Contains(text, c.basic))
}

// codes are the server's words for errors: "code" of problem details (RFC 9457)
// and "error" of OAuth (RFC 6749 section 5.2), with the status that goes with
// them; 0 is any. What is not here is not understood.
func codes(word string) (status int, is error) {
	switch word {
	case "invalid_request", "unsupported_grant_type", "method_not_allowed", "too_large", "unsupported_media_type":
		return 0, rescind.ErrInvalid
	case "invalid_token":
		return http.StatusUnauthorized, rescind.ErrInactive
	case "invalid_grant", "inactive":
		return http.StatusBadRequest, rescind.ErrInactive
	case "reuse":
		return http.StatusBadRequest, rescind.ErrReuse
	case "foreign":
		return http.StatusForbidden, rescind.ErrForeign
	case "invalid_scope", "insufficient_scope":
		return 0, rescind.ErrScope
	case "invalid_client", "unauthorized_client", "forbidden":
		return 0, rescind.ErrForbidden
	case "not_found":
		return http.StatusNotFound, rescind.ErrNotFound
	case "conflict":
		return http.StatusConflict, rescind.ErrConflict
	case "limit":
		return http.StatusConflict, rescind.ErrLimit
	}
	return 0, rescind.ErrUnavailable
}

const pathLogout = "/v1/logout"

// refusal turns an answer that is no success into an error. Only the server's own
// refusals count; a proxy in front of it can answer 401 or 404 too, and knows
// nothing about tokens.
func (c *Client) refusal(q *request, r *reply) error {
	var said map[string]any // a struct would take names in any case
	word, detail := "", ""
	if decode(r.body, &said) == nil {
		switch mediaType(r.header) {
		case "application/problem+json":
			word, _ = said["code"].(string)
			detail, _ = said["detail"].(string)
		case "application/json":
			word, _ = said["error"].(string)
			detail, _ = said["error_description"].(string)
		}
	}
	status, is := codes(word)
	if word == "rate_limited" && q.path == pathLogout {
		// Who fails too often is told so in place of why, and at logout nothing fails
		// but a token that is forged.
		status, is = http.StatusTooManyRequests, rescind.ErrInactive
	}
	// Only a bearer challenge refuses the token (RFC 6750 section 3); without one
	// the server has seen none.
	challenged := word != "invalid_token" || strings.Contains(r.header.Get("WWW-Authenticate"), `error="invalid_token"`)
	if r.status < 400 || r.status >= 500 || status != 0 && status != r.status || !challenged || errors.Is(is, rescind.ErrUnavailable) {
		return unknown(q.path, fmt.Sprintf("status %d", r.status))
	}
	if detail = readable(detail); detail == "" || c.shows(q, detail) {
		detail = word
	}
	return fmt.Errorf("%w: %s: %s", is, q.path, detail)
}

// readable keeps one short line of what the server says.
func readable(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// mediaType is the type of an answer that has one.
func mediaType(h http.Header) string {
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return ""
	}
	kind, _, _ := strings.Cut(types[0], ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// seconds is a lifetime in the whole seconds that the server takes.
func seconds(name string, d time.Duration) (int64, error) {
	if d < 0 || d%time.Second != 0 {
		return 0, invalid("over HTTP, " + name + " is a number of whole seconds")
	}
	return int64(d / time.Second), nil
}
