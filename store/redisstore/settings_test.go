package redisstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/redis"
)

// mustRefuse opens a store that must be refused with some words.
func mustRefuse(t *testing.T, url string, words ...string) {
	t.Helper()
	s, err := Open(url, Options{Timeout: calm})
	if err == nil {
		t.Errorf("opened %s (closed: %v), want an error with %q", url, s.Close(), words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("want %q in the error, got: %v", w, err)
		}
		if invalid := strings.HasPrefix(w, "accept="); invalid && (!errors.Is(err, rescind.ErrInvalid) || errors.Is(err, rescind.ErrUnavailable)) {
			t.Errorf("want ErrInvalid, for it does not help to try again: %v", err)
		}
	}
}

// mustWarn opens a store that works, and says something in its report.
func mustWarn(t *testing.T, url string, words ...string) *Store {
	t.Helper()
	return mustWarnIn(t, calm, url, words...)
}

func mustWarnIn(t *testing.T, timeout time.Duration, url string, words ...string) *Store {
	t.Helper()
	s := openWith(t, url, timeout)
	r := enrol(t, s, 1)
	for tries := 0; ; tries++ {
		if err := logout(s, r.ID); err == nil {
			break
		} else if tries == 10 {
			t.Fatal(err)
		}
	}
	mustStand(t, s, r.ID, false)
	for _, w := range words {
		if !strings.Contains(s.Report().String(), w) {
			t.Errorf("want %q in the report, got:\n%s", w, s.Report())
		}
	}
	return s
}

var unsafe = map[string][2]string{ // what a server must have, and what it must not
	"appendonly":                {"yes", "no"},
	"appendfsync":               {"always", "everysec"},
	"no-appendfsync-on-rewrite": {"no", "yes"},
	"maxmemory-policy":          {"noeviction", "allkeys-lru"},
}

func TestAServerThatLosesWritesIsRefused(t *testing.T) {
	server := redis.Start(t)
	for name, values := range unsafe {
		server.Do("CONFIG", "SET", name, values[1])
		mustRefuse(t, server.URL(), name, values[1], values[0], "accept=loss")
		mustWarn(t, server.URL()+"?accept=loss", "WARNING", "back")
		server.Do("CONFIG", "SET", name, values[0])
	}
	s := mustWarn(t, server.URL(), "loses nothing", "16 shards", "one server", "within "+calm.String())
	if n := len(s.Report().Warning); n != 0 {
		t.Errorf("a warning without a reason: %s", s.Report())
	}
}

// TestSettingsThatChangeAreNoticed: a server that was right when the store was
// opened and is not any more gives no answers that count.
func TestSettingsThatChangeAreNoticed(t *testing.T) {
	t.Parallel()
	server := redis.Start(t)
	s := impatient(t, server.URL())
	r := enrol(t, s, 1)
	lookup := func() error { _, err := s.Lookup(context.Background(), r.ID); return err }
	await := func(what string, done func(error) bool) {
		t.Helper()
		for limit := time.Now().Add(calm); !done(lookup()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%s is not noticed: %v", what, lookup())
			}
		}
	}
	for name, values := range unsafe {
		server.Do("CONFIG", "SET", name, values[1])
		await(name+" "+values[1], func(err error) bool {
			return errors.Is(err, rescind.ErrUnavailable) && strings.Contains(err.Error(), name)
		})
		mustEndInTime(t, s, r)
		server.Do("CONFIG", "SET", name, values[0])
		await(name+" "+values[0], func(err error) bool { return err == nil })
	}
}

// TestAServerThatComesBackOtherwiseIsNotBelieved: not even its first answer counts.
func TestAServerThatComesBackOtherwiseIsNotBelieved(t *testing.T) {
	for _, args := range [][]string{{"--appendfsync", "everysec"}, {"--maxmemory-policy", "allkeys-random"}} {
		server := redis.Start(t)
		s := impatient(t, server.URL())
		r, other := enrol(t, s, 1), enrol(t, s, 2)
		server.Restart(args...)
		for range 3 {
			mustEndInTime(t, s, other)
		}
		server.Restart("--appendfsync", "always", "--maxmemory-policy", "noeviction")
		if _, err := s.Lookup(context.Background(), r.ID); err != nil {
			t.Errorf("a server that has been put right: %v", err)
		}
	}
}

// accounts is what an ACL of Redis must allow at least: docs/design/store-redis.md.
const accounts = "~{r* +@read +@write +@scripting +@connection +time +info +config|get +cluster|slots +cluster|shards"

func TestAccountsAndPasswords(t *testing.T) {
	if page, err := os.ReadFile("../../docs/design/store-redis.md"); err != nil || !strings.Contains(string(page), accounts) {
		t.Errorf("the page does not say what an account needs: %s, %v", accounts, err)
	}
	server := redis.Start(t)
	setUser := func(rules ...string) {
		server.Do(append([]string{"ACL", "SETUSER", "app", "reset", "on", ">s3cr:et"}, rules...)...)
	}
	at := func(user string) string { return "redis://" + user + "@" + server.Addr() }
	setUser(strings.Fields(accounts)...)
	mustWarn(t, at("app:s3cr%3Aet"), "loses nothing")
	mustRefuse(t, at("app:wrong"), "WRONGPASS")
	mustRefuse(t, at("nobody:s3cr%3Aet"), "WRONGPASS")
	setUser(append(strings.Fields(accounts), "-config")...)
	mustRefuse(t, at("app:s3cr%3Aet"), "does not tell its settings", "accept=unverified")
	mustWarn(t, at("app:s3cr%3Aet")+"?accept=unverified", "WARNING: The server does not tell its settings")
	server.Do("CONFIG", "SET", "requirepass", "pass")
	mustWarn(t, at(":pass"), "loses nothing")
	if _, err := Open(server.URL(), Options{}); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}

func TestWhatCanFailOverNeedsTheFlag(t *testing.T) {
	t.Parallel()
	master := redis.Start(t)
	sentinel := redis.StartSentinel(t, "ledger", master)
	url := "redis://" + sentinel.Addr() + "?sentinel=ledger"
	mustRefuse(t, url, "accept=failover")
	mustWarn(t, url+"&accept=failover", "watched by Sentinel", "can lose acknowledged revocations")
	mustRefuse(t, strings.Replace(url, "ledger", "nobody", 1), "unavailable")

	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica := redis.Start(t, "--replicaof", host+" "+port)
	for limit := time.Now().Add(calm); !strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("no replica:\n%s", replica.Log())
		}
	}
	mustRefuse(t, replica.URL(), "replica")
	mustWarn(t, master.URL(), "one server with 1 replicas", "If somebody makes a replica the master")

	cluster := redis.StartClusterWithReplicas(t, steady...)
	mustRefuse(t, cluster.URL(), "3 replicas", "accept=failover")
	mustWarn(t, cluster.URL()+"?accept=failover", "a cluster of 3 masters and 3 replicas", "can lose acknowledged revocations")
	cluster.Replicas[2].Do("CONFIG", "SET", "appendfsync", "everysec")
	mustRefuse(t, cluster.URL()+"?accept=failover", "appendfsync")
	cluster.Replicas[2].Kill()
	mustWarnIn(t, 2*patience, cluster.URL()+"?accept=failover", "3 masters") // opening waits for the one that is gone
	mustRefuse(t, cluster.Masters[0].URL()+"?cluster=false", "cluster=true")
	mustRefuse(t, master.URL()+"?cluster=true", "cluster=true")
	mustWarnIn(t, 2*patience, cluster.Masters[1].URL()+"?accept=failover", "3 masters") // one host leads to the others
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := redis.Port(t)
	redis.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	mustRefuse(t, "rediss://127.0.0.1:"+port, "certificate")
	mustRefuse(t, "rediss://127.0.0.1:"+port+"?ca="+cert, "unavailable") // it wants a certificate of ours
	mustWarn(t, "rediss://127.0.0.1:"+port+"?ca="+cert+"&cert="+cert+"&key="+key, "loses nothing")
	mustRefuse(t, "rediss://127.0.0.1:"+port+"?ca="+key, "holds no certificate")
}

func TestURLs(t *testing.T) {
	for url, words := range map[string]string{
		"":                                         "",
		"http://h":                                 "redis://",
		"redis://":                                 "no host",
		"redis://a,,b":                             "no host",
		"redis://a:0":                              "port",
		"redis://a:99999":                          "port",
		"redis://a:b:c":                            "port",
		"redis://a,b?cluster=false":                "several hosts",
		"redis://a,a:6379":                         "named twice",
		"redis://a,b/1":                            "database 0",
		"redis://a/x":                              "database",
		"redis://a/-1":                             "database",
		"redis://a?clutser=true":                   "unknown parameter \"clutser\"",
		"redis://a?cluster=maybe":                  "true or false",
		"redis://a?cluster=true&cluster=false":     "2 times",
		"redis://a?sentinel=":                      "name of the master",
		"redis://a?sentinel=m&cluster=true":        "Sentinel does not watch",
		"redis://a?sentinel_user=u":                "need sentinel",
		"redis://a?shards=0":                       "1 to 256",
		"redis://a?shards=257":                     "1 to 256",
		"redis://a?accept=everything":              "accept takes",
		"redis://a?ca=/nowhere":                    "need rediss",
		"rediss://a?ca=/nowhere":                   "ca",
		"rediss://a?cert=/nowhere":                 "go together",
		"redis://u:p#w@a":                          "",
		"redis://u:pass%zz@a?x=secret":             "escape",
		"redis://a?%zz=1":                          "cannot be read",
		"redis://u:hunter2@a?unknown=hunter2hosts": "unknown parameter",
	} {
		_, err := parseURL(url, &Options{})
		if !errors.Is(err, rescind.ErrInvalid) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: want ErrInvalid with %q, got %v", url, words, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password in an error: %v", err)
		}
	}
	var o Options
	target, err := parseURL("valkeys://user:p%23w@h1,h2:7000,[::1]:7001/?shards=4&accept=loss,failover", &o)
	if err != nil {
		t.Fatal(err)
	}
	c := target.client
	if strings.Join(c.InitAddress, " ") != "h1:6379 h2:7000 [::1]:7001" || c.Username != "user" || c.Password != "p#w" || c.TLSConfig == nil {
		t.Errorf("%+v", c.InitAddress)
	}
	if o.Shards != 4 || !o.AcceptLoss || !o.AcceptFailover || o.AcceptUnverified {
		t.Errorf("%+v", o)
	}
}

func TestAnOldServerIsRefused(t *testing.T) {
	for name, old := range map[string]bool{"redis_version:6.2.14": true, "redis_version:7.0.15": false, "redis_version:7.2.4\r\nvalkey_version:8.1.1": false, "": true} {
		v := parseInfo("# Server\r\n" + name + "\r\nrole:master\r\n")
		v.settings = map[string]string{"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory-policy": "noeviction"}
		if err := v.refuse(&Options{}); (err != nil) != old {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestRevokingWorksWithFullMemory: logins are refused, and nothing else happens.
func TestRevokingWorksWithFullMemory(t *testing.T) {
	server := redis.Start(t)
	s := open(t, server.URL())
	r, other := enrol(t, s, 1), enrol(t, s, 2)
	server.Do("CONFIG", "SET", "maxmemory", "1mb")
	if _, err := s.Create(context.Background(), rescind.Creation{Session: benchSession(9, s.Now())}); !errors.Is(err, rescind.ErrUnavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("a login with no memory left: %v", err)
	}
	if snap, err := s.Lookup(context.Background(), benchSession(9, s.Now()).ID); err != nil || snap.Found {
		t.Errorf("half a login: %+v, %v", snap, err)
	}
	if err := logout(s, r.ID); err != nil {
		t.Errorf("End with no memory left: %v", err)
	}
	mustStand(t, s, r.ID, false)
	for _, m := range []rescind.CutoffMove{{Kind: rescind.EndSubject, Tag: other.ID.Tag(), At: s.Now()}, {Kind: rescind.EndClient, Name: "app", At: s.Now()}, {Kind: rescind.EndAll, At: s.Now()}} {
		if _, err := s.MoveCutoff(context.Background(), m); err != nil {
			t.Errorf("MoveCutoff of kind %d with no memory left: %v", m.Kind, err)
		}
	}
	mustStand(t, s, other.ID, false)
	for q := (rescind.PurgeStep{Limit: 10, Drop: func(*rescind.Snapshot) bool { return true }}); ; {
		p, err := s.Purge(context.Background(), q)
		if err != nil {
			t.Fatalf("Purge with no memory left: %v", err)
		}
		if q.Cursor = p.Cursor; q.Cursor == nil {
			break
		}
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	mustStand(t, s, login(t, s, 1).ID, true)
}
