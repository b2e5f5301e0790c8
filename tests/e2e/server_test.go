// Package e2e lets real client libraries talk to the real server: what users
// have already must work without special treatment.
package e2e

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// program is the server as it ships, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rescind-e2e-*")
	if err != nil {
		log.Fatal(err)
	}
	program = filepath.Join(dir, "rescind")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "github.com/rescind/rescind/cmd/rescind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		log.Printf("go build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// clientSecret holds what has to be encoded in Basic credentials and in forms.
const (
	adminSecret  = "the-administrators-secret-of-this-test"
	clientSecret = "a-secret:/=&?with~what*needs#some;encoding"
)

// The clients, by what they are to show.
const configuration = `
log: {level: warn}
clients:
  - {id: backend, roles: [issue, introspect], secret_env: RESCIND_E2E_SECRET}
  - {id: opaque.backend, roles: [issue, introspect], access_token_format: opaque, secret_env: RESCIND_E2E_SECRET}
  - {id: browser, public: true}
  - {id: strict-browser, public: true, strict: true}
`

// server is a running server.
type server struct {
	url  string
	ca   string // file with the test's own certificate authority, with TLS
	http *http.Client
}

// start runs the real server on a free port of the loopback interface, on an
// empty folder, until the test ends.
func start(t *testing.T, secure bool) *server {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "rescind.yaml")
	if err := os.WriteFile(config, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "--config", config, "--listen", "127.0.0.1:0", "--store", "pebble:" + filepath.Join(dir, "data")}
	s := &server{http: &http.Client{Timeout: 10 * time.Second}}
	if secure {
		roots := x509.NewCertPool()
		var cert, key string
		s.ca, cert, key = certify(t, dir, roots)
		args = append(args, "--tls-cert-file", cert, "--tls-key-file", key)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig.RootCAs = roots
		s.http.Transport = transport
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "RESCIND_ADMIN_SECRET="+adminSecret, "RESCIND_E2E_SECRET="+clientSecret)
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, over := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, at, ok := strings.Cut(lines.Text(), "rescind is ready at "); ok {
				ready <- at
			}
		}
	}()
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		hung := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer hung.Stop()
		<-over
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended badly: %v", err)
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", stderr)
		}
	})
	select {
	case s.url = <-ready:
	case <-over:
		t.Fatalf("the server does not start:\n%s", stderr)
	case <-time.After(30 * time.Second):
		t.Fatal("the server is not ready in time")
	}
	return s
}

// login opens a session of a client, as an application's backend does.
func (s *server) login(t *testing.T, client, subject string, more map[string]any) rescind.Grant {
	t.Helper()
	body := map[string]any{"subject": subject, "client_id": client, "scope": "read write"}
	for k, v := range more {
		body[k] = v
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/sessions", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", adminSecret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var g rescind.Grant
	if err := json.Unmarshal(text, &g); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("login: %s: %s (%v)", resp.Status, text, err)
	}
	return g
}

// certify makes a certificate authority and a certificate for the loopback
// interface, both for an hour.
func certify(t *testing.T, dir string, roots *x509.CertPool) (ca, cert, key string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of this test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	must(err)
	root, err = x509.ParseCertificate(der)
	must(err)
	roots.AddCert(root)
	ca = write("ca.pem", "CERTIFICATE", der)

	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root, leafKey.Public(), rootKey)
	must(err)
	cert = write("tls.crt", "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	must(err)
	return ca, cert, write("tls.key", "PRIVATE KEY", private)
}
