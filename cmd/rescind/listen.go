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

// listen opens the address of a flag. The error says what to do about one that
// is taken.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, refusedf("another process serves on %s already: end it, or choose another address by --%s", addr, flag)
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

// face is one way in which the server is reached.
type face struct {
	serve func() error                // returns when the listener breaks, or after the others
	end   func(context.Context) error // takes nothing new, and returns when what is under way has ended
	cut   func() error                // ends what is under way
}

// overHTTP serves on l, over TLS where the server has settings for it.
func overHTTP(server *http.Server, l net.Listener) face {
	return face{
		serve: func() error {
			if server.TLSConfig != nil {
				return server.ServeTLS(l, "", "") // the settings know the certificate
			}
			return server.Serve(l)
		},
		end: server.Shutdown,
		cut: server.Close,
	}
}

// serve answers on all faces until ctx ends, then lets the requests under way end
// and returns nil. Until it has returned, the store must stay open.
func (g *gate) serve(ctx context.Context, end shutdown, log *slog.Logger, faces ...face) error {
	failed := make(chan error, len(faces))
	for _, f := range faces {
		go func() { failed <- f.serve() }()
	}
	select {
	case err := <-failed: // a listener broke
		for _, f := range faces {
			err = errors.Join(err, f.cut())
		}
		return err
	case <-ctx.Done():
	}
	log.Info("shutting down: requests under way end, new ones are refused")
	g.draining.Store(true)
	time.Sleep(time.Duration(end.Delay))
	// The signal has ended ctx; what is under way gets a time of its own.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(end.Timeout))
	defer cancel()
	ended := make(chan error, len(faces))
	for _, f := range faces {
		go func() {
			err := f.end(bound)
			if errors.Is(err, context.DeadlineExceeded) {
				// They get no answer, which is no promise: their outcome is unknown to them.
				log.Warn("some requests did not end in time and are cut off", "after", end.Timeout)
				err = f.cut()
			}
			ended <- err
		}()
	}
	var err error
	for range faces {
		err = errors.Join(err, <-ended)
	}
	return err
}
