package gateways

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	early "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
)

// standIn does what Envoy documents for the configurations under gateways/envoy,
// reading them as Envoy's own types. It is no Envoy: how that reads a request off the
// wire, it cannot show.
type standIn struct {
	t         *testing.T
	manager   *hcm.HttpConnectionManager
	mutations *early.HeaderMutation
	checks    []filter // in their order
	clusters  map[string]string
}

// filter is ext_authz, once.
type filter struct {
	name string
	*extauthz.ExtAuthz
}

func startStandIn(t *testing.T, b *bootstrap.Bootstrap, addr string) {
	t.Helper()
	s := &standIn{t: t, manager: manager(t, b), clusters: map[string]string{}}
	s.mutations = unpack(t, s.manager.GetEarlyHeaderMutationExtensions()[0].GetTypedConfig(), &early.HeaderMutation{})
	for _, c := range b.GetStaticResources().GetClusters() {
		at := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress()
		s.clusters[c.GetName()] = fmt.Sprintf("%s:%d", at.GetAddress(), at.GetPortValue())
	}
	for _, f := range s.manager.GetHttpFilters() {
		c := &extauthz.ExtAuthz{}
		if !f.GetTypedConfig().MessageIs(c) {
			continue
		}
		s.checks = append(s.checks, filter{f.GetName(), unpack(t, f.GetTypedConfig(), c)})
	}
	l, err := net.Listen("tcp", addr)
	must(t, err)
	server := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	over := make(chan error, 1)
	go func() { over <- server.Serve(l) }()
	t.Cleanup(func() {
		must(t, server.Close())
		if err := <-over; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name := range r.Header {
		if strings.Contains(name, "_") && s.manager.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() == core.HttpProtocolOptions_DROP_HEADER {
			delete(r.Header, name)
		}
		for _, m := range s.mutations.GetMutations() {
			if matches(m.GetRemoveOnMatch().GetKeyMatcher(), strings.ToLower(name)) {
				delete(r.Header, name)
			}
		}
	}
	r.Header.Set("X-Forwarded-Proto", "http") // use_remote_address
	uri, ok := s.normal(r.RequestURI)
	if !ok || r.Method == http.MethodConnect {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	upgrade := r.Header.Get("Upgrade")
	if upgrade != "" && (len(r.Header["Upgrade"]) > 1 || !strings.EqualFold(upgrade, s.manager.GetUpgradeConfigs()[0].GetUpgradeType())) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	host := s.manager.GetRouteConfig().GetVirtualHosts()[0]
	for _, to := range host.GetRoutes() {
		if !routed(to.GetMatch(), r, uri) {
			continue
		}
		for _, check := range s.checks {
			per := perRoute(s.t, check.name, to.GetTypedPerFilterConfig(), host.GetTypedPerFilterConfig())
			if per.GetDisabled() {
				continue
			}
			if passed := s.check(w, r, uri, check, per.GetCheckSettings()); !passed {
				return
			}
		}
		if d := to.GetDirectResponse(); d != nil {
			w.WriteHeader(int(d.GetStatus()))
			return
		}
		for _, name := range host.GetRequestHeadersToRemove() {
			r.Header.Del(name)
		}
		s.pass(w, r, uri, s.clusters[to.GetRoute().GetCluster()])
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// unreserved finds what needs no encoding (RFC 3986 section 2.3).
var unreserved = regexp.MustCompile(`(?i)%(2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])`)

// normal is a target after normalize_path, merge_slashes and
// path_with_escaped_slashes_action.
func (s *standIn) normal(target string) (string, bool) {
	if u, err := url.Parse(target); err == nil && u.IsAbs() {
		target = u.RequestURI()
	}
	p, query, asked := strings.Cut(target, "?")
	lower := strings.ToLower(p)
	if !strings.HasPrefix(p, "/") || strings.Contains(target, "#") || strings.Contains(lower, "%00") ||
		s.manager.GetPathWithEscapedSlashesAction() == hcm.HttpConnectionManager_REJECT_REQUEST && (strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c")) {
		return "", false
	}
	if s.manager.GetNormalizePath().GetValue() {
		p = unreserved.ReplaceAllStringFunc(strings.ReplaceAll(p, `\`, "/"), func(c string) string {
			plain, err := url.PathUnescape(c)
			must(s.t, err)
			return plain
		})
		dir := strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
		if s.manager.GetMergeSlashes() {
			if p = path.Clean(p); dir && p != "/" {
				p += "/"
			}
		}
	}
	if asked {
		p += "?" + query
	}
	return p, true
}

func routed(m *route.RouteMatch, r *http.Request, uri string) bool {
	p, _, _ := strings.Cut(uri, "?")
	if re := m.GetSafeRegex(); re != nil && !whole(re.GetRegex(), p) || re == nil && !strings.HasPrefix(p, m.GetPrefix()) {
		return false
	}
	for _, h := range m.GetHeaders() {
		values, there := r.Header[http.CanonicalHeaderKey(h.GetName())]
		value := strings.Join(values, ",")
		if h.GetName() == ":method" {
			value, there = r.Method, true
		}
		if (there && (h.GetPresentMatch() || matches(h.GetStringMatch(), value))) == h.GetInvertMatch() {
			return false
		}
	}
	return true
}

// perRoute is the most specific settings of a filter.
func perRoute(t *testing.T, name string, from ...map[string]*anypb.Any) *extauthz.ExtAuthzPerRoute {
	for _, settings := range from {
		if packed := settings[name]; packed != nil {
			return unpack(t, packed, &extauthz.ExtAuthzPerRoute{})
		}
	}
	return nil
}

// whole reports whether a regular expression matches all of a text, as in Envoy.
func whole(re, text string) bool { return regexp.MustCompile(`^(?:` + re + `)$`).MatchString(text) }

func matches(m *matcher.StringMatcher, text string) bool {
	switch m.GetMatchPattern().(type) {
	case *matcher.StringMatcher_Exact:
		return m.GetExact() == text
	case *matcher.StringMatcher_SafeRegex:
		return whole(m.GetSafeRegex().GetRegex(), text)
	}
	return false
}

func listed(l *matcher.ListStringMatcher, name string) bool {
	for _, m := range l.GetPatterns() {
		if matches(m, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// verdict is what ext_authz makes of an answer.
type verdict struct {
	status int // 0: there was none
	set    http.Header
	remove []string
	body   string
}

// check reports whether a request may go on, or answers it.
func (s *standIn) check(w http.ResponseWriter, r *http.Request, uri string, f filter, per *extauthz.CheckSettings) bool {
	var v verdict
	if f.GetGrpcService() != nil {
		v = s.overGRPC(r, uri, f, per)
	} else {
		v = s.overHTTP(r, uri, f)
	}
	switch {
	case v.status == http.StatusOK:
		maps.Copy(r.Header, v.set)
		for _, name := range v.remove {
			r.Header.Del(name)
		}
		return true
	case v.status == 0 && f.GetFailureModeAllow():
		return true
	case v.status == 0:
		if v.status = int(f.GetStatusOnError().GetCode()); v.status == 0 {
			v.status = http.StatusForbidden
		}
	}
	maps.Copy(w.Header(), v.set)
	for _, m := range s.manager.GetLocalReplyConfig().GetMappers() {
		// Its filter is a status and UAEX, which everything from here has.
		if int(m.GetFilter().GetAndFilter().GetFilters()[0].GetStatusCodeFilter().GetComparison().GetValue().GetDefaultValue()) == v.status {
			for _, h := range m.GetHeadersToAdd() {
				w.Header().Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
			}
		}
	}
	w.WriteHeader(v.status)
	_, _ = io.WriteString(w, v.body)
	return false
}

func (s *standIn) overGRPC(r *http.Request, uri string, f filter, per *extauthz.CheckSettings) verdict {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	in := &auth.AttributeContext_HttpRequest{Method: r.Method, Host: r.Host, Scheme: "http", Path: uri, Protocol: "HTTP/1.1"}
	if f.GetEncodeRawHeaders() {
		in.HeaderMap = &core.HeaderMap{}
	} else {
		in.Headers = map[string]string{}
	}
	for name, values := range r.Header {
		if name = strings.ToLower(name); in.HeaderMap == nil {
			in.Headers[name] = strings.Join(values, ",")
			continue
		}
		for _, v := range values {
			in.HeaderMap.Headers = append(in.HeaderMap.Headers, &core.HeaderValue{Key: name, RawValue: []byte(v)})
		}
	}
	// Connected each time, because Envoy does not wait before it connects again.
	conn, err := grpc.NewClient(s.clusters[f.GetGrpcService().GetEnvoyGrpc().GetClusterName()], grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(s.t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(r.Context(), f.GetGrpcService().GetTimeout().AsDuration())
	defer cancel()
	a, err := auth.NewAuthorizationClient(conn).Check(ctx, &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source:  &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: host}}}},
		Request: &auth.AttributeContext_Request{Http: in}, ContextExtensions: per.GetContextExtensions(),
	}})
	if err != nil {
		return verdict{}
	}
	v, options := verdict{status: http.StatusOK, set: http.Header{}}, a.GetOkResponse().GetHeaders()
	v.remove = a.GetOkResponse().GetHeadersToRemove()
	if codes.Code(a.GetStatus().GetCode()) != codes.OK {
		no := a.GetDeniedResponse()
		v.status, v.body, options = int(no.GetStatus().GetCode()), no.GetBody(), no.GetHeaders()
	}
	for _, h := range options {
		v.set.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
	}
	return v
}

func (s *standIn) overHTTP(r *http.Request, uri string, f filter) verdict {
	to := f.GetHttpService()
	ctx, cancel := context.WithTimeout(r.Context(), to.GetServerUri().GetTimeout().AsDuration())
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, r.Method, "http://"+s.clusters[to.GetServerUri().GetCluster()]+to.GetPathPrefix()+uri, nil)
	must(s.t, err)
	ask.Host = r.Host
	for name, values := range r.Header {
		if name == "Authorization" || listed(f.GetAllowedHeaders(), name) {
			ask.Header[name] = values
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(ask)
	if err != nil {
		return verdict{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 500 {
		return verdict{}
	}
	v, names := verdict{status: resp.StatusCode, set: http.Header{}, body: string(body)}, to.GetAuthorizationResponse().GetAllowedClientHeaders()
	if v.status == http.StatusOK {
		names = to.GetAuthorizationResponse().GetAllowedUpstreamHeaders()
	}
	for name, values := range resp.Header {
		if listed(names, name) {
			v.set[name] = values
		}
	}
	return v
}

// pass is the router.
func (s *standIn) pass(w http.ResponseWriter, r *http.Request, uri, to string) {
	target, err := url.ParseRequestURI(uri)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	// Envoy has a connection of its own, and knows which of its headers end here.
	r.Header.Del("Connection")
	if r.Header.Get("Upgrade") != "" {
		r.Header.Set("Connection", "Upgrade")
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = target, r.Host
			p.Out.URL.Scheme, p.Out.URL.Host = "http", to
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	proxy.ServeHTTP(w, r)
}
