package extauthz_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/extauthz"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

// dial serves a handler's decisions over gRPC on the loopback interface, and
// returns Envoy's own client for it.
func dial(t *testing.T, h http.Handler) auth.AuthorizationClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := grpc.NewServer()
	auth.RegisterAuthorizationServer(s, extauthz.New(h))
	over := make(chan error, 1)
	go func() { over <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return auth.NewAuthorizationClient(conn)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T) (*rescindtest.Server, auth.AuthorizationClient) {
	t.Helper()
	s := rescindtest.Start(t, func(set *rescindtest.Settings) {
		set.HTTP.Rules = map[string]httpapi.Rule{
			"reports": {Scope: "reports:read"},
			"web":     {Cookie: "__Host-rescind-at"},
			"other":   {Audience: []string{"https://other.example.com"}},
		}
	})
	return s, dial(t, s.Handler)
}

func login(t *testing.T, s *rescindtest.Server, scope string) string {
	t.Helper()
	g, err := s.Authority.Issue(t.Context(), rescind.Login{Subject: "alice", Client: s.App.ID, Scope: scope})
	must(t, err)
	return g.AccessToken.Reveal()
}

// A question is a request as Envoy has it.
type question struct {
	rule   string // "-": none is named
	method string
	header http.Header
	raw    bool // encode_raw_headers
}

func (q question) request() *auth.CheckRequest {
	in := &auth.AttributeContext_HttpRequest{Method: q.method, Host: "api.example.com", Scheme: "https", Path: "/notes?x=1", Protocol: "HTTP/1.1"}
	if q.raw {
		in.HeaderMap = &core.HeaderMap{}
		for name, values := range q.header {
			for _, v := range values {
				in.HeaderMap.Headers = append(in.HeaderMap.Headers, &core.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(v)})
			}
		}
	} else {
		in.Headers = map[string]string{":path": "/notes?x=1", ":method": q.method, ":authority": "api.example.com"}
		for name, values := range q.header {
			in.Headers[strings.ToLower(name)] = strings.Join(values, ",") // as Envoy joins them
		}
	}
	attributes := &auth.AttributeContext{
		Source: &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{
			SocketAddress: &core.SocketAddress{Address: "192.0.2.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 4711}},
		}}},
		Request: &auth.AttributeContext_Request{Http: in},
	}
	if q.rule != "-" {
		attributes.ContextExtensions = map[string]string{extauthz.RuleKey: q.rule}
	}
	return &auth.CheckRequest{Attributes: attributes}
}

// An outcome is what becomes of a request.
type outcome struct {
	status int
	header http.Header // what the client is told, or what the API gets
	body   string
}

// check asks, and does with the answer what Envoy does.
func check(t *testing.T, c auth.AuthorizationClient, q question) outcome {
	t.Helper()
	a, err := c.Check(t.Context(), q.request())
	must(t, err)
	options, removed, o := a.GetOkResponse().GetHeaders(), a.GetOkResponse().GetHeadersToRemove(), outcome{status: 200, header: q.header.Clone()}
	if o.header == nil {
		o.header = http.Header{}
	}
	code := codes.Code(a.GetStatus().GetCode())
	if no := a.GetDeniedResponse(); no != nil {
		want := map[int]codes.Code{401: codes.Unauthenticated, 403: codes.PermissionDenied, 503: codes.Unavailable}
		o = outcome{status: int(no.GetStatus().GetCode()), header: http.Header{}, body: no.GetBody()}
		if options = no.GetHeaders(); code != want[o.status] {
			t.Errorf("%d comes with %v", o.status, code)
		}
	} else if a.GetOkResponse() == nil || code != codes.OK {
		t.Fatalf("neither passed nor denied: %v", a)
	}
	for _, h := range options {
		if h.GetAppendAction() != core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || h.GetHeader().GetValue() == "" {
			t.Errorf("Envoy may keep what the client sent: %v", h)
		}
		o.header[http.CanonicalHeaderKey(h.GetHeader().GetKey())] = []string{h.GetHeader().GetValue()}
	}
	for _, name := range removed {
		maps.DeleteFunc(o.header, func(have string, _ []string) bool { return strings.EqualFold(have, name) })
	}
	return o
}

// overHTTP asks the endpoint that gateways ask.
func overHTTP(t *testing.T, s *rescindtest.Server, q question) outcome {
	t.Helper()
	url := s.URL + "/forward-rules/" + q.rule
	if q.rule == "-" {
		url = s.URL + "/forward-auth"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	maps.Copy(req.Header, q.header)
	req.Header.Set("X-Forwarded-Method", q.method)
	req.Header.Set("X-Forwarded-Host", "api.example.com")
	req.Header.Set("X-Forwarded-Proto", "https")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return outcome{resp.StatusCode, resp.Header, string(body)}
}

func TestDecisionsAreThoseOfForwardAuth(t *testing.T) {
	s, c := start(t)
	token, ended, scoped := login(t, s, ""), login(t, s, ""), login(t, s, "reports:read notes:read")
	_, err := s.Authority.Logout(t.Context(), ended, false)
	must(t, err)
	bearer := func(tokens ...string) http.Header {
		h := http.Header{}
		for _, token := range tokens {
			h.Add("Authorization", "Bearer "+token)
		}
		return h
	}
	cookie := func(more ...string) http.Header {
		h := http.Header{"Cookie": {"a=b; __Host-rescind-at=" + token}}
		for i := 0; i < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	statuses := map[int]int{}
	for _, header := range []http.Header{
		{}, bearer(""), bearer("nonsense"), bearer(token), bearer(ended), bearer(scoped), bearer(token, token), bearer(token, ended), bearer(token + "," + token),
		{"Authorization": {"Basic YTpi"}}, {"Authorization": {"Bearer"}}, {"Authorization": {"bearer  " + token}}, {"Authorization": {"Bearer \x00"}},
		cookie(), cookie("Sec-Fetch-Site", "same-origin"), cookie("Sec-Fetch-Site", "cross-site"), cookie("Authorization", "Bearer "+token),
		cookie("Origin", "https://api.example.com"), cookie("Origin", "https://evil.example"), cookie("Origin", "http://api.example.com"),
		cookie("Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"), cookie("X-Forwarded-Method", "GET", "X-Original-Method", "GET"),
		cookie("Upgrade", "websocket"), cookie("Sec-Websocket-Key", "x", "Origin", "https://api.example.com"), {"Cookie": {"__Host-rescind-at=" + ended}},
	} {
		for _, rule := range []string{"-", "", "reports", "web", "other", "misspelt", "web/", "../forward-auth", "web?x", "%77eb", "WEB"} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "get", "BREW", ""} {
				for _, raw := range []bool{false, true} {
					if len(header["Authorization"]) > 1 && !raw {
						continue // Envoy has joined them
					}
					if strings.Contains(fmt.Sprint(header), "\x00") || strings.ContainsAny(rule, "/?%") {
						continue // below: HTTP cannot say it
					}
					q := question{rule: rule, method: method, header: header, raw: raw}
					got, want := check(t, c, q), overHTTP(t, s, q)
					statuses[got.status]++
					same := got.status == want.status
					if got.status == 200 {
						for _, name := range []string{"X-Rescind-Subject", "X-Rescind-Session", "X-Rescind-Client", "X-Rescind-Scope"} {
							same = same && got.header.Get(name) == want.header.Get(name)
						}
					} else {
						same = same && got.body == want.body
						for _, name := range []string{"WWW-Authenticate", "Cache-Control", "Content-Type", "Retry-After"} {
							same = same && slices.Equal(got.header.Values(name), want.header.Values(name))
						}
					}
					if !same {
						t.Errorf("%+v\ngRPC %+v\nHTTP %+v", q, got, want)
					}
				}
			}
		}
	}
	for _, status := range []int{200, 401, 403} {
		if statuses[status] < 10 {
			t.Errorf("%v: %d is hardly tried", statuses, status)
		}
	}
	for _, q := range []question{
		{rule: "-", method: "GET", header: bearer(token, token)},
		{rule: "-", method: "GET", header: http.Header{"Authorization": {"Bearer \x00"}}},
		{rule: "web/", method: "GET", header: bearer(token)},
		{rule: "../forward-auth", method: "GET", header: bearer(token)},
		{rule: "web?x", method: "GET", header: bearer(token)},
		{rule: "%77eb", method: "GET", header: bearer(token)},
	} {
		if got := check(t, c, q); got.status != 401 && got.status != 403 {
			t.Errorf("%+v: %d", q, got.status)
		}
	}
}

func TestRevokedTokenNeverPassesAgain(t *testing.T) {
	s, c := start(t)
	for range 20 {
		token := login(t, s, "")
		q := question{rule: "-", method: "GET", header: http.Header{"Authorization": {"Bearer " + token}}}
		if got := check(t, c, q); got.status != 200 || got.header.Get("X-Rescind-Subject") != "alice" {
			t.Fatalf("before: %+v", got)
		}
		_, err := s.Authority.Logout(t.Context(), token, false)
		must(t, err)
		if got := check(t, c, q); got.status != 401 || !strings.Contains(got.header.Get("WWW-Authenticate"), "invalid_token") {
			t.Fatalf("after: %+v", got)
		}
	}
}

func TestSpoofedIdentityNeverArrives(t *testing.T) {
	s, c := start(t)
	for _, raw := range []bool{false, true} {
		header := http.Header{"Authorization": {"Bearer " + login(t, s, "")}}
		for _, name := range []string{"X-Rescind-Subject", "X-Rescind-Session", "X-Rescind-Client", "X-Rescind-Scope"} {
			for _, spelt := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1), strings.ReplaceAll(name, "-", ".")} {
				header[http.CanonicalHeaderKey(spelt)] = []string{"root", "root"}
			}
		}
		got := check(t, c, question{rule: "-", method: "GET", header: header, raw: raw})
		if got.status != 200 || got.header.Get("X-Rescind-Subject") != "alice" || got.header.Get("X-Rescind-Client") != s.App.ID || got.header["X-Rescind-Scope"] != nil {
			t.Errorf("raw %v: %+v", raw, got)
		}
		for name, values := range got.header {
			if slices.Contains(values, "root") {
				t.Errorf("raw %v: the API gets %s: %q", raw, name, values)
			}
		}
	}
}

func TestUnknownIsClosed(t *testing.T) {
	identity := func(w http.ResponseWriter) { w.Header().Set("X-Rescind-Subject", "alice") }
	for name, h := range map[string]http.HandlerFunc{
		"says nothing":       func(http.ResponseWriter, *http.Request) {},
		"200 without a name": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"204":                func(w http.ResponseWriter, _ *http.Request) { identity(w); w.WriteHeader(204) },
		"302": func(w http.ResponseWriter, r *http.Request) {
			identity(w)
			http.Redirect(w, r, "/login", http.StatusFound)
		},
		"400":                 func(w http.ResponseWriter, _ *http.Request) { identity(w); w.WriteHeader(400) },
		"500":                 func(w http.ResponseWriter, _ *http.Request) { identity(w); w.WriteHeader(500) },
		"502":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
		"503":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"panics":              func(w http.ResponseWriter, _ *http.Request) { identity(w); panic(http.ErrAbortHandler) },
		"panics after a 200":  func(w http.ResponseWriter, _ *http.Request) { identity(w); w.WriteHeader(200); panic("x") },
		"503, then 200":       func(w http.ResponseWriter, _ *http.Request) { identity(w); w.WriteHeader(503); w.WriteHeader(200) },
		"only an informative": func(w http.ResponseWriter, _ *http.Request) { identity(w); w.WriteHeader(103) },
	} {
		got := check(t, dial(t, h), question{rule: "-", method: "GET"})
		if got.status != 503 || got.header.Get("Retry-After") == "" || got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// A check from which everything is missing.
	s, c := start(t)
	for _, in := range []*auth.CheckRequest{{}, {Attributes: &auth.AttributeContext{}}} {
		if a, err := c.Check(t.Context(), in); err != nil || a.GetDeniedResponse().GetStatus().GetCode() != 401 {
			t.Errorf("%v: %v %v", in, a, err)
		}
	}
	q := question{rule: "-", method: "GET", header: http.Header{"Authorization": {"Bearer " + login(t, s, "")}}}
	must(t, s.Store.Close())
	if got := check(t, c, q); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("without a store: %+v", got)
	}
}

// TestFrozenEndsWithTheCaller: forward-auth does not answer until the caller has left.
func TestFrozenEndsWithTheCaller(t *testing.T) {
	began, over := make(chan struct{}, 2), make(chan struct{}, 2)
	frozen := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		w.Header().Set("X-Rescind-Subject", "alice")
		w.WriteHeader(200) // too late
		over <- struct{}{}
	})
	leaving := func() context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		go func() {
			<-began
			cancel()
		}()
		return ctx
	}
	q := question{rule: "-", method: "GET"}.request()
	if _, err := dial(t, frozen).Check(leaving(), q); err == nil {
		t.Error("an answer, to a caller who has left")
	}
	<-over // or the check goes on although nobody waits for it

	// An answer that is on its way all the same lets nobody pass.
	if a, err := extauthz.New(frozen).Check(leaving(), q); err != nil || codes.Code(a.GetStatus().GetCode()) != codes.Unavailable {
		t.Errorf("%v, %v: not 503", a, err)
	}
}
