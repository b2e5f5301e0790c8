package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// pair makes a self-signed certificate for 127.0.0.1 and its key, as PEM.
func pair(t *testing.T, name string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// safeBuffer is a buffer for a log that goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestANewCertificateIsServedAndABrokenOneIsNot(t *testing.T) {
	dir := t.TempDir()
	files := tlsFiles{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	write := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	chain, key := pair(t, "first")
	write(files.CertFile, chain)
	write(files.KeyFile, key)
	said := &safeBuffer{}
	log := slog.New(slog.NewTextHandler(said, nil))
	c, err := loadCertificate(files, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go c.follow(ctx, 5*time.Millisecond)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := &gate{next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	served := make(chan error, 1)
	go func() {
		served <- front.serve(ctx, shutdown{Timeout: duration(time.Second)}, log, overHTTP(&http.Server{Handler: front, TLSConfig: c.config()}, l))
	}()
	// name is what a new connection is shown.
	name := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // who it is, is what the test asks
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "first" {
		t.Fatalf("serves %q", got)
	}

	secondChain, secondKey := pair(t, "second")
	write(files.CertFile, secondChain) // half-way: this certificate and the old key
	inTime(t, "the log says that the pair does not fit", func() bool { return bytes.Contains([]byte(said.String()), []byte("no good")) })
	if got := name(); got != "first" {
		t.Fatalf("serves %q although the pair does not fit", got)
	}
	write(files.KeyFile, secondKey)
	inTime(t, "the second certificate is served", func() bool { return name() == "second" })

	before := len(said.String())
	write(files.CertFile, []byte("nonsense"))
	if err := os.Remove(files.KeyFile); err != nil {
		t.Fatal(err)
	}
	inTime(t, "the log says that a file is gone", func() bool { return len(said.String()) > before })
	if got := name(); got != "second" {
		t.Fatalf("serves %q after the files were destroyed", got)
	}
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func TestABrokenCertificateEndsTheStart(t *testing.T) {
	dir := t.TempDir()
	chain, _ := pair(t, "one")
	_, key := pair(t, "other")
	files := tlsFiles{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")}
	if _, err := loadCertificate(files, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("no files, and no error")
	}
	for path, text := range map[string][]byte{files.CertFile: chain, files.KeyFile: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := loadCertificate(files, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("a key of another certificate, and no error")
	}
}
