package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// listen opens an address. The error says what to do about one that is taken.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, refusedf("another process serves on %s already: end it, or choose another address by --listen", addr)
	}
	if err != nil {
		return nil, refusedf("listen: %w", err)
	}
	return l, nil
}

// gate stands in front of the API and knows when the server is about to end.
type gate struct {
	next     http.Handler
	draining atomic.Bool
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/readyz" && g.draining.Load() {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", "5")
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	g.next.ServeHTTP(w, r)
}

// serve answers on l until ctx ends, then lets the requests under way end and
// returns nil. Until it has returned, the store must stay open.
func (g *gate) serve(ctx context.Context, server *http.Server, l net.Listener, end shutdown, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(l, "", "") // the settings know the certificate
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed: // the listener broke
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	log.Info("shutting down: requests under way end, new ones are refused")
	g.draining.Store(true)
	time.Sleep(time.Duration(end.Delay))
	// The signal has ended ctx; what is under way gets a time of its own.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(end.Timeout))
	defer cancel()
	err := server.Shutdown(bound)
	if errors.Is(err, context.DeadlineExceeded) {
		// They get no answer, which is no promise: their outcome is unknown to them.
		log.Warn("some requests did not end in time and are cut off", "after", end.Timeout)
		return server.Close()
	}
	return err
}
