// Package httpapi is the HTTP face of a [rescind.Authority]: the OAuth endpoints
// (RFC 6749 section 6, 7009, 7662, 8414), the server's own JSON interface, and
// the checks for gateways.
//
// It adds no rule about tokens: which of them stand, only the Authority says.
// What is decided here is who may ask (roles of clients), what a request must
// look like, and which standard's words an answer uses: OAuth errors under
// /oauth/, problem details (RFC 9457) elsewhere, and for gateways nothing but
// 200, 401, 403 and 503. docs/design/http.md has the decisions.
//
// Checking a JWT against /.well-known/jwks.json alone is not a guard: it cannot
// know that a token has been ended.
package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/rescind/rescind"
)

// Limits on requests. They are part of the contract.
const (
	MaxHeader     = 64 << 10 // bytes of all header fields; an access token has at most 16 KiB
	MaxForm       = 64 << 10 // bytes of a form body
	MaxJSON       = 64 << 10 // bytes of a JSON body
	MaxQuery      = 8 << 10  // bytes of a query string
	MaxParameters = 32       // of a form or a query
)

// DefaultBodyTimeout is how long a client may take to send a body.
const DefaultBodyTimeout = 10 * time.Second

// Options say how an Authority is served. The zero value serves it safely.
type Options struct {
	// Rules are the rules of forward-auth by name: the one named "" answers at
	// /forward-auth, the others at /forward-rules/{name}. A name has 1 to 64
	// characters of A-Z a-z 0-9 _ -. Without a rule named "", /forward-auth asks
	// for the Authority's audience and for no scope, and reads no cookie.
	Rules map[string]Rule

	// CORSOrigins are the origins, as in https://app.example.com, whose scripts
	// may call token, revoke and logout from a browser. Empty: none.
	CORSOrigins []string

	// TrustedProxies are the addresses whose X-Forwarded-For says who called.
	TrustedProxies []netip.Prefix

	// MetricsFrom are the addresses that may read /metrics without credentials.
	// Nil means loopback; empty means none. Everybody else needs a client with
	// the role admin. A request that a proxy has forwarded counts as its sender's.
	MetricsFrom []netip.Prefix

	RateLimit   RateLimit
	BodyTimeout time.Duration // DefaultBodyTimeout if zero

	// Logger gets every failure that answers 500, and outages. It never gets a
	// token or a query string. Nil: none.
	Logger *slog.Logger
	// Registry takes the metrics and is shown at /metrics. Nil means one of its
	// own, with the metrics of the Go runtime and of the process.
	Registry *prometheus.Registry
	// TracerProvider gets one span for each request. Nil: no tracing, at no cost.
	TracerProvider trace.TracerProvider
	// Version is shown in the metric rescind_build_info and in the OpenAPI document.
	Version string
}

// Rule says what a request must bring to pass a gateway.
type Rule struct {
	// Audience are those that the token may be meant for, any of them. Empty
	// means the Authority's own.
	Audience []string
	// Scope is what the token must have, all words of it.
	Scope string
	// Cookie names a cookie that may carry the token instead of the
	// Authorization header. Then unsafe methods must come from the same origin.
	Cookie string
}

// server is one Authority, served.
type server struct {
	authority   *rescind.Authority
	rules       map[string]*Rule
	origins     map[string]bool
	trusted     []netip.Prefix
	metricsFrom []netip.Prefix
	bodyTimeout time.Duration
	failures    *failures
	log         *slog.Logger
	metrics     *metrics
	tracer      trace.Tracer
	now         func() time.Time // for durations and limits, never for judgements

	table    *table
	metadata []byte
	openapi  []byte

	outageLogged atomic.Int64 // Unix second of the last line about an outage
	outages      atomic.Int64 // answers of 503 since then
}

// New returns the handler of an Authority. It fails if the options contradict
// themselves.
func New(a *rescind.Authority, o Options) (http.Handler, error) {
	if a == nil {
		return nil, errors.New("httpapi: no authority")
	}
	s := &server{
		authority:   a,
		rules:       map[string]*Rule{"": {}},
		origins:     map[string]bool{},
		trusted:     o.TrustedProxies,
		metricsFrom: o.MetricsFrom,
		bodyTimeout: cmp.Or(o.BodyTimeout, DefaultBodyTimeout),
		log:         o.Logger,
		now:         time.Now,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.MetricsFrom == nil {
		s.metricsFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	for name, r := range o.Rules {
		s.rules[name] = &r
	}
	for _, origin := range o.CORSOrigins {
		s.origins[origin] = true
	}
	var err error
	if s.failures, err = newFailures(o.RateLimit, s.now); err != nil {
		return nil, err
	}
	if o.TracerProvider != nil {
		s.tracer = o.TracerProvider.Tracer("github.com/rescind/rescind/httpapi")
	}
	if s.metadata, err = metadata(a.Issuer()); err != nil {
		return nil, err
	}
	routes := s.routes()
	if s.metrics, err = newMetrics(o.Registry, o.Version); err != nil {
		return nil, err
	}
	if s.table, err = newTable(routes); err != nil {
		return nil, err
	}
	if s.openapi, err = document(routes, a.Issuer(), o.Version); err != nil {
		return nil, fmt.Errorf("httpapi: OpenAPI document: %w", err)
	}
	return s, nil
}

// Validate reports how the options contradict themselves. New does so too, but
// only where there is an Authority already.
func (o Options) Validate() error {
	for name, r := range o.Rules {
		if err := r.validate(name); err != nil {
			return err
		}
	}
	for _, origin := range o.CORSOrigins {
		if err := validOrigin(origin); err != nil {
			return err
		}
	}
	if o.BodyTimeout < 0 {
		return errors.New("httpapi: a body time-out cannot be negative")
	}
	return nil
}

// validOrigin accepts what a browser sends as Origin: scheme, host and port, in
// lower case. "*" and "null" would let in everybody.
func validOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" ||
		origin != u.Scheme+"://"+strings.ToLower(u.Host) || strings.Contains(u.Host, "*") {
		return fmt.Errorf("httpapi: %q is no origin: write scheme, host and port in lower case, as in https://app.example.com", origin)
	}
	return nil
}

// Server returns an HTTP server for h with every time-out and limit set. Its
// address, TLS and log are the caller's to set.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    MaxHeader,
	}
}
