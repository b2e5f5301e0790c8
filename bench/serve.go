package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rescind/rescind/httpapi"
)

const (
	serveRounds = 5
	connections = 64
)

// target is a server on loopback and what it is asked.
type target struct {
	name     string
	addr     string
	requests string // a file
	want     string

	p50, p99, busy, generator series // of the rounds that count
}

// httpRows compares checks over HTTP with a handler that does nothing.
func (b *bench) httpRows(ctx context.Context) (rows []row, err error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	handler, err := httpapi.New(l.authority, httpapi.Options{Logger: b.log})
	if err != nil {
		return nil, err
	}
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok") // the client is gone if this fails, and notices
	})
	ours, stopOurs, err := listen(httpapi.Server(handler))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stopOurs()) }()
	theirs, stopTheirs, err := listen(&http.Server{Handler: bare})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stopTheirs()) }()

	authorization := "Basic " + base64.StdEncoding.EncodeToString([]byte(gateway+":"+l.secret.Reveal()))
	targets := []*target{
		{name: "bare", addr: theirs, want: "ok"},
		{name: "introspect", addr: ours, want: `"active":true`},
		{name: "forward-auth", addr: ours},
	}
	for _, t := range targets {
		var file []byte
		for _, c := range l.opaque {
			file = appendRequest(file, t.request(authorization, c.access))
			if t.name == "bare" {
				break
			}
		}
		t.requests = filepath.Join(b.dir, "requests-"+t.name)
		if err := os.WriteFile(t.requests, file, 0o600); err != nil {
			return nil, err
		}
	}
	var sides []contender
	for _, t := range targets {
		sides = append(sides, contender{t.name, func(round int) (float64, error) { return t.measure(ctx, round) }})
	}
	got, err := contest(serveRounds, sides...)
	if err != nil {
		return nil, err
	}
	for i, what := range []string{1: "POST /oauth/introspect, opaque", 2: "GET /forward-auth, opaque"} {
		if i == 0 {
			continue
		}
		r := against("http", what+fmt.Sprintf(", %d connections", connections), perSecond, got[i], "bare net/http", got[0], &goal{atLeast, 0.5})
		if i == 1 {
			r = r.note("%s", targets[0].describe())
		}
		rows = append(rows, r.note("%s", targets[i].describe()))
	}
	return rows, nil
}

func (t *target) request(authorization, token string) []byte {
	switch t.name {
	case "introspect":
		form := url.Values{"token": {token}}.Encode()
		return fmt.Appendf(nil, "POST /oauth/introspect HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", t.addr, authorization, len(form), form)
	case "forward-auth":
		// What Traefik sends along with the request's own header.
		return fmt.Appendf(nil, "GET /forward-auth HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
			"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Host: api.example\r\nX-Forwarded-Method: GET\r\n"+
			"X-Forwarded-Proto: https\r\nX-Forwarded-Uri: /v1/orders/4711\r\n\r\n", t.addr, token)
	}
	return fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", t.addr)
}

// measure lets the load generator loose on a target and returns answers per second.
func (t *target) measure(ctx context.Context, round int) (float64, error) {
	before, _ := processTime()
	var r loadResult
	err := again(ctx, &r, "load", "-addr", t.addr, "-requests", t.requests,
		"-connections", strconv.Itoa(connections), "-want", t.want)
	if err != nil {
		return 0, err
	}
	after, _ := processTime() // nothing where the system does not tell
	if r.Requests == 0 {
		return 0, errors.New("no answers")
	}
	if round > 0 {
		t.p50 = append(t.p50, float64(r.P50))
		t.p99 = append(t.p99, float64(r.P99))
		t.busy = append(t.busy, float64(after-before)/float64(r.All))
		t.generator = append(t.generator, float64(r.Busy)/float64(r.All))
	}
	return float64(r.Requests) / r.Seconds, nil
}

func (t *target) describe() string {
	return fmt.Sprintf("%s: p50 %s, p99 %s, processor time of the server %s a request, of the load generator %s",
		t.name, nanoseconds.format(median(t.p50)), nanoseconds.format(median(t.p99)),
		nanoseconds.format(median(t.busy)), nanoseconds.format(median(t.generator)))
}

// listen serves on a free port of loopback until stop is called.
func listen(s *http.Server) (addr string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	return l.Addr().String(), func() error {
		err := s.Close()
		if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	}, nil
}

// again runs this program once more, in a role, and reads what it prints.
func again(ctx context.Context, into any, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var out, problems bytes.Buffer
	c := exec.CommandContext(ctx, self, args...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(problems.Bytes()))
	}
	return json.Unmarshal(out.Bytes(), into)
}
