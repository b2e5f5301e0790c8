package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/rescind/rescind"
)

// call is one request on its way through the server.
type call struct {
	*server
	w     http.ResponseWriter
	r     *http.Request
	route *route
	param string // of the path
	query form
	form  form // of the body, under /oauth/

	client *rescind.Client
	proved bool // the client has shown its secret
	status int  // that was answered; 0 before
	read   bool // nothing of the body is left to read
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, param := s.table.find(r.Method, rawPath(r))
	c := &call{server: s, w: w, r: r, route: route, param: param}
	c.read = r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0
	start := s.now()
	defer func() {
		failure := recover()
		if failure != nil && failure != http.ErrAbortHandler {
			c.fail(fmt.Errorf("panic: %v\n%s", failure, debug.Stack()))
			if c.route.stream {
				failure = http.ErrAbortHandler // what was sent must not look complete
			}
		}
		s.metrics.request(route, c.status, s.now().Sub(start))
		if failure == http.ErrAbortHandler {
			panic(failure)
		}
	}()
	if s.tracer != nil {
		defer c.trace()()
	}
	if err := c.run(); err != nil {
		c.fail(err)
	}
}

// run takes a request through what its route demands, and then to its handler.
func (c *call) run() error {
	if c.route.cors {
		c.allowOrigin()
	}
	if c.route.method != "" { // a refusal, or a gateway's: whatever follows the path is ignored
		if err := c.checkQuery(); err != nil {
			return err
		}
	}
	if c.route.body == formBody {
		// The client's credentials may stand in the form.
		if err := c.readForm(); err != nil {
			return err
		}
	}
	if c.route.credential == anyClient || c.route.credential == secretClient {
		if err := c.authenticate(); err != nil {
			return err
		}
	}
	if len(c.route.roles) > 0 && !c.is(rescind.RoleAdmin) && !slices.ContainsFunc(c.route.roles, c.is) {
		return fmt.Errorf("%w: this needs one of the roles %v", rescind.ErrForbidden, c.route.roles)
	}
	return c.route.handle(c)
}

func (c *call) is(r rescind.Role) bool { return c.client.Has(r) }

func (c *call) context() context.Context { return c.r.Context() }

// Header values are shared by all answers, which do not change them.
var (
	typeJSON    = []string{"application/json"}
	typeProblem = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
	noCache     = []string{"no-cache"}
	noSniff     = []string{"nosniff"}
	closing     = []string{"close"}
)

// answer writes a whole answer. It is the only place that does, streams apart.
func (c *call) answer(status int, contentType []string, body []byte) error {
	c.begin(status, contentType)
	_, _ = c.w.Write(body) // if this fails the caller has gone, and nobody is left to be told
	return nil
}

// begin writes the header of an answer.
func (c *call) begin(status int, contentType []string) {
	h := c.w.Header()
	if contentType != nil {
		h["Content-Type"] = contentType
	}
	h["X-Content-Type-Options"] = noSniff
	if c.route.cache != "" && status == http.StatusOK {
		h["Cache-Control"] = []string{c.route.cache}
	} else {
		h["Cache-Control"] = noStore
		h["Pragma"] = noCache
	}
	if !c.read {
		// net/http would read what is left of the body before it sends the
		// answer, at the pace of whoever sends it.
		h["Connection"] = closing
	}
	c.status = status
	c.w.WriteHeader(status)
}

func (c *call) json(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return c.answer(status, typeJSON, b)
}

func (c *call) control() *http.ResponseController { return http.NewResponseController(c.w) }

// deadline sets the time by which the body has to be there; zero lifts it.
func (c *call) deadline(after time.Duration) error {
	var t time.Time
	if after > 0 {
		t = time.Now().Add(after)
	}
	return supported(c.control().SetReadDeadline(t))
}

// supported forgives what is no network connection: it has no pace.
func supported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
