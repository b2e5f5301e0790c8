package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// slow is a server on both faces whose checks wait until they are let go.
type slow struct {
	started chan struct{} // gets a value with the first check
	release chan struct{}
	stop    context.CancelFunc
	over    chan error
	client  auth.AuthorizationClient
	web     string // its address
	said    *safeBuffer
}

func startSlow(t *testing.T, end shutdown) *slow {
	t.Helper()
	s := &slow{started: make(chan struct{}, 1), release: make(chan struct{}), over: make(chan error, 1), said: &safeBuffer{}}
	front := &gate{next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case s.started <- struct{}{}:
		default: // one that asks whether it is over
		}
		<-s.release
		w.Header().Set("X-Rescind-Subject", "alice")
		w.WriteHeader(http.StatusOK)
	})}
	var listeners [2]net.Listener
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	s.web = listeners[0].Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	t.Cleanup(stop)
	go func() {
		s.over <- front.serve(ctx, end, slog.New(slog.NewTextHandler(s.said, nil)),
			overHTTP(&http.Server{Handler: front}, listeners[0]), overGRPC(grpcServer(front, nil, slog.New(slog.DiscardHandler)), listeners[1]))
	}()
	conn, err := grpc.NewClient(listeners[1].Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s.client = auth.NewAuthorizationClient(conn)
	return s
}

// check begins a check and returns once the server works on it.
func (s *slow) check(t *testing.T) chan error {
	t.Helper()
	answer := make(chan error, 1)
	go func() {
		a, err := s.client.Check(context.Background(), &auth.CheckRequest{})
		if err == nil && a.GetOkResponse() == nil {
			err = status.Error(codes.Internal, "denied")
		}
		answer <- err
	}()
	<-s.started
	return answer
}

func (s *slow) ended(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestShutdownLetsChecksOverGRPCEnd(t *testing.T) {
	s := startSlow(t, shutdown{Timeout: duration(20 * time.Second)})
	answer := s.check(t)
	s.stop()
	inTime(t, "nothing new is taken", func() bool {
		// What is taken in the last moment is not answered.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := s.client.Check(ctx, &auth.CheckRequest{})
		return takesNothing(s.web) && status.Code(err) == codes.Unavailable
	})
	select {
	case err := <-s.over:
		t.Fatalf("it ended before the check under way, and the store would be closed: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(s.release)
	if err := <-answer; err != nil {
		t.Errorf("the check under way: %v", err)
	}
	s.ended(t)
}

func TestShutdownOfGRPCIsBounded(t *testing.T) {
	s := startSlow(t, shutdown{Timeout: duration(100 * time.Millisecond)})
	answer := s.check(t)
	s.stop()
	// It is cut off at once, but the store is not closed under a handler.
	if err := <-answer; status.Code(err) != codes.Unavailable {
		t.Errorf("the check under way: %v", err)
	}
	close(s.release)
	s.ended(t)
	if !strings.Contains(s.said.String(), "cut off") {
		t.Errorf("the log does not say so: %s", s.said)
	}
}

func TestABrokenListenerEndsTheOtherToo(t *testing.T) {
	front := &gate{next: http.NotFoundHandler()}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	checks, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	checks.Close()
	err = front.serve(context.Background(), shutdown{}, slog.New(slog.DiscardHandler),
		overHTTP(&http.Server{Handler: front}, web), overGRPC(grpcServer(front, nil, slog.New(slog.DiscardHandler)), checks))
	if err == nil {
		t.Error("no error")
	}
	if conn, err := net.Dial("tcp", web.Addr().String()); err == nil {
		conn.Close()
		t.Error("HTTP is still served")
	}
}

func TestAPanicOverGRPCEndsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said := &safeBuffer{}
	server := grpcServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") }), nil, slog.New(slog.NewTextHandler(said, nil)))
	over := make(chan error, 1)
	go func() { over <- server.Serve(l) }()
	defer func() {
		server.Stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		if a, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("health: %v, %v", a, err)
		}
		if a, err := auth.NewAuthorizationClient(conn).Check(t.Context(), &auth.CheckRequest{}); err != nil || a.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Errorf("check: %v, %v", a, err)
		}
	}
	if !strings.Contains(said.String(), "panic") {
		t.Errorf("the log does not say so: %s", said)
	}
}
