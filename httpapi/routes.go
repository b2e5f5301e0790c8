package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/rescind/rescind"
)

// style is the vocabulary in which a route answers errors.
type style uint8

const (
	own     style = iota // RFC 9457 problem details
	oauth                // RFC 6749 section 5.2
	gateway              // 200, 401, 403, 503 and nothing else
)

// credential is what a route asks its caller for.
type credential uint8

const (
	nothing      credential = iota
	anyClient               // a client; public ones only say who they are
	secretClient            // a client with a secret; by Basic only, except under /oauth/
	bearer                  // a token, which the handler reads
)

// body is what a route takes.
type body uint8

const (
	noBody body = iota
	formBody
	jsonBody
)

// route is all there is to know about one endpoint, for the server and for the
// OpenAPI document.
type route struct {
	method, path string // a path may end in one parameter, as in /v1/sessions/{id}
	handle       func(*call) error
	style        style
	credential   credential
	roles        []rescind.Role // any of them; admin has all
	body         body
	cors         bool   // may be opened to browsers of other origins
	stream       bool   // the answer has no bound
	cache        string // Cache-Control of a 200; everything else is no-store

	summary  string
	request  any // its tags path, query, formData and json name the parameters
	status   int // of success; 200 if zero
	response any // nil: no body
	mime     string

	query []string // names in the query string that it knows
	name  string   // method and path, as metrics and traces have them
	allow string   // for 405
}

// routes is every endpoint. Forward-auth is chosen by prefix before this table is
// asked, because no path may be cleaned or redirected on the way to it.
func (s *server) routes() []*route {
	const (
		issue, introspect, revoke, guard, admin = rescind.RoleIssue, rescind.RoleIntrospect, rescind.RoleRevoke, rescind.RoleGuard, rescind.RoleAdmin
		fiveMinutes                             = "public, max-age=300"
	)
	is := func(r ...rescind.Role) []rescind.Role { return r }

	routes := []*route{
		// Standard endpoints.
		{method: "POST", path: "/oauth/token", handle: (*call).token, style: oauth, credential: anyClient, body: formBody, cors: true,
			summary: "Refresh: rotates a refresh token", request: tokenForm{}, response: rescind.Grant{}},
		{method: "POST", path: "/oauth/introspect", handle: (*call).introspect, style: oauth, credential: secretClient, roles: is(introspect, guard), body: formBody,
			summary: "Says whether a token stands, now, in the ledger", request: introspectForm{}, response: introspection{}},
		{method: "POST", path: "/oauth/revoke", handle: (*call).revoke, style: oauth, credential: anyClient, body: formBody, cors: true,
			summary: "Ends the session that a token belongs to", request: revokeForm{}},
		{method: "GET", path: "/.well-known/oauth-authorization-server", handle: (*call).serverMetadata, cache: fiveMinutes,
			summary: "Authorization server metadata", response: serverMetadata{}},
		{method: "GET", path: "/.well-known/jwks.json", handle: (*call).jwks, cache: fiveMinutes,
			summary: "Public signing keys. Checking a JWT against them alone is not a guard", response: keySet{}},

		// Sessions.
		{method: "POST", path: "/v1/sessions", handle: (*call).createSession, credential: secretClient, roles: is(issue), body: jsonBody,
			summary: "Records a login and hands out its tokens", request: sessionRequest{}, status: http.StatusCreated, response: rescind.Grant{}},
		{method: "GET", path: "/v1/sessions", handle: (*call).listSessions, credential: secretClient, roles: is(issue),
			summary: "Lists sessions", request: sessionsQuery{}, response: rescind.SessionPage{}},
		{method: "GET", path: "/v1/sessions/{id}", handle: (*call).showSession, credential: secretClient, roles: is(issue),
			summary: "Shows a session", request: sessionPath{}, response: rescind.View{}},
		{method: "DELETE", path: "/v1/sessions/{id}", handle: (*call).endSession, credential: secretClient, roles: is(issue, revoke),
			summary: "Ends a session", request: endQuery{}, response: rescind.Receipt{}},
		{method: "POST", path: "/v1/revocations", handle: (*call).revocation, credential: secretClient, roles: is(issue, revoke), body: jsonBody,
			summary: "Ends what a selector names", request: revocationRequest{}, response: rescind.Receipt{}},
		{method: "POST", path: "/v1/logout", handle: (*call).logout, credential: bearer, body: jsonBody, cors: true,
			summary: "Ends the session of the token that is presented", request: logoutRequest{}, response: rescind.Receipt{}},
		{method: "GET", path: "/v1/events", handle: (*call).events, credential: secretClient, roles: is(admin),
			summary: "Reads the audit log, newest first", request: eventsQuery{}, response: rescind.EventPage{}},

		// Administration.
		{method: "GET", path: "/v1/keys", handle: (*call).listKeys, credential: secretClient, roles: is(admin),
			summary: "Lists keys", response: keyList{}},
		{method: "POST", path: "/v1/keys/rotate", handle: (*call).rotateKey, credential: secretClient, roles: is(admin), body: jsonBody,
			summary: "Brings in a new key", request: rotateRequest{}, response: keyList{}},
		{method: "GET", path: "/v1/clients", handle: (*call).listClients, credential: secretClient, roles: is(admin),
			summary: "Lists clients", response: clientList{}},
		{method: "POST", path: "/v1/clients", handle: (*call).addClient, credential: secretClient, roles: is(admin), body: jsonBody,
			summary: "Registers a client", request: clientRequest{}, status: http.StatusCreated, response: clientCreated{}},
		{method: "DELETE", path: "/v1/clients/{id}", handle: (*call).removeClient, credential: secretClient, roles: is(admin),
			summary: "Removes a client and ends its sessions", request: clientPath{}, response: rescind.Receipt{}},
		{method: "GET", path: "/v1/backup", handle: (*call).backup, credential: secretClient, roles: is(admin), stream: true,
			summary: "Copies the store while it serves", response: "", mime: "application/x-tar"},
		{method: "POST", path: "/v1/erasures", handle: (*call).erase, credential: secretClient, roles: is(admin), body: jsonBody,
			summary: "Ends and forgets all sessions of a subject, and every event that names it", request: erasureRequest{}, response: erased{}},

		// Operation.
		{method: "GET", path: "/healthz", handle: (*call).healthy, summary: "The process is alive", response: health{}},
		{method: "GET", path: "/readyz", handle: (*call).ready, summary: "The store answers", response: health{}},
		{method: "GET", path: "/metrics", handle: (*call).showMetrics,
			summary: "Prometheus metrics: free for the configured addresses, else for the role admin", response: "", mime: "text/plain"},
		{method: "GET", path: "/openapi.json", handle: (*call).openapi, cache: fiveMinutes, summary: "This document", response: map[string]any{}},
	}
	// RFC 8414 section 3: the issuer's path comes after the well-known part.
	if path := issuerPath(s.authority.Issuer()); path != "" {
		routes = append(routes, &route{method: "GET", path: "/.well-known/oauth-authorization-server" + path, handle: (*call).serverMetadata, cache: fiveMinutes,
			summary: "Authorization server metadata of this issuer", response: serverMetadata{}})
	}
	for _, r := range routes {
		r.name = r.method + " " + r.path
		r.query = queryNames(r.request)
	}
	return routes
}

// Prefixes of the endpoints for gateways.
const (
	forwardAuthPath  = "/forward-auth"
	forwardRulesPath = "/forward-rules/"
)

// table finds the route of a request.
type table struct {
	exact  map[string][]*route // by path
	prefix map[string][]*route // by what comes before the parameter

	forwardAuth  *route
	forwardRules *route
	missing      map[style]*route // 404
	other        map[string]*route
}

func newTable(routes []*route) (*table, error) {
	t := &table{
		exact: map[string][]*route{}, prefix: map[string][]*route{}, other: map[string]*route{},
		forwardAuth:  &route{name: "ANY " + forwardAuthPath, path: forwardAuthPath, style: gateway, handle: (*call).forwardAuth},
		forwardRules: &route{name: "ANY " + forwardRulesPath + "{name}", path: forwardRulesPath, style: gateway, handle: (*call).forwardAuth},
		missing: map[style]*route{
			own:   {name: "none", style: own, handle: (*call).notFound},
			oauth: {name: "none", style: oauth, handle: (*call).notFound},
		},
	}
	for _, r := range routes {
		to, key := t.exact, r.path
		if i := strings.IndexByte(r.path, '{'); i >= 0 {
			to, key = t.prefix, r.path[:i]
		}
		for _, q := range to[key] {
			if q.method == r.method {
				return nil, fmt.Errorf("httpapi: two routes for %s", r.name)
			}
		}
		to[key] = append(to[key], r)
	}
	for _, at := range []map[string][]*route{t.exact, t.prefix} {
		for key, routes := range at {
			refuse := &route{name: "none", style: routes[0].style, path: key, handle: (*call).methodNotAllowed}
			for _, r := range routes {
				refuse.cors = refuse.cors || r.cors
				refuse.allow += ", " + r.method
				if r.method == http.MethodGet && !r.stream {
					refuse.allow += ", HEAD"
				}
			}
			refuse.allow = strings.TrimPrefix(refuse.allow, ", ")
			t.other[key] = refuse
		}
	}
	return t, nil
}

// find returns the route of a method and a raw path, and the path's parameter.
// Nothing is cleaned, decoded or redirected to find it: another spelling of a
// path is another path.
func (t *table) find(method, path string) (*route, string) {
	if strings.HasPrefix(path, "/forward-") {
		if strings.HasPrefix(path, forwardAuthPath) {
			return t.forwardAuth, ""
		}
		if name, ok := strings.CutPrefix(path, forwardRulesPath); ok {
			if i := strings.IndexAny(name, "/*"); i >= 0 { // "*" is the path of OPTIONS *
				name = name[:i]
			}
			return t.forwardRules, name
		}
	}
	if routes := t.exact[path]; routes != nil {
		return t.pick(routes, method, path), ""
	}
	if i := strings.LastIndexByte(path, '/'); i >= 0 && i+1 < len(path) {
		if routes := t.prefix[path[:i+1]]; routes != nil {
			if param, err := url.PathUnescape(path[i+1:]); err == nil {
				return t.pick(routes, method, path[:i+1]), param
			}
		}
	}
	if path == "/oauth" || strings.HasPrefix(path, "/oauth/") {
		return t.missing[oauth], ""
	}
	return t.missing[own], ""
}

func (t *table) pick(routes []*route, method, key string) *route {
	for _, r := range routes {
		if r.method == method || (method == http.MethodHead && r.method == http.MethodGet && !r.stream) {
			return r
		}
	}
	return t.other[key]
}

// rawPath returns the path as it came over the wire, without the query.
func rawPath(r *http.Request) string {
	if uri := r.RequestURI; strings.HasPrefix(uri, "/") {
		path, _, _ := strings.Cut(uri, "?")
		return path
	}
	return r.URL.EscapedPath() // the absolute form, as in GET http://host/path
}
