package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// Errors of the client that are no answer of the target. An experiment that meets
// one of the first two has to stop.
var (
	// ErrBudget: the run has sent as many requests as it may.
	ErrBudget = errors.New("the limit of requests is reached (limits.requests of the description)")
	// ErrFailedLogins: as many logins failed as may fail. One more might lock the
	// account.
	ErrFailedLogins = errors.New("the limit of failed logins is reached (limits.failed_logins of the description)")
	// ErrDuration: the run has taken as long as it may.
	ErrDuration = errors.New("the limit of the run's time is reached (limits.duration of the description)")
	// ErrForeignHost: a request or a redirect leads to a host that the description
	// does not name.
	ErrForeignHost = errors.New("not a host that the description names, or plain HTTP to one of hosts while no instance uses it")
)

// A client sends every request of a run, and keeps its limits: named hosts only,
// no redirect followed, a budget, bounded parallelism, capped answers.
type client struct {
	http    *http.Client
	anew    *http.Client // a new connection for each request
	allows  func(*url.URL) bool
	secrets *secrets
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	body    int64 // bytes of an answer that are read
	limit   int64 // requests in all
	budget  atomic.Int64
	sent    atomic.Int64
	slots   chan struct{} // one for each request in flight
	crowd   chan struct{} // all of them but one, which is for live controls
	every   time.Duration // between two requests; 0 for no limit

	mu   sync.Mutex
	next time.Time // when the next request may be begun, if every is set
	// urgent counts the live controls that wait for their turn.
	urgent atomic.Int32
}

// A request is one to be sent. Nothing of it is shared with another, so that it
// may be changed.
type request struct {
	role     string // of the Exchange
	session  string
	artefact string
	method   string
	url      *url.URL
	header   http.Header
	body     []byte
	// whole says that an interruption of the run does not break the request off once
	// it is begun: what its answer holds has to be ended.
	whole bool
	// anew: it is sent over a new connection. Which of several workers behind one
	// address answers is mostly decided when a connection is made.
	anew bool
	// shell is the same request with variables of the shell in the place of its
	// secrets, for the curl command. Nil if it holds none.
	shell *shellForm
}

// shellForm is how a request is written for a shell.
type shellForm struct {
	url    string
	header http.Header
	body   string
}

// An answer is what became of a request. It is never nil; err says why there is
// none.
type answer struct {
	request request
	status  int
	header  http.Header
	body    []byte // at most the limit
	size    int64  // of the body
	cut     bool   // there was more
	err     error
	began   time.Time // when the request was begun
	ended   time.Time // when the answer had been read
	// What the judge says of it, for requests of protected routes.
	class   Class
	backed  bool
	backing *answer // the live control that backs a refusal
	spread  bool    // one of several over new connections at the same moment
	note    string
}

// maxHeader is how many bytes of header an answer may have.
const maxHeader = 64 << 10

// newClient makes a client that keeps to what a target allows.
func newClient(t *target.Target, o Options, s *secrets) *client {
	l := t.Limits
	timeout := time.Duration(l.Timeout)
	c := &client{
		allows: t.Allows, secrets: s, now: o.Now, sleep: o.Sleep,
		body: int64(l.Body), limit: int64(l.Requests), slots: make(chan struct{}, l.Parallel), crowd: make(chan struct{}, max(l.Parallel-1, 1)),
	}
	// A part is kept for undoing, at the end, what the run has done to the target.
	c.budget.Store(c.limit - min(c.limit/10, 200))
	if l.PerSecond > 0 {
		c.every = time.Duration(float64(time.Second) / l.PerSecond)
	}
	over := func(anew bool) *http.Client {
		return &http.Client{
			Timeout: timeout,
			Transport: &http.Transport{
				Proxy: o.Proxy, // nil: none, whatever the environment says
				// The host is looked at once more where the connection is made: what
				// reaches this point by any other way is stopped here.
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					if o.Proxy == nil && !t.AllowsAddress(address) {
						return nil, fmt.Errorf("%s: %w", address, ErrForeignHost)
					}
					return o.Dial(ctx, network, address)
				},
				TLSClientConfig:        &tls.Config{InsecureSkipVerify: o.Insecure},
				TLSHandshakeTimeout:    timeout,
				ResponseHeaderTimeout:  timeout,
				DisableKeepAlives:      anew,
				MaxIdleConnsPerHost:    l.Parallel,
				IdleConnTimeout:        90 * time.Second,
				MaxResponseHeaderBytes: maxHeader,
				DisableCompression:     true, // a small answer could unpack to a large one
				ForceAttemptHTTP2:      true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	c.http, c.anew = over(false), over(true)
	return c
}

// do sends a request, once. It waits for a free slot, and for its turn if there is
// a limit of requests in a second.
func (c *client) do(ctx context.Context, q request) *answer {
	a := &answer{request: q}
	release, err := c.admit(ctx, q.url, q.role == liveControl)
	if err != nil {
		a.err = err
		a.began = c.now()
		a.ended = a.began
		return a
	}
	defer release()
	if q.whole {
		ctx = context.WithoutCancel(ctx) // its time-out holds
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), bytes.NewReader(q.body))
	if err != nil {
		a.err = err
		return a
	}
	req.Header = q.header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent)
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	a.began = c.now()
	over := c.http
	if q.anew {
		over = c.anew
	}
	response, err := over.Do(req)
	if err != nil {
		a.ended, a.err = c.now(), err
		return a
	}
	a.status, a.header = response.StatusCode, response.Header
	a.body, err = io.ReadAll(io.LimitReader(response.Body, c.body+1))
	a.ended, a.size = c.now(), int64(len(a.body))
	if int64(len(a.body)) > c.body {
		a.body, a.cut = a.body[:c.body], true
	} else if err != nil {
		a.err = fmt.Errorf("the answer broke off: %w", err)
	}
	// What is left of an answer is not read. Closing it ends the connection.
	if err := response.Body.Close(); err != nil && a.err == nil {
		a.err = err
	}
	return a
}

// userAgent is how the probe names itself, so that whoever reads the logs of a
// target knows what it was.
const userAgent = "rescind-probe"

// liveControl is the role of a request that says whether the target works.
const liveControl = "live control"

// admit checks what may be checked before a request is begun, and takes a slot for
// it. WebSockets and event streams take one too, while they are opened.
func (c *client) admit(ctx context.Context, u *url.URL, urgent bool) (release func(), err error) {
	if !c.allows(u) {
		return nil, fmt.Errorf("%s: %w", u.Host, ErrForeignHost)
	}
	taken := []chan struct{}{c.slots}
	if !urgent {
		taken = []chan struct{}{c.crowd, c.slots}
	}
	release = func() {}
	for _, room := range taken {
		select {
		case room <- struct{}{}:
			before := release
			release = func() { <-room; before() }
		case <-ctx.Done():
			release()
			return nil, ctx.Err()
		}
	}
	if err := c.turn(ctx, urgent); err != nil {
		release()
		return nil, err
	}
	if c.sent.Add(1) > c.budget.Load() {
		c.sent.Add(-1)
		release()
		return nil, ErrBudget
	}
	return release, nil
}

// turn waits until the next request may be begun. Live controls go before all
// others: they have to follow soon on what they back.
func (c *client) turn(ctx context.Context, urgent bool) error {
	if c.every == 0 {
		return nil
	}
	if urgent {
		c.urgent.Add(1)
		defer c.urgent.Add(-1)
	}
	for {
		c.mu.Lock()
		now := c.now()
		if !now.Before(c.next) && (urgent || c.urgent.Load() == 0) {
			c.next = now.Add(c.every)
			c.mu.Unlock()
			return nil
		}
		wait := max(c.next.Sub(now), c.every/8)
		c.mu.Unlock()
		if err := c.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// trim drops what no evidence shows of an answer that has been judged: a run keeps
// thousands of them.
func (a *answer) trim() {
	if len(a.body) > bodyRead {
		a.body = bytes.Clone(a.body[:bodyRead])
	}
}

// exchange is the printed form of an answer and its request.
func (c *client) exchange(a *answer) Exchange {
	q := a.request
	x := Exchange{
		Role: q.role, Session: q.session, Artefact: q.artefact,
		Began: a.began, Took: a.ended.Sub(a.began),
		Request: Request{
			Method: q.method, URL: c.secrets.mask(q.url.String()),
			Header: c.secrets.fields(q.header), Body: c.secrets.body(q.body), Curl: curl(q, c.secrets),
		},
		Status: a.status, Header: c.secrets.fields(a.header), Body: c.secrets.body(a.body), BodySize: min(a.size, c.body),
		Class: a.class, Note: a.note,
	}
	if a.err != nil {
		x.Error = c.secrets.mask(a.err.Error())
	}
	return x
}
