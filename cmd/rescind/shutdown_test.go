package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/server"
)

// launch starts a server on a folder, in a process of its own.
func launch(t *testing.T, folder, listen string, more ...string) (*child, *application) {
	t.Helper()
	c, err := startChild(context.Background(), program(t), os.Environ(), []string{"RESCIND_STORE=pebble:" + filepath.Join(folder, "data")}, listen, more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c, newApplication(c)
}

// takesNothing reports whether a server takes no new connection.
func takesNothing(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// halfway sends a revocation and stops before its body. It returns once the
// server has begun to work on it.
func halfway(t *testing.T, c *child, body string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r, err := http.NewRequest(http.MethodPost, c.url+"/v1/revocations", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(appID, c.secret.Reveal())
	fmt.Fprintf(conn, "POST /v1/revocations HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		c.address, r.Header.Get("Authorization"), len(body))
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil { // the empty line behind it
		t.Fatal(err)
	}
	return conn, in
}

// inTime waits for what has to be so before long. A busy machine may take its time.
func inTime(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestShutdownLetsWorkEndAndKeepsWhatWasAcknowledged(t *testing.T) {
	folder := t.TempDir()
	settings := filepath.Join(folder, "rescind.yaml")
	if err := os.WriteFile(settings, []byte("shutdown: {delay: 3s, timeout: 20s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, app := launch(t, folder, server.FreePort(t), "--config", settings)
	ctx := context.Background()
	d := &device{name: "laptop"}
	if got, err := app.login(ctx, d); err != nil || got.status != http.StatusCreated {
		t.Fatalf("%+v, %v", got, err)
	}
	check := func() int {
		got, err := app.get(ctx, app.server+"/forward-auth", d.latest())
		if err != nil {
			t.Fatal(err)
		}
		return got.status
	}
	if got := check(); got != 200 {
		t.Fatalf("a new token: %d", got)
	}

	const body = `{"subject":"alice"}`
	conn, in := halfway(t, c, body)
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	inTime(t, "/readyz says 503", func() bool {
		got, err := app.get(ctx, app.server+"/readyz", "")
		return err == nil && got.status == http.StatusServiceUnavailable
	})
	if got := check(); got != 200 {
		t.Fatalf("while the load balancer is still to notice: %d", got)
	}
	app.http.CloseIdleConnections()
	inTime(t, "new connections are refused", func() bool { return takesNothing(c.address) })
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("the request under way got no answer: %v", err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the request under way: %s", resp.Status)
	}
	<-c.done
	if code := c.cmd.ProcessState.ExitCode(); code != exitDone {
		t.Fatalf("exit code %d: %s", code, c.said)
	}

	_, app2 := launch(t, folder, c.address)
	app.server = app2.server
	if got := check(); got != 401 {
		t.Fatalf("after an acknowledged revocation and a restart: %d", got)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	folder := t.TempDir()
	settings := filepath.Join(folder, "rescind.yaml")
	if err := os.WriteFile(settings, []byte("shutdown: {timeout: 200ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := launch(t, folder, "127.0.0.1:0", "--config", settings)
	halfway(t, c, `{"subject":"alice"}`)
	begin := time.Now()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-c.done
	if code := c.cmd.ProcessState.ExitCode(); code != exitDone {
		t.Fatalf("exit code %d: %s", code, c.said)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Fatalf("took %s", took)
	}
}

// TestASecondSignalIsFreeBeforeTheEndBegins: sent by somebody who has seen the end
// begin, it must not be lost.
func TestASecondSignalIsFreeBeforeTheEndBegins(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- os.Interrupt
	var order []string
	orderly(signals, func() { order = append(order, "restored") }, func() { order = append(order, "ended") })
	if want := []string{"restored", "ended"}; !slices.Equal(order, want) {
		t.Fatalf("%q, want %q", order, want)
	}
}

// TestASecondSignalThatComesAtOnceIsNotLost: it comes while the first is still
// being taken.
func TestASecondSignalThatComesAtOnceIsNotLost(t *testing.T) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGTERM) // it is not to end this test
	defer signal.Stop(again)
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGINT
	signals <- syscall.SIGTERM
	orderly(signals, func() {}, func() {})
	select {
	case <-again:
	case <-time.After(10 * time.Second):
		t.Fatal("the second signal is gone")
	}
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	c, _ := launch(t, t.TempDir(), "127.0.0.1:0")
	halfway(t, c, `{"subject":"alice"}`)
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	inTime(t, "new connections are refused", func() bool { return takesNothing(c.address) })
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-c.done
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Fatalf("ended with %v: %s", c.cmd.ProcessState, c.said)
	}
}
