package e2e

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rescind/rescind/tests/server"
)

const rules = `
audience: https://api.example.com
forward_auth:
  rules:
    reports: {scope: "reports:read"}
`

// envoy is Envoy's own generated client, connected to the server's gRPC port.
type envoy struct {
	*server.Server
	conn *grpc.ClientConn
}

func startEnvoy(t *testing.T, secure bool, more string) *envoy {
	t.Helper()
	config := filepath.Join(t.TempDir(), "rescind.yaml")
	must(t, os.WriteFile(config, []byte(rules+more), 0o600))
	e := &envoy{Server: program.Start(t, server.Options{Config: config, TLS: secure, GRPC: true})}
	e.conn = e.dial(t)
	return e
}

func (e *envoy) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	who := insecure.NewCredentials()
	if e.CA != "" {
		text, err := os.ReadFile(e.CA)
		must(t, err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		who = credentials.NewClientTLSFromCert(roots, "")
	}
	conn, err := grpc.NewClient(e.GRPC, grpc.WithTransportCredentials(who))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return conn
}

// check asks as Envoy does, with the patience of docs/gateways.md.
func (e *envoy) check(t *testing.T, token, rule string, more ...string) (*auth.CheckResponse, error) {
	t.Helper()
	in := &auth.AttributeContext_HttpRequest{
		Method: "GET", Host: "api.example.com", Scheme: "https", Path: "/notes",
		Headers: map[string]string{"x-rescind-subject": "root", "x_rescind_scope": "root"},
	}
	if token != "" {
		in.Headers["authorization"] = "Bearer " + token
	}
	for i := 0; i < len(more); i += 2 {
		in.Headers[more[i]] = more[i+1]
	}
	a := &auth.AttributeContext{Request: &auth.AttributeContext_Request{Http: in}}
	if rule != "" {
		a.ContextExtensions = map[string]string{"rule": rule}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return auth.NewAuthorizationClient(e.conn).Check(ctx, &auth.CheckRequest{Attributes: a})
}

// denied fails the test unless a check is denied with a status and a challenge.
func denied(t *testing.T, what string, a *auth.CheckResponse, err error, code codes.Code, status int, word string) {
	t.Helper()
	no := a.GetDeniedResponse()
	challenge := ""
	for _, h := range no.GetHeaders() {
		if h.GetHeader().GetKey() == "www-authenticate" {
			challenge = h.GetHeader().GetValue()
		}
	}
	if err != nil || codes.Code(a.GetStatus().GetCode()) != code || int(no.GetStatus().GetCode()) != status || !strings.Contains(challenge, word) {
		t.Errorf("%s: %v, %v", what, a, err)
	}
}

func TestEnvoyAsksOverGRPC(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEnvoy(t, secure, "")
			login := func(scope string, audience ...string) string {
				return e.Login(t, "app", "alice", map[string]any{"scope": scope, "audience": audience}).AccessToken.Reveal()
			}
			token := login("reports:read")
			for what, c := range map[string]struct {
				token, rule string
				code        codes.Code
				status      int
				word        string
			}{
				"no token":       {"", "", codes.Unauthenticated, 401, "Bearer"},
				"a bad token":    {"nonsense", "", codes.Unauthenticated, 401, "invalid_token"},
				"wrong audience": {login("", "https://elsewhere.example.com"), "", codes.Unauthenticated, 401, "invalid_token"},
				"missing scope":  {login(""), "reports", codes.PermissionDenied, 403, "insufficient_scope"},
				"no such rule":   {token, "misspelt", codes.PermissionDenied, 403, ""},
			} {
				a, err := e.check(t, c.token, c.rule)
				denied(t, what, a, err, c.code, c.status, c.word)
			}
			for range 2 {
				for _, rule := range []string{"", "reports"} {
					a, err := e.check(t, token, rule)
					got := fmt.Sprint(a.GetOkResponse())
					if err != nil || codes.Code(a.GetStatus().GetCode()) != codes.OK || !strings.Contains(got, "alice") || strings.Contains(got, "root") || !strings.Contains(got, "x_rescind_scope") {
						t.Errorf("a token that stands: %v, %v", a, err)
					}
				}
			}
			e.Logout(t, token)
			a, err := e.check(t, token, "")
			denied(t, "after the logout", a, err, codes.Unauthenticated, 401, "invalid_token")
			// What is counted for HTTP is counted here: two rules, twice.
			if page := e.metrics(t); !strings.Contains(page, `rescind_checks_total{by="forward_auth",result="active"} 4`) {
				t.Errorf("the metrics do not count checks over gRPC:\n%s", page)
			}
			if secure {
				e.CA = ""
				e.conn = e.dial(t)
				if a, err := e.check(t, token, ""); status.Code(err) != codes.Unavailable {
					t.Errorf("without TLS: %v, %v", a, err)
				}
			}
		})
	}
}

func (e *envoy) metrics(t *testing.T) string {
	t.Helper()
	resp, err := e.HTTP.Get(e.URL + "/metrics")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(text)
}

func (e *envoy) health(t *testing.T, service string) (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	a, err := grpc_health_v1.NewHealthClient(e.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	return a.GetStatus(), err
}

// TestUnavailableIsClosedOverGRPC: without an answer there is an error, which Envoy
// turns into the status of status_on_error unless it is told to let everything pass.
func TestUnavailableIsClosedOverGRPC(t *testing.T) {
	t.Parallel()
	e := startEnvoy(t, false, "shutdown: {delay: 3s}\n")
	token := e.Login(t, "app", "alice", nil).AccessToken.Reveal()
	passes := func(when string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // gRPC waits before it connects again
			a, err := e.check(t, token, "")
			if err == nil && a.GetOkResponse() != nil {
				return
			}
			if err == nil || time.Now().After(end) {
				t.Fatalf("%s: %v, %v", when, a, err)
			}
		}
	}
	passes("at first")
	for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
		if got, err := e.health(t, service); err != nil || got != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, got, err)
		}
	}
	if _, err := e.health(t, "another"); status.Code(err) != codes.NotFound {
		t.Errorf("health of another service: %v", err)
	}
	if a, err := e.check(t, token, "", "x", strings.Repeat("x", 2<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a check of 2 MiB: %v, %v", a, err)
	}

	e.Freeze(t)
	if a, err := e.check(t, token, ""); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("frozen: %v, %v", a, err)
	}
	e.Thaw(t)
	passes("thawed")

	// While it says that it is about to end it still answers.
	must(t, e.Signal(syscall.SIGTERM))
	for end := time.Now().Add(2500 * time.Millisecond); ; time.Sleep(10 * time.Millisecond) {
		got, err := e.health(t, "")
		if err == nil && got == grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("about to end: %v, %v", got, err)
		}
	}
	if a, err := e.check(t, token, ""); err != nil || a.GetOkResponse() == nil {
		t.Errorf("about to end: %v, %v", a, err)
	}
	<-e.Over()
	if code := e.ExitCode(); code != 0 {
		t.Errorf("ended with %d", code)
	}
	if a, err := e.check(t, token, ""); status.Code(err) != codes.Unavailable {
		t.Errorf("stopped: %v, %v", a, err)
	}
	e.Again(t)
	passes("started again")
}

func TestThereIsNoGRPCUnlessAskedFor(t *testing.T) {
	t.Parallel()
	e := &envoy{Server: program.Start(t, server.Options{})}
	if e.GRPC != "" {
		t.Errorf("it listens on %s", e.GRPC)
	}
	// And nothing but HTTP on the port of HTTP.
	e.GRPC = e.Addr()
	e.conn = e.dial(t)
	if a, err := e.check(t, "", ""); err == nil {
		t.Errorf("the port of HTTP answers: %v", a)
	}
	resp, err := e.HTTP.Get(e.URL + "/healthz")
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}
