// Package extauthz answers Envoy's external authorization over gRPC
// (envoy.service.auth.v3.Authorization/Check), and whoever else speaks it.
//
// It decides nothing. A check becomes the request that a gateway would have sent to
// /forward-auth, and the answer of that endpoint becomes the answer to Envoy: tokens,
// cookies, origins, challenges and rules are those of forward-auth, because they are
// forward-auth.
//
//	200            OK, with the four identity headers over whatever the client has sent
//	401, 403       denied with that status, the challenge and the body
//	503, the rest  denied with 503 and Retry-After: nobody can know
//
// No answer is an error of gRPC, which failure_mode_allow would let pass. That setting
// must be off all the same: a service that has gone away answers nothing.
package extauthz

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoy "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// RuleKey is the member of a route's context_extensions that names the rule to
// check by. Without it the default rule is meant. A rule that is not configured
// denies with 403. Context extensions come from Envoy's configuration: nothing that
// a client sends becomes one.
const RuleKey = "rule"

// Server is the gRPC service. Register it with auth.RegisterAuthorizationServer.
// All methods may be called concurrently.
type Server struct {
	auth.UnimplementedAuthorizationServer
	forwardAuth http.Handler
}

// New returns a service that asks forwardAuth, which must not be nil: the handler of
// httpapi.New, or a reverse proxy to a server elsewhere. It has to answer
// /forward-auth and /forward-rules/NAME.
func New(forwardAuth http.Handler) *Server {
	if forwardAuth == nil {
		panic("extauthz: a service without forward-auth would have to guess")
	}
	return &Server{forwardAuth: forwardAuth}
}

var (
	identity = []string{"X-Rescind-Subject", "X-Rescind-Session", "X-Rescind-Client", "X-Rescind-Scope"}
	// reserved finds names that CGI, WSGI or PHP take for one of these.
	reserved = regexp.MustCompile(`(?i)^x[-_.]rescind[-_.]`)
	// forwarded are headers that Envoy's own attributes replace.
	forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "X-Original-Method"}
	// told is what a client gets to know of a refusal.
	told = []string{"Www-Authenticate", "Cache-Control", "Content-Type", "Retry-After"}
)

// Check implements the service. The error is always nil.
func (s *Server) Check(ctx context.Context, in *auth.CheckRequest) (*auth.CheckResponse, error) {
	a := &answer{header: http.Header{}}
	s.ask(a, request(ctx, in.GetAttributes()))
	switch {
	case a.status == http.StatusOK && len(a.header["X-Rescind-Subject"]) == 1 && ctx.Err() == nil:
		return allowed(a, in.GetAttributes().GetRequest().GetHttp()), nil
	case a.status == http.StatusUnauthorized:
		return denied(codes.Unauthenticated, a), nil
	case a.status == http.StatusForbidden:
		return denied(codes.PermissionDenied, a), nil
	case a.status != http.StatusServiceUnavailable:
		a = &answer{header: http.Header{"Cache-Control": {"no-store"}}}
		a.status = http.StatusServiceUnavailable
	}
	if a.header.Get("Retry-After") == "" {
		a.header.Set("Retry-After", "1")
	}
	return denied(codes.Unavailable, a), nil
}

// ask runs forward-auth. One that panics, as a reverse proxy does whose server has
// gone away, has said nothing.
func (s *Server) ask(a *answer, r *http.Request) {
	defer func() {
		if recover() != nil {
			a.status = http.StatusServiceUnavailable
		}
	}()
	s.forwardAuth.ServeHTTP(a, r)
}

// request is what a gateway that speaks HTTP would have asked.
func request(ctx context.Context, from *auth.AttributeContext) *http.Request {
	in := from.GetRequest().GetHttp()
	h := http.Header{}
	if raw := in.GetHeaderMap().GetHeaders(); len(raw) > 0 { // encode_raw_headers: two values stay two
		for _, v := range raw {
			value := string(v.GetRawValue())
			if value == "" {
				value = v.GetValue()
			}
			h.Add(v.GetKey(), value)
		}
	} else {
		for name, value := range in.GetHeaders() {
			h.Add(name, value)
		}
	}
	for name := range h {
		if strings.HasPrefix(name, ":") || slices.Contains(forwarded, name) {
			delete(h, name)
		}
	}
	h.Set("X-Forwarded-Method", in.GetMethod())
	h.Set("X-Forwarded-Host", in.GetHost())
	h.Set("X-Forwarded-Proto", in.GetScheme())

	to := &url.URL{Path: "/forward-auth"}
	if rule, named := from.GetContextExtensions()[RuleKey]; named {
		to = &url.URL{Path: "/forward-rules/" + rule, RawPath: "/forward-rules/" + url.PathEscape(rule)}
	}
	peer := from.GetSource().GetAddress().GetSocketAddress()
	r := &http.Request{
		Method: http.MethodGet, URL: to, RequestURI: to.EscapedPath(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: http.NoBody, Host: in.GetHost(),
		RemoteAddr: net.JoinHostPort(peer.GetAddress(), strconv.Itoa(int(peer.GetPortValue()))),
	}
	return r.WithContext(ctx)
}

// allowed lets a request pass as somebody, and as nobody else: Envoy replaces the
// headers that have a value and removes all others that an API could mistake for one.
func allowed(a *answer, in *auth.AttributeContext_HttpRequest) *auth.CheckResponse {
	ok := &auth.OkHttpResponse{}
	for _, name := range identity {
		if value := a.header.Get(name); value != "" {
			ok.Headers = append(ok.Headers, option(name, value))
		} else {
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
		}
	}
	remove := func(name string) {
		if name = strings.ToLower(name); reserved.MatchString(name) && !slices.ContainsFunc(identity, func(own string) bool { return strings.EqualFold(own, name) }) {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	for name := range in.GetHeaders() {
		remove(name)
	}
	for _, v := range in.GetHeaderMap().GetHeaders() {
		remove(v.GetKey())
	}
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok},
	}
}

func denied(code codes.Code, a *answer) *auth.CheckResponse {
	no := &auth.DeniedHttpResponse{Status: &envoy.HttpStatus{Code: envoy.StatusCode(a.status)}, Body: a.body.String()}
	for _, name := range told {
		for _, value := range a.header[name] {
			no.Headers = append(no.Headers, option(name, value))
		}
	}
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(code)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: no},
	}
}

func option(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: strings.ToLower(name), Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// answer keeps what forward-auth says.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}
