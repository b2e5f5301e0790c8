package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/rescind/rescind/extauthz"
	"github.com/rescind/rescind/httpapi"
)

// Limits on gRPC. A check holds the headers of a request and, if Envoy is told to
// send it, a body, which nobody reads.
const (
	maxCheck  = 1 << 20 // bytes
	maxChecks = 1000    // under way on one connection
)

// grpcServer answers Envoy's ext_authz, and asks the API behind it. The health
// service says what /readyz says.
func grpcServer(api http.Handler, secure *tls.Config, log *slog.Logger) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxCheck),
		grpc.MaxHeaderListSize(httpapi.MaxHeader),
		grpc.MaxConcurrentStreams(maxChecks),
		grpc.ConnectionTimeout(5 * time.Second),
		// A peer that has gone without a word is noticed; one that asks often
		// whether we are there, as Envoy may, is not sent away for it.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // the store is closed after them
		grpc.UnaryInterceptor(surviving(log)),
	}
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	s := grpc.NewServer(options...)
	auth.RegisterAuthorizationServer(s, extauthz.New(api))
	grpc_health_v1.RegisterHealthServer(s, &health{api: api})
	return s
}

// surviving keeps a panic from ending the process: unlike net/http, gRPC lets it. An
// error lets nobody pass.
func surviving(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (out any, err error) {
		defer func() {
			if failure := recover(); failure != nil {
				log.ErrorContext(ctx, "panic", "failure", failure, "stack", string(debug.Stack()))
				out, err = nil, status.Error(codes.Unavailable, "no answer")
			}
		}()
		return handle(ctx, in)
	}
}

// health is the gRPC health service, for the whole server and for ext_authz.
// Watch is not offered: whoever wants to know asks.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	api http.Handler
}

func (h *health) Check(ctx context.Context, in *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if name := in.GetService(); name != "" && name != auth.Authorization_ServiceDesc.ServiceName {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return nil, err
	}
	a := &verdict{header: http.Header{}}
	h.api.ServeHTTP(a, r)
	says := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if a.status == http.StatusOK {
		says = grpc_health_v1.HealthCheckResponse_SERVING
	}
	return &grpc_health_v1.HealthCheckResponse{Status: says}, nil
}

// verdict keeps the status of an answer.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header { return v.header }

func (v *verdict) WriteHeader(status int) {
	if v.status == 0 && status >= http.StatusOK {
		v.status = status
	}
}

func (v *verdict) Write(p []byte) (int, error) {
	v.WriteHeader(http.StatusOK)
	return len(p), nil
}

// overGRPC serves on l.
func overGRPC(server *grpc.Server, l net.Listener) face {
	return face{
		serve: func() error { return server.Serve(l) },
		end: func(ctx context.Context) error {
			over := make(chan struct{})
			go func() {
				defer close(over)
				server.GracefulStop()
			}()
			select {
			case <-over:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		cut: func() error {
			server.Stop()
			return nil
		},
	}
}
