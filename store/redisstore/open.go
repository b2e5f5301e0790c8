package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

const (
	defaultTimeout = 2 * time.Second
	defaultShards  = 16
	openingTries   = 5 // of the time-out, for everything that opening takes
)

// Open connects to the ledger that a URL names, and makes it if there is none. It
// refuses a server that could lose what was acknowledged, unless o accepts that;
// the error says which setting it is. What holds is in [Store.Report].
func Open(url string, o Options) (*Store, error) {
	t, err := parseURL(url, &o)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Shards == 0 {
		o.Shards = defaultShards
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{timeout: o.Timeout, log: o.Logger, options: o, closed: make(chan struct{}), failed: make(chan struct{})}
	if err := s.connect(t); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		_ = s.Close() // the first error is the one to tell
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return s, nil
}

// connect sets the library up so that a connection on which nothing comes back is
// given up before a call's time is over.
func (s *Store) connect(t *target) error {
	c := t.client
	var sentinels []string
	if c.Sentinel.MasterSet != "" {
		sentinels = c.InitAddress
		c.Sentinel.Dialer.Timeout = s.timeout / 4
		c.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
	c.ForceSingleClient = t.cluster != nil && !*t.cluster
	c.DialCtxFn = s.trust.dialer(sentinels)
	c.Dialer.Timeout = s.timeout / 4
	c.Dialer.KeepAlive = s.timeout / 8 // and then a ping
	c.ConnWriteTimeout = s.timeout / 2
	c.DisableRetry = true // this package knows what may be repeated
	c.DisableCache = true
	c.AlwaysPipelining = true // whose reader sees at once that a connection has ended
	c.ClusterOption.MaxMovedRedirections = 5
	c.ClusterOption.ShardsRefreshInterval = 5 * time.Second
	c.ClientName = "rescind"
	c.ReadBufferEachConn, c.WriteBufferEachConn = 1<<16, 1<<16
	var client rueidis.Client
	var err error
	for range openingTries { // a busy server may need longer than one connection gets
		if client, err = rueidis.NewClient(c); !errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	if err != nil {
		return unavailable("no connection to the store", err)
	}
	s.client = client
	if on := client.Mode() == rueidis.ClientModeCluster; t.cluster != nil && *t.cluster != on {
		client.Close()
		return invalid("cluster=%t, and the server is not so", *t.cluster)
	}
	return nil
}

func (s *Store) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), openingTries*s.timeout)
	defer cancel()
	servers, err := s.inspectAll()
	switch {
	case errors.Is(err, errSettings):
		return fmt.Errorf("%w: %w", rescind.ErrInvalid, err)
	case len(servers) == 0: // a replica that is down is no reason to be down
		return unavailable("no server answers", err)
	}
	if s.client.Mode() != rueidis.ClientModeCluster && servers[0].cluster {
		return invalid("the server is part of a cluster: say cluster=true")
	}
	h, err := s.ledger(ctx)
	if err != nil {
		return err
	}
	if s.report, err = reportOf(s.client.Mode(), servers, h.shards, s.timeout, &s.options); err != nil {
		return err
	}
	s.shards = make([]*shard, h.shards)
	s.clients = make([]atomic.Pointer[clientView], h.shards)
	for i := range s.shards {
		s.shards[i] = shardOf(i)
		if i == 0 || s.client.Mode() == rueidis.ClientModeCluster {
			s.gatherers = append(s.gatherers, &gatherer{})
		}
	}
	if err := s.makeShards(ctx, &h); err != nil {
		return err
	}
	written, err := s.written(ctx)
	if err != nil {
		return err
	}
	if err := s.measure(ctx, written); err != nil {
		return err
	}
	for _, w := range s.report.Warning {
		s.log.Warn(w)
	}
	s.log.Info("the ledger is in Redis", "server", s.report.Server, "layout", s.report.Layout, "shards", s.report.Shards, "holds", strings.Join(s.report.Holds, " "))
	s.done.Go(s.watch)
	return nil
}

// ledger reads the head of the configuration, and writes it where there is none.
func (s *Store) ledger(ctx context.Context) (head, error) {
	v, err := s.get(ctx, configKey)
	if err != nil || v != "" {
		if err != nil {
			return head{}, err
		}
		return parseHead(v)
	}
	// A shard without a head is what is left of a ledger whose configuration is
	// lost. To make another one over it would be to forget its cutoffs.
	all := make([]int, rescind.MaxShards)
	for i := range all {
		all[i] = i
	}
	if left := each(all, func(n int) error {
		v, err := s.get(ctx, shardOf(n).meta)
		if err == nil && v != "" {
			err = damaged(fmt.Sprintf("the configuration is gone, and shard %d is there", n))
		}
		return err
	}); left != nil {
		if v, err = s.get(ctx, configKey); err != nil || v == "" {
			return head{}, left
		}
		return parseHead(v) // another node has made it meanwhile
	}
	h := head{shards: s.options.Shards}
	_, _ = rand.Read(h.epoch[:]) // never fails: crypto/rand ends the process instead
	h.pending = string(appendPending(nil, 0, nil))
	value := string(h.append(nil))
	if _, err := s.write(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Set().Key(configKey).Value(value).Nx().Build() }); err != nil {
		return head{}, err
	}
	if v, err = s.get(ctx, configKey); err != nil { // another node may have been faster
		return head{}, err
	}
	return parseHead(v)
}

// makeShards writes the record of every shard of a new ledger. Until all are there
// the head says so; one that is missing later has been lost.
func (s *Store) makeShards(ctx context.Context, h *head) error {
	if h.version > 0 || h.pending == "" {
		return nil
	}
	empty := string((&meta{}).append(nil))
	if err := each(s.shards, func(h *shard) error {
		_, err := s.write(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Set().Key(h.meta).Value(empty).Nx().Build() })
		return err
	}); err != nil {
		return err
	}
	return s.settleHead(ctx, 0)
}

// written is the latest stamp of any shard.
func (s *Store) written(ctx context.Context) (uint64, error) {
	stamps := make([]uint64, len(s.shards))
	err := each(s.shards, func(h *shard) error {
		v, err := s.get(ctx, h.meta)
		if err != nil {
			return err
		}
		m, ok := parseMeta(v)
		if !ok {
			return damaged(fmt.Sprintf("shard %d of the ledger", h.number))
		}
		stamps[h.number] = m.stamp
		return nil
	})
	return slices.Max(stamps), err
}

// get reads one of the ledger's own records; "" is none.
func (s *Store) get(ctx context.Context, key string) (string, error) {
	m, err := s.read(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Get().Key(key).Build() })
	if err != nil || m.IsNil() {
		return "", err
	}
	v, err := m.ToString()
	return v, unavailable("redis", err)
}
