package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rescind/rescind"
)

// server is where connections come from.
type server struct {
	config   *pgx.ConnConfig
	timeout  time.Duration
	dataLoss bool // is allowed
	clock    *clock
	warn     func(text string)
}

// conn is one connection. Calls on it are bounded by the deadline of its socket,
// not by contexts: a driver that sees a context end asks the server to cancel, and
// a cancelled wait for a synchronous standby makes visible what may yet be lost.
type conn struct {
	pg     *pgx.Conn
	socket net.Conn
	used   time.Time
	warned atomic.Bool // the server has sent a warning since this was reset
}

var errNoCancel = errors.New("queries are not cancelled")

// redial connects for a call: in half of its time, so that a second try has its
// time too.
func (s *server) redial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout/2)
	defer cancel()
	return s.dial(ctx)
}

// dial connects, to a primary that keeps what it acknowledges.
func (s *server) dial(ctx context.Context) (*conn, error) {
	c := &conn{}
	var connected atomic.Bool
	config := s.config.Copy()
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected.Load() {
			return nil, errNoCancel
		}
		return dial(ctx, network, addr)
	}
	config.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, socket net.Conn) (net.Conn, error) {
		c.socket = socket
		return socket, nil
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			c.warned.Store(true)
		}
	}
	config.ValidateConnect = s.validate
	if until, ok := ctx.Deadline(); ok {
		config.ConnectTimeout = time.Until(until) / time.Duration(1+len(config.Fallbacks)) // one that is dead leaves time for the others
	}
	pg, err := pgx.ConnectConfig(ctx, config)
	connected.Store(true)
	if err != nil {
		return nil, unavailable("connect", err)
	}
	c.pg, c.used = pg, time.Now()
	return c, nil
}

// settle is what a connection sets, and what it asks, before anything else. The
// settings that a role or a database may have of its own are set back to what the
// statements here rely on. statement_timeout does not count while a COMMIT waits
// for a standby. synchronous_commit is pinned, so that a later change of
// the server's configuration cannot lower it.
const settle = `SELECT set_config('statement_timeout', $2, false), set_config('lock_timeout', $1, false),
	set_config('idle_in_transaction_session_timeout', $1, false), set_config('tcp_user_timeout', $2, false),
	set_config('idle_session_timeout', '0', false), set_config('client_min_messages', 'warning', false),
	set_config('default_transaction_isolation', 'read committed', false), set_config('jit', 'off', false),
	set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false),
	set_config('enable_bitmapscan', 'off', false), set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
	set_config('synchronous_commit', current_setting('synchronous_commit'), false),
	pg_is_in_recovery()::text, current_setting('transaction_read_only'), current_setting('server_version_num'),
	current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')`

// validate is asked on every new connection, before it is used. An error makes
// the driver try the next host.
func (s *server) validate(ctx context.Context, pg *pgconn.PgConn) error {
	half, whole := millis(s.timeout/2), millis(s.timeout)
	result := pg.ExecParams(ctx, settle, [][]byte{half, whole}, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	if len(result.Rows) != 1 || len(result.Rows[0]) < 20 {
		return errors.New("the server does not say what it is")
	}
	row := result.Rows[0]
	answer := row[len(row)-6:]
	recovery, readOnly, version := string(answer[0]), string(answer[1]), string(answer[2])
	if n, err := strconv.Atoi(version); err != nil || n < 150000 {
		return fmt.Errorf("%w: PostgreSQL 15 or later is needed, the server's number is %s", rescind.ErrInvalid, version)
	} else if n >= 170000 {
		// It would end a transaction that waits for a standby.
		if r := pg.ExecParams(ctx, `SELECT set_config('transaction_timeout', '0', false)`, nil, nil, nil, nil).Read(); r.Err != nil {
			return r.Err
		}
	}
	if recovery != "false" || readOnly != "off" {
		return errors.New("not a primary, or read-only")
	}
	return s.durable(string(answer[3]), string(answer[4]), string(answer[5]))
}

// durable refuses settings under which an acknowledged write can be lost.
func (s *server) durable(fsync, fullPages, commit string) error {
	var wrong string
	switch {
	case fsync != "on":
		wrong = "fsync is " + fsync
	case fullPages != "on":
		wrong = "full_page_writes is " + fullPages
	case commit != "on" && commit != "remote_apply":
		wrong = "synchronous_commit is " + commit
	default:
		return nil
	}
	if s.dataLoss {
		s.warn(wrong)
		return nil
	}
	return fmt.Errorf("%w: %s on this server, so that it can lose what it has acknowledged, "+
		"and revoked tokens can work again after a crash (allow_data_loss=true in the URL accepts that)", rescind.ErrInvalid, wrong)
}

func millis(d time.Duration) []byte {
	return strconv.AppendInt(nil, max(d.Milliseconds(), 1), 10)
}

// drop ends a connection at once, without a word to a server that may not listen.
func (c *conn) drop() {
	_ = c.socket.Close() // nothing can be done about it
	_ = c.pg.Close(context.Background())
}

// quit ends a connection in good order.
func (c *conn) quit() {
	_ = c.socket.SetDeadline(time.Now().Add(100 * time.Millisecond))
	_ = c.pg.Close(context.Background()) // closes the socket in any case
}

// bound gives the calls that follow until a time.
func (c *conn) bound(until time.Time) error { return c.socket.SetDeadline(until) }

const (
	// restless is how long a connection may rest before it is asked whether it
	// still stands: the network may have forgotten it without telling.
	restless = 5 * time.Second
)

// stands reports whether a connection that has rested can be used.
func (c *conn) stands(timeout time.Duration) bool {
	rested := time.Since(c.used)
	if c.pg.IsClosed() || hungUp(c.socket) {
		return false
	}
	if rested < restless {
		return true
	}
	if c.bound(time.Now().Add(timeout/4)) != nil {
		return false
	}
	return c.pg.PgConn().Exec(context.Background(), "-- still there?").Close() == nil
}

// pool lends a few connections, which are made when they are needed.
type pool struct {
	server *server
	slots  chan *conn // nil: to be made
}

func newPool(s *server, size int) *pool {
	p := &pool{server: s, slots: make(chan *conn, size)}
	for range size {
		p.slots <- nil
	}
	return p
}

func (p *pool) close() {
	for range cap(p.slots) {
		if c := <-p.slots; c != nil {
			c.quit()
		}
	}
}

// read runs f, which only reads, on a connection. If the connection fails, it is
// run again on another: a connection may have died long before.
func (p *pool) read(ctx context.Context, f func(*conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.server.timeout)
	defer cancel()
	var c *conn
	select {
	case c = <-p.slots:
	case <-ctx.Done():
		return errTimeout
	}
	defer func() { p.slots <- c }()
	return retry(ctx, p.server, &c, func() error { return c.during(ctx, f) })
}

// during runs f, and fails what is under way in it when the context ends.
func (c *conn) during(ctx context.Context, f func(*conn) error) error {
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		_ = c.bound(time.Unix(1, 0)) // a socket that takes no deadline is closed
	})
	err := f(c)
	if !stop() {
		<-cut // or it would cut what comes next
	}
	return err
}

// retry runs f, which only reads, until it succeeds or the context ends, on *c or
// on another connection that takes its place.
func retry(ctx context.Context, s *server, c **conn, f func() error) error {
	until, _ := ctx.Deadline()
	var last error
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if *c != nil && !(*c).stands(s.timeout) {
			(*c).drop()
			*c = nil
		}
		if *c == nil {
			var err error
			if *c, err = s.redial(ctx); err != nil {
				*c, last = nil, err
			}
		}
		if *c != nil {
			// Half of the time, so that a server which is there can still be asked
			// when a connection to it has silently died.
			half := time.Now().Add(s.timeout / 2)
			if half.After(until) {
				half = until
			}
			err := (*c).bound(half)
			if err == nil {
				err = f()
			}
			if err == nil {
				(*c).used = time.Now()
				return nil
			}
			if errors.Is(err, rescind.ErrInvalid) || errors.Is(err, rescind.ErrRecord) {
				return err
			}
			(*c).drop()
			*c, last = nil, err
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%w: %w: %v", rescind.ErrUnavailable, ctx.Err(), last)
		case <-pause.C:
		}
	}
}

// once runs f, which writes, on a connection that stands. If that fails, the
// outcome is unknown.
func (p *pool) once(ctx context.Context, f func(*conn) error) error {
	var failure error
	err := p.read(ctx, func(c *conn) error {
		if failure = f(c); failure != nil {
			c.drop() // nothing can be said of it
		}
		return nil
	})
	return firstOf(err, failure)
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
