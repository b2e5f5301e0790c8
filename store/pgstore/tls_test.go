package pgstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/postgres"
)

// TestTLS: connections are encrypted where the URL says so, stay as long as they
// are good, and are not made where the server's certificate is not the one.
func TestTLS(t *testing.T) {
	server := postgres.Start(t)
	plain := schema(t, server)
	root := certify(t, server)
	server.Set("ssl", "on")
	server.Stop(false)
	server.Restart()
	verified := strings.Replace(plain, "sslmode=disable", "sslmode=verify-full&sslrootcert="+root, 1)
	s := patient(t, verified)
	for range 3 {
		mustWork(t, s, created(t, s))
	}
	var encrypted, all int
	query(t, plain, "SELECT count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'rescind'", &encrypted)
	query(t, plain, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rescind'", &all)
	if encrypted != all || all == 0 {
		t.Errorf("of %d connections %d are encrypted", all, encrypted)
	}
	var pids, later string
	const who = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE application_name = 'rescind'"
	query(t, plain, who, &pids)
	for range 20 {
		created(t, s)
		time.Sleep(5 * time.Millisecond)
	}
	query(t, plain, who, &later)
	if pids != later {
		t.Errorf("connections were made anew: %s, and now %s", pids, later)
	}
	other := certify(t, server) // not the one in use
	if wrong, err := Open(strings.Replace(verified, root, other, 1), Options{}); err == nil {
		t.Errorf("a server whose certificate nobody signed is used: %v", wrong.Close())
	}
	_, err := s.Lookup(context.Background(), created(t, s).ID)
	if err != nil {
		t.Error(err)
	}
}

// certify gives the server a new certificate, which it uses after a restart, and
// returns the file that vouches for it.
func certify(t *testing.T, server *postgres.Server) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, &text, &text, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	server.Write("server.crt", public)
	server.Write("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	root := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(root, public, 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}
