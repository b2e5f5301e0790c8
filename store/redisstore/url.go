package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// Options are all optional. Each Accept can also be given in the URL.
type Options struct {
	// Shards is how many parts a new ledger has, 1 to 256; 0 is 16. It is fixed
	// when the ledger is made and ignored afterwards.
	Shards int
	// Timeout bounds every call; 0 is 2 s.
	Timeout time.Duration
	// Logger receives warnings; nil is silence.
	Logger *slog.Logger
	// TLS is used with rediss://; nil trusts the system's authorities, or the
	// URL's.
	TLS *tls.Config

	// AcceptLoss opens a server that may lose acknowledged writes when it crashes
	// (anything but appendonly yes, appendfsync always), or evict keys.
	AcceptLoss bool
	// AcceptUnverified opens a server that does not let its settings be read.
	AcceptUnverified bool
	// AcceptFailover opens a server that can be superseded: one watched by
	// Sentinel, or a cluster with replicas. A revocation may be lost then.
	AcceptFailover bool

	serverAhead time.Duration // added to the server's clock by tests
}

// target is what a URL names.
type target struct {
	client  rueidis.ClientOption
	cluster *bool // nil: ask the server
}

// parseURL reads
//
//	redis://[user[:password]@]host[:port][,host[:port]…][/database][?parameters]
//
// with rediss:// for TLS; valkey:// and valkeys:// are the same. Several hosts are
// those of a cluster, or of Sentinels. An unknown parameter is an error, because
// one that is misspelt must not be one that is left out.
func parseURL(text string, o *Options) (*target, error) {
	text, hosts := cutHosts(text)
	u, err := url.Parse(text)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the URL, which may hold a password
		}
		return nil, invalid("%v", err)
	}
	t := &target{}
	secure := false
	switch u.Scheme {
	case "rediss", "valkeys":
		secure = true
	case "redis", "valkey":
	default:
		return nil, invalid("a URL of Redis begins with redis:// or rediss://")
	}
	for host := range strings.SplitSeq(hosts, ",") {
		address, err := addressOf(host)
		if err != nil {
			return nil, err
		}
		t.client.InitAddress = append(t.client.InitAddress, address)
	}
	if u.User != nil {
		t.client.Username = u.User.Username()
		t.client.Password, _ = u.User.Password()
	}
	if name := strings.Trim(u.Path, "/"); name != "" {
		if t.client.SelectDB, err = strconv.Atoi(name); err != nil || t.client.SelectDB < 0 {
			return nil, invalid("the path is the number of a database")
		}
	}
	if u.Fragment != "" {
		return nil, invalid("a # in a password is written %%23")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, invalid("the parameters cannot be read")
	}
	files := map[string]string{}
	for name, values := range query {
		if len(values) != 1 {
			return nil, invalid("parameter %s is given %d times", name, len(values))
		}
		value := values[0]
		switch name {
		case "cluster":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return nil, invalid("parameter cluster is true or false")
			}
			t.cluster = &on
		case "sentinel":
			if value == "" {
				return nil, invalid("parameter sentinel is the name of the master")
			}
			t.client.Sentinel.MasterSet = value
		case "sentinel_user":
			t.client.Sentinel.Username = value
		case "sentinel_password":
			t.client.Sentinel.Password = value
		case "shards":
			if o.Shards, err = strconv.Atoi(value); err != nil || o.Shards < 1 {
				return nil, invalid("parameter shards is 1 to %d", rescind.MaxShards)
			}
		case "accept":
			for what := range strings.SplitSeq(value, ",") {
				switch what {
				case "loss":
					o.AcceptLoss = true
				case "unverified":
					o.AcceptUnverified = true
				case "failover":
					o.AcceptFailover = true
				default:
					return nil, invalid("parameter accept takes loss, unverified and failover, not %q", what)
				}
			}
		case "ca", "cert", "key":
			files[name] = value
		default:
			return nil, invalid("unknown parameter %q", name)
		}
	}
	if err := t.secure(secure, o.TLS, files); err != nil {
		return nil, err
	}
	return t, t.check(o)
}

// cutHosts takes the hosts out of a URL, because net/url knows of one only.
func cutHosts(text string) (rest, hosts string) {
	scheme, rest, _ := strings.Cut(text, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	begin := strings.LastIndex(rest[:end], "@") + 1
	return scheme + "://" + rest[:begin] + "hosts" + rest[end:], rest[begin:end]
}

func addressOf(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "6379"
		if strings.Contains(name, ":") && name == host {
			return "", invalid("a host is no host with a port")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		// It may be a part of a password.
		return "", invalid("a host has a port that is none (/, ? and # in a password are written %%2F, %%3F and %%23)")
	}
	if name == "" {
		return "", invalid("the URL has no host, or an empty one")
	}
	return net.JoinHostPort(name, port), nil
}

// secure sets up TLS.
func (t *target) secure(on bool, given *tls.Config, files map[string]string) error {
	if !on {
		if len(files) > 0 {
			return invalid("ca, cert and key need rediss://")
		}
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if given != nil {
		c = given.Clone()
	}
	if name := files["ca"]; name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return invalid("parameter ca: %v", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return invalid("parameter ca: %s holds no certificate", name)
		}
	}
	if (files["cert"] == "") != (files["key"] == "") {
		return invalid("cert and key go together")
	}
	if files["cert"] != "" {
		pair, err := tls.LoadX509KeyPair(files["cert"], files["key"])
		if err != nil {
			return invalid("parameters cert and key: %v", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	t.client.TLSConfig, t.client.Sentinel.TLSConfig = c, c
	return nil
}

// check refuses what does not go together.
func (t *target) check(o *Options) error {
	sentinel := t.client.Sentinel.MasterSet != ""
	switch {
	case o.Shards < 0 || o.Shards > rescind.MaxShards:
		return invalid("a ledger has 1 to %d shards", rescind.MaxShards)
	case sentinel && t.cluster != nil && *t.cluster:
		return invalid("Sentinel does not watch a cluster")
	case !sentinel && t.client.Sentinel.Username+t.client.Sentinel.Password != "":
		return invalid("sentinel_user and sentinel_password need sentinel")
	case len(t.client.InitAddress) > 1 && !sentinel && t.cluster != nil && !*t.cluster:
		return invalid("several hosts are a cluster's or Sentinels")
	case len(t.client.InitAddress) > rescind.MaxShards:
		return invalid("too many hosts")
	case len(t.client.InitAddress) > len(slices.Compact(slices.Sorted(slices.Values(t.client.InitAddress)))):
		return invalid("a host is named twice")
	case t.client.SelectDB != 0 && (t.cluster != nil && *t.cluster || len(t.client.InitAddress) > 1 && !sentinel):
		return invalid("a cluster has only database 0")
	}
	return nil
}

func invalid(text string, args ...any) error {
	return fmt.Errorf("%w: the store's URL: %s", rescind.ErrInvalid, fmt.Sprintf(text, args...))
}
