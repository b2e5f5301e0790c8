package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// trust knows which connections lead to a server whose settings nobody has looked
// at since they were opened. A server that restarts may come back with others, and
// until that is known its answers do not count.
type trust struct {
	unknown atomic.Int64 // connections that have answered and were not looked at
	bad     atomic.Pointer[error]

	mu     sync.Mutex
	conns  map[*watched]string // those, with their address
	flight *flight
}

// flight is one look at all servers that are asked for.
type flight struct {
	done chan struct{}
	err  error
}

// watched is a connection that tells when the server first answers on it: before
// that it cannot have said anything.
type watched struct {
	net.Conn
	t       *trust
	address string
	heard   atomic.Bool
	closed  atomic.Bool
}

func (c *watched) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard.Load() && c.heard.CompareAndSwap(false, true) {
		c.t.mu.Lock()
		if !c.closed.Load() {
			c.t.conns[c] = c.address
			c.t.unknown.Store(int64(len(c.t.conns)))
		}
		c.t.mu.Unlock()
	}
	return n, err
}

func (c *watched) Close() error {
	c.closed.Store(true)
	c.t.forget(func(other *watched, _ string) bool { return other == c })
	return c.Conn.Close()
}

func (t *trust) forget(which func(*watched, string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, address := range t.conns {
		if which(c, address) {
			delete(t.conns, c)
		}
	}
	t.unknown.Store(int64(len(t.conns)))
}

// dialer opens connections and watches those that lead to data.
func (t *trust) dialer(sentinels []string) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	t.conns = map[*watched]string{}
	return func(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (conn net.Conn, err error) {
		if c != nil {
			conn, err = (&tls.Dialer{NetDialer: d, Config: c}).DialContext(ctx, "tcp", address)
		} else {
			conn, err = d.DialContext(ctx, "tcp", address)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDial, err)
		}
		if slices.Contains(sentinels, address) {
			return conn, nil
		}
		return &watched{Conn: conn, t: t, address: address}, nil
	}
}

// trusted waits until every connection that has answered was looked at.
func (s *Store) trusted(ctx context.Context) error {
	for s.trust.unknown.Load() > 0 || s.trust.bad.Load() != nil {
		f := s.look()
		select {
		case <-f.done:
			if f.err != nil {
				return f.err
			}
		case <-ctx.Done():
			return unavailable("the server's settings are not known yet", context.Cause(ctx))
		case <-s.closed:
			return errClosed
		}
	}
	return nil
}

// look begins a look at the servers behind new connections, or joins one.
func (s *Store) look() *flight {
	t := &s.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flight != nil {
		return t.flight
	}
	f := &flight{done: make(chan struct{})}
	t.flight = f
	seen := make(map[*watched]string, len(t.conns))
	for c, address := range t.conns {
		seen[c] = address
	}
	go func() {
		if f.err = s.lookAt(seen); f.err == nil && t.bad.Load() != nil { // it may have been put right
			f.err = s.lookAgain()
		}
		t.mu.Lock()
		t.flight = nil
		t.mu.Unlock()
		close(f.done)
	}()
	return f
}

func (s *Store) lookAt(seen map[*watched]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	var addresses []string
	for _, a := range seen {
		if !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	nodes := s.nodes()
	return each(addresses, func(a string) error {
		if node, ok := nodes[a]; ok { // another one serves no data
			if _, err := s.inspect(ctx, node, a); err != nil {
				return unavailable("redis", err)
			}
		}
		s.trust.forget(func(c *watched, _ string) bool { return seen[c] == a })
		return nil
	})
}

// nodes are the servers that hold data, by address.
func (s *Store) nodes() map[string]rueidis.Client {
	if s.client.Mode() == rueidis.ClientModeCluster {
		return s.client.Nodes()
	}
	nodes := map[string]rueidis.Client{}
	for a := range s.client.Nodes() {
		nodes[a] = s.client
	}
	return nodes
}

// server is what one says of itself.
type server struct {
	address  string
	name     string // of the software, with its version
	cluster  bool
	replica  bool
	replicas int
	settings map[string]string // nil if it does not tell
}

// inspect asks a server what it is, and refuses it if the options do.
func (s *Store) inspect(ctx context.Context, node rueidis.Client, address string) (*server, error) {
	info, err := s.ask(ctx, node, func(b rueidis.Builder) rueidis.Completed { return b.Info().Build() })
	if err != nil {
		return nil, unavailable(address, err)
	}
	text, err := info.ToString()
	if err != nil {
		return nil, unavailable(address, err)
	}
	v := parseInfo(text)
	v.address = address
	if v.replica && s.client.Mode() != rueidis.ClientModeCluster { // one in a cluster sends readers to its master
		return nil, fmt.Errorf("%w of %s: it is a replica, which takes no writes and may lack what its master has acknowledged", errSettings, address)
	}
	m, err := s.ask(ctx, node, func(b rueidis.Builder) rueidis.Completed {
		return b.ConfigGet().Parameter("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy").Build()
	})
	if err == nil {
		v.settings, err = m.AsStrMap()
	}
	if _, refused := rueidis.IsRedisErr(err); err != nil && !refused {
		return nil, unavailable(address, err)
	}
	return v, v.refuse(&s.options)
}

// ask is call without the question whether the answer can be trusted.
func (s *Store) ask(ctx context.Context, node rueidis.Client, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	ch := make(chan answer, 1)
	go func() {
		m, err := s.attempt(ctx, true, func() rueidis.RedisResult { return node.Do(context.Background(), build(node.B())) })
		ch <- answer{m, err}
	}()
	select {
	case a := <-ch:
		return a.m, a.err
	case <-ctx.Done():
		return rueidis.RedisMessage{}, context.Cause(ctx)
	}
}

func parseInfo(text string) *server {
	f := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			f[name] = value
		}
	}
	v := &server{name: "Redis " + f["redis_version"], cluster: f["cluster_enabled"] == "1", replica: f["role"] == "slave"}
	if f["valkey_version"] != "" {
		v.name = "Valkey " + f["valkey_version"]
	}
	v.replicas, _ = strconv.Atoi(f["connected_slaves"]) // absent is none
	return v
}

// refuse says why a server must not hold a ledger, unless the options accept it.
func (v *server) refuse(o *Options) error {
	wrong := func(text string, args ...any) error {
		return fmt.Errorf("%w of %s: %s", errSettings, v.address, fmt.Sprintf(text, args...))
	}
	_, version, _ := strings.Cut(v.name, " ")
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		return wrong("%s is too old: version 7 is needed", v.name)
	}
	if v.settings == nil {
		if o.AcceptUnverified {
			return nil
		}
		return wrong("it does not tell its settings (CONFIG GET is forbidden). " +
			"If you know that it has appendfsync always and maxmemory-policy noeviction, add accept=unverified")
	}
	if o.AcceptLoss {
		return nil
	}
	for _, must := range [...][2]string{
		{"appendonly", "yes"}, {"appendfsync", "always"}, {"no-appendfsync-on-rewrite", "no"}, {"maxmemory-policy", "noeviction"},
	} {
		if is := v.settings[must[0]]; is != must[1] {
			return wrong("%s is %q and has to be %q, or what was revoked can come back. To run it all the same, add accept=loss", must[0], is, must[1])
		}
	}
	return nil
}

// errSettings is what Open calls ErrInvalid, and every call afterwards ErrUnavailable.
var errSettings = errors.New("the settings")

// watch looks at all servers again and again, because settings can change while
// they run, and measures their time.
func (s *Store) watch() {
	every := time.NewTicker(s.timeout)
	defer every.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-every.C:
		}
		_ = s.lookAgain() // noted there
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		if err := s.measure(ctx, 0); err != nil {
			s.log.Warn("the server's time could not be measured", "error", err)
		}
		cancel()
	}
}

// lookAgain looks at all servers and notes whether their settings are right. One
// that does not answer says nothing wrong.
func (s *Store) lookAgain() error {
	_, err := s.inspectAll()
	err = unavailable("redis", err)
	switch {
	case err == nil:
		if s.trust.bad.Swap(nil) != nil {
			s.log.Info("the server's settings are right again")
		}
	case errors.Is(err, errSettings):
		if s.trust.bad.Swap(&err) == nil {
			s.log.Error("the server's settings have changed; every answer is \"unavailable\"", "error", err)
		}
	}
	return err
}

// inspectAll inspects every server, replicas too, because one of them may be the
// master next. It returns those that answered. Of its errors, one about settings comes first.
func (s *Store) inspectAll() (servers []*server, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	nodes := s.nodes()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for a, node := range nodes {
		wg.Go(func() {
			v, problem := s.inspect(ctx, node, a)
			mu.Lock()
			defer mu.Unlock()
			if problem == nil {
				servers = append(servers, v)
			} else if err == nil || errors.Is(problem, errSettings) {
				err = problem
			}
		})
	}
	wg.Wait()
	slices.SortFunc(servers, func(a, b *server) int { return strings.Compare(a.address, b.address) })
	return servers, err
}
