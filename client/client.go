// Package client is the Go client of a remote Rescind server. It has the methods
// of [rescind.Authority] with the same meaning, and its errors are the same
// sentinels, so that a program can embed the one or call the other; package guard
// takes either.
//
//	When a revocation returns without error, every check that begins
//	afterwards, on any guard, on any node, fails.
//
// What the client adds is care about what a network makes of answers. An answer
// counts only if it is exactly what the server promises: status, content type
// and members. Everything else (no connection, a time-out, a redirect, a proxy's
// page, 429, any 5xx) is [rescind.ErrUnavailable]. So a token is inactive only if
// the server said so, and a session has ended only if there is a receipt.
//
// Who a call is attributed to in the audit log is always this client: the fields
// Actor of logins and revocations are not sent.
//
// A call whose connection breaks before the answer has arrived is sent once more,
// where sending it twice does what sending it once does: reads, endings, and
// refreshes, which get the same successor again inside the grace window. (A
// client without a grace window loses nothing by it: the token that it would
// otherwise come back with later has been used up by the first attempt.) A call
// that timed out is not sent again: repeat it, and endings until they return nil.
package client

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rescind/rescind"
)

// Default time-outs of one attempt of a call. A write waits for durability, and
// a revocation for every guard that answers from memory.
const (
	DefaultTimeout      = 5 * time.Second
	DefaultWriteTimeout = 10 * time.Second
)

// Options say which server to call, and as whom.
type Options struct {
	Server string         // as in https://rescind.example.com; a path in front of the endpoints is allowed
	ID     string         // of the client
	Secret rescind.Secret // empty for a public client

	// Audience is what a check asks for that names none. Empty leaves it to the
	// server, which answers for the audiences that this client is registered
	// with; for the role admin those are all.
	Audience string

	// HTTP makes the requests, with its own Transport (a private CA, a proxy).
	// Its redirects, cookies and time-out are not used. Nil means connections of
	// its own, verified against the system's roots and kept alive.
	HTTP *http.Client

	Timeout      time.Duration // of checks and other reads
	WriteTimeout time.Duration // of logins, refreshes, endings and settings

	// AllowHTTP permits http:// to hosts other than loopback ones: everybody on
	// the way can then read secrets and tokens.
	AllowHTTP bool
}

// Client calls one server. All methods may be called concurrently.
type Client struct {
	base     string // without a last slash
	id       string
	secret   string
	basic    string // the Authorization header; empty for a public client
	audience string
	http     http.Client
	read     time.Duration
	write    time.Duration
}

// New returns a client. It makes no call; see [Client.Ready].
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Server)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, invalid("a server is an address as in https://rescind.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, invalid("a server's address has no user, query or fragment: the secret has its own place")
	case u.Scheme == "http" && !o.AllowHTTP && !loopback(u.Hostname()):
		return nil, invalid("http:// to a host that is not loopback shows secrets and tokens to everybody on the way: use https://, or allow it")
	case o.ID == "":
		return nil, invalid("a client has an id")
	case o.Timeout < 0 || o.WriteTimeout < 0:
		return nil, invalid("a time-out cannot be negative")
	}
	c := &Client{
		base: strings.TrimRight(o.Server, "/"), id: o.ID, secret: o.Secret.Reveal(), audience: o.Audience,
		read: o.Timeout, write: o.WriteTimeout,
	}
	if c.read == 0 {
		c.read = DefaultTimeout
	}
	if c.write == 0 {
		c.write = max(DefaultWriteTimeout, c.read)
	}
	if c.secret != "" {
		// Both parts are form-encoded first (RFC 6749 section 2.3.1).
		both := url.QueryEscape(c.id) + ":" + url.QueryEscape(c.secret)
		c.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(both))
	}
	if o.HTTP != nil {
		c.http.Transport = o.HTTP.Transport
	} else {
		c.http.Transport = newTransport()
	}
	// A redirect would carry the token to whoever it names.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// FromEnv is New with the server, the id and the secret of the variables that the
// packages for other languages read too: RESCIND_URL, RESCIND_CLIENT_ID and
// RESCIND_CLIENT_SECRET. What o sets itself is left as it is.
func FromEnv(o Options) (*Client, error) {
	o.Server = cmp.Or(o.Server, os.Getenv("RESCIND_URL"))
	o.ID = cmp.Or(o.ID, os.Getenv("RESCIND_CLIENT_ID"))
	o.Secret = cmp.Or(o.Secret, rescind.Secret(os.Getenv("RESCIND_CLIENT_SECRET")))
	return New(o)
}

// newTransport keeps as many connections as a busy guard uses: with the default
// of two per host, most checks would begin with a handshake.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 3 * time.Second,
		ForceAttemptHTTP2:   true,
		// A dead HTTP/2 connection is noticed by pings, or every call would wait
		// for its time-out on it.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 3 * time.Second},
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true,
	}
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String names the client and its server, and never shows the secret.
func (c *Client) String() string { return "rescind client " + c.id + " of " + c.base }

// Format is String for every verb: fmt would print unexported fields.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func invalid(text string) error { return fmt.Errorf("%w: %s", rescind.ErrInvalid, text) }
