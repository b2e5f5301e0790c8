package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
)

const (
	// lookupWorkers is how many look-ups a node has under way at once; others join
	// the next. Each worker has a connection of its own.
	lookupWorkers = 4
	pageConns     = 2
	// lookupsAtOnce bounds what one look-up of a worker asks for.
	lookupsAtOnce = 64
)

// Open opens the ledger in a database, and makes one where there is none. The URL
// is one of PostgreSQL (postgres://user:password@host,host/database?sslmode=…), with
// the parameters that libpq and the server know, and one more, allow_data_loss.
// Hosts are tried in turn until one is a primary.
//
// The ledger's tables are in the first schema of the connection's search_path that
// has them, or are made in the first one. The role needs no more than the right to
// do that; once they are there, to read and write them.
//
// ErrInvalid if the URL is wrong, or the server is one that Options forbids;
// ErrUnavailable if it does not answer.
func Open(url string, o Options) (*Store, error) {
	if o.Timeout < 10*time.Millisecond { // nothing is that fast: unset, or a mistake
		o.Timeout = defaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	config, dataLoss, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	s := &Store{timeout: o.Timeout, log: o.Logger, clock: &clock{machine: o.Now}, lookups: newQueue[*lookup](), steps: newQueue[step]()}
	s.server = &server{config: config, timeout: o.Timeout, dataLoss: o.AllowDataLoss || dataLoss, clock: s.clock, warn: s.warn}
	s.pages = newPool(s.server, pageConns)
	s.stop, s.end = context.WithCancel(context.Background())
	if err := s.start(); err != nil {
		s.end()
		s.pages.close()
		return nil, err
	}
	return s, nil
}

// parseURL also says whether the URL accepts the loss of data.
func parseURL(text string) (*pgx.ConnConfig, bool, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, false, fmt.Errorf("%w: no URL of PostgreSQL", rescind.ErrInvalid) // without its text: it may hold a password
	}
	query := u.Query()
	dataLoss := false
	if v := query.Get("allow_data_loss"); v != "" {
		if dataLoss, err = strconv.ParseBool(v); err != nil {
			return nil, false, fmt.Errorf("%w: allow_data_loss is true or false", rescind.ErrInvalid)
		}
	}
	switch v := query.Get("target_session_attrs"); v {
	case "", "any", "read-write", "primary":
	default:
		return nil, false, fmt.Errorf("%w: target_session_attrs=%s: only a primary can keep the ledger", rescind.ErrInvalid, v)
	}
	query.Del("allow_data_loss")
	u.RawQuery = query.Encode()
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, false, fmt.Errorf("%w: URL of PostgreSQL: %w", rescind.ErrInvalid, err) // it redacts the password
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "rescind"
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	return config, dataLoss, nil
}

func (s *Store) start() error {
	patience := 5 * s.timeout // a first start makes tables, perhaps after another node
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.server.dial(ctx)
	if err != nil {
		return err
	}
	if err := c.bound(time.Now().Add(patience)); err != nil {
		c.drop()
		return unavailable("connect", err)
	}
	if err = migrate(ctx, c); err == nil {
		err = s.look(c)
	}
	if err != nil {
		c.drop()
		return unavailable("open", err)
	}
	<-s.pages.slots
	s.pages.slots <- c
	for range lookupWorkers {
		s.work.Go(s.serveLookups)
	}
	s.work.Go(s.serveSteps) // one: a second would only wait for the lock, and halve the batches
	s.work.Go(s.watch)
	return nil
}

// look reads what can change under a node that is running: the clock, and whether
// the ledger can still be kept by it.
func (s *Store) look(c *conn) error {
	var told, read int64
	var needs, unlogged int
	var fsync, fullPages, commit string
	err := c.pg.QueryRow(context.Background(), `SELECT told, needs,
		(SELECT count(*) FROM pg_class WHERE relpersistence <> 'p' AND oid = ANY(ARRAY['rescind_ledger'::regclass, 'rescind_session',
			'rescind_cutoff', 'rescind_counter', 'rescind_feed', 'rescind_event', 'rescind_document', 'rescind_clock'])),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), `+clockMicros+`
		FROM rescind_ledger, rescind_clock`).Scan(&told, &needs, &unlogged, &fsync, &fullPages, &commit, &read)
	if err != nil {
		return err
	}
	s.clock.sample(read)
	s.clock.floor(told * 1000)
	switch {
	case needs > format:
		return fmt.Errorf("%w: the ledger was made for a newer version: it needs format %d, this one knows %d", rescind.ErrInvalid, needs, format)
	case unlogged > 0 && !s.server.dataLoss:
		return fmt.Errorf("%w: %d of the ledger's tables are not logged: a crash empties them", rescind.ErrInvalid, unlogged)
	case unlogged > 0:
		s.warn("tables are not logged")
	}
	return s.server.durable(fsync, fullPages, commit)
}

// warn says a thing once.
func (s *Store) warn(what string) {
	if _, said := s.warned.LoadOrStore(what, true); said {
		return
	}
	s.log.Warn("the database can lose what it has acknowledged, and revoked tokens can work again after a crash", "because", what)
}

// watch reads the server's clock, and looks at the rest, every few seconds.
func (s *Store) watch() {
	tick := time.NewTicker(remeasure)
	defer tick.Stop()
	for {
		select {
		case <-s.stop.Done():
			return
		case <-tick.C:
			err := s.pages.read(s.stop, s.look)
			if s.stop.Err() != nil {
				return
			}
			s.judge(err)
		}
	}
}

// judge keeps the store from answering once the server or the ledger is one that
// Open would refuse, until it is not. An outage needs no verdict: every call meets
// it by itself.
func (s *Store) judge(err error) {
	was := s.refused.Load()
	switch {
	case err == nil && was != nil:
		s.refused.Store(nil)
		s.log.Info("the database can be used again")
	case errors.Is(err, rescind.ErrInvalid):
		s.refused.Store(&err)
		if was == nil {
			s.log.Error("the database cannot be used any more", "error", err)
		}
	}
}
