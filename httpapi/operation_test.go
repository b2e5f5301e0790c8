package httpapi_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

// clock is a store's time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func TestOpenAPIDocumentIsValid(t *testing.T) {
	h := start(t)
	a := h.do("GET", "/openapi.json").want(t, 200)
	d, err := libopenapi.NewDocument([]byte(a.body))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(d)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s", e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				t.Errorf("  %s: %s", s.Location, s.Reason)
			}
		}
	}
	if d.GetVersion() != "3.1.0" {
		t.Errorf("OpenAPI %s", d.GetVersion())
	}
	if strings.Contains(a.body, "secret_hash") {
		t.Error("the hash of a secret is described")
	}
}

// Every answer of this suite is held against the document; this shows that it
// would be noticed if one did not fit.
func TestDescriptionIsNotBlind(t *testing.T) {
	h := start(t)
	for name, c := range map[string]struct {
		method, path, mime, body string
		status                   int
		ok                       bool
	}{
		"as described":       {"POST", "/oauth/introspect", "application/json", `{"active":false}`, 200, true},
		"own claims":         {"POST", "/oauth/introspect", "application/json", `{"active":true,"tier":"gold"}`, 200, true},
		"missing member":     {"POST", "/oauth/introspect", "application/json", `{}`, 200, false},
		"wrong type":         {"POST", "/oauth/introspect", "application/json", `{"active":"no"}`, 200, false},
		"undescribed status": {"POST", "/v1/sessions", "application/json", `{}`, 201, false},
		"undescribed form":   {"GET", "/v1/keys", "text/html", `<p>`, 200, false},
		"null list":          {"GET", "/v1/keys", "application/json", `{"keys":null}`, 200, false},
		"OAuth error":        {"POST", "/oauth/token", "application/json", `{"error":"invalid_grant"}`, 400, true},
		"no OAuth error":     {"POST", "/oauth/token", "application/json", `{"code":"inactive"}`, 400, false},
		"no problem":         {"GET", "/v1/keys", "application/json", `{"error":"x"}`, 403, false},
	} {
		r, err := http.NewRequest(c.method, h.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.mime}}, Body: io.NopCloser(strings.NewReader(c.body)), Request: r}
		if ok, errs := h.description().ValidateHttpResponse(r, res); ok != c.ok {
			t.Errorf("%s: %t, %v", name, ok, errs)
		}
	}
}

func TestMetricsAreOpenToTheirReadersOnly(t *testing.T) {
	readable := func(h *harness, edits ...edit) int { h.t.Helper(); return h.do("GET", "/metrics", edits...).status }
	h := start(t)
	for name, c := range map[string]struct {
		edits []edit
		want  int
	}{
		"loopback":                 {nil, 200},
		"through an unknown proxy": {[]edit{from("192.0.2.1")}, 401},
		"claiming loopback":        {[]edit{from("127.0.0.1")}, 401},
		"Forwarded":                {[]edit{header("Forwarded", "for=127.0.0.1")}, 401},
		"X-Real-IP":                {[]edit{header("X-Real-IP", "127.0.0.1")}, 401},
		"admin from afar":          {[]edit{from("192.0.2.1"), basic(h.Admin)}, 200},
		"app from afar":            {[]edit{from("192.0.2.1"), basic(h.App)}, 403},
	} {
		if got := readable(h, c.edits...); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	closed := start(t, func(s *rescindtest.Settings) { s.HTTP.MetricsFrom = []netip.Prefix{} })
	if got := readable(closed); got != 401 {
		t.Errorf("closed: %d", got)
	}
	if got := readable(closed, basic(closed.Admin)); got != 200 {
		t.Errorf("closed, admin: %d", got)
	}
	proxied := start(t, func(s *rescindtest.Settings) {
		s.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.HTTP.MetricsFrom = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	for address, want := range map[string]int{"10.1.2.3": 200, "192.0.2.1": 401, "10.1.2.3, 192.0.2.1": 401, "rubbish": 401, "": 401} {
		if got := readable(proxied, from(address)); got != want {
			t.Errorf("%q: %d, want %d", address, got, want)
		}
	}
}

func TestMetricsCount(t *testing.T) {
	var o outage
	h := start(t, o.wrap, func(s *rescindtest.Settings) { s.HTTP.Version = "1.2.3" })
	strict := h.AddClient(t, rescind.Client{ID: "strict", Strict: true})
	g := h.Login(t, rescind.Login{Subject: "alice"})
	s := h.Login(t, rescind.Login{Subject: "alice", Client: "strict"})
	h.introspect(g.AccessToken.Reveal(), h.App)
	h.introspect("x", h.App)
	h.do("GET", "/forward-auth", bearer(g.AccessToken))
	h.do("GET", "/forward-rules/secret-name-1")
	h.refresh(s.RefreshToken.Reveal(), strict)
	h.refresh(s.RefreshToken.Reveal(), strict)
	h.do("POST", "/v1/logout", bearer(g.AccessToken))
	h.do("GET", "/some/path/nobody/knows")
	h.do("X-ODD-METHOD", "/healthz")
	o.down()
	h.introspect(g.AccessToken.Reveal(), h.App)
	o.up()
	text := h.do("GET", "/metrics").want(t, 200).body
	for _, want := range []string{
		`rescind_checks_total{by="introspection",result="active"} 1`,
		`rescind_checks_total{by="introspection",result="inactive"} 1`,
		`rescind_checks_total{by="forward_auth",result="active"} 1`,
		`rescind_refreshes_total{result="ok"} 1`,
		`rescind_refreshes_total{result="reuse"} 1`,
		`rescind_revocations_total{kind="logout",result="ok"} 1`,
		`rescind_unavailable_total 1`,
		`rescind_http_requests_total{route="POST /oauth/introspect",status="200"} 2`,
		`rescind_http_requests_total{route="POST /oauth/introspect",status="503"} 1`,
		`rescind_http_requests_total{route="ANY /forward-rules/{name}",status="403"} 1`,
		`rescind_http_requests_total{route="none",status="404"} 1`,
		`rescind_http_requests_total{route="none",status="405"} 1`,
		`rescind_http_request_duration_seconds_count{route="POST /v1/logout"} 1`,
		`version="1.2.3"`,
		`go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	// Nothing that a caller has chosen becomes a label.
	for _, chosen := range []string{"alice", "secret-name-1", "nobody/knows", "X-ODD", "strict"} {
		if strings.Contains(text, chosen) {
			t.Errorf("the metrics hold %q", chosen)
		}
	}
}

func TestMetricsOfAnotherRegistryAreLeftAlone(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.Registry = reg })
	if strings.Contains(h.do("GET", "/metrics").want(t, 200).body, "go_goroutines") {
		t.Error("collectors that nobody asked for")
	}
	if _, err := httpapi.New(h.Authority, httpapi.Options{Registry: reg}); err == nil {
		t.Error("the same metrics twice")
	}
}

func TestSpansNameRoutesAndNothingElse(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.TracerProvider = provider })
	parent := "4bf92f3577b34da6a3ce929d0e0e4736"
	h.do("GET", "/v1/sessions/secret-path?subject=secret-query", basic(h.App), header("Traceparent", "00-"+parent+"-00f067aa0ba902b7-01"))
	got := spans.GetSpans()
	if len(got) != 1 {
		t.Fatalf("%d spans", len(got))
	}
	s := got[0]
	if s.Name != "GET /v1/sessions/{id}" || s.SpanContext.TraceID().String() != parent {
		t.Errorf("%s of %s", s.Name, s.SpanContext.TraceID())
	}
	for _, a := range s.Attributes {
		switch a.Key {
		case "http.route":
			if a.Value != attribute.StringValue("/v1/sessions/{id}") {
				t.Errorf("route %s", a.Value.String())
			}
		case "http.response.status_code":
			if a.Value != attribute.IntValue(400) {
				t.Errorf("status %v", a.Value)
			}
		default:
			t.Errorf("attribute %s", a.Key)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	var o outage
	h := start(t, o.wrap)
	h.do("GET", "/healthz").want(t, 200)
	h.do("HEAD", "/healthz").want(t, 200)
	if a := h.do("HEAD", "/metrics").want(t, 200); a.body != "" {
		t.Errorf("HEAD has a body: %q", a.body)
	}
	h.do("GET", "/readyz").want(t, 200)
	o.down()
	h.do("GET", "/healthz").want(t, 200)
	h.do("GET", "/readyz").problem(t, 503, "unavailable")
}
