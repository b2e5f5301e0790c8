package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
)

// lookup is one that waits for a worker.
type lookup struct {
	call
	id     rescind.SessionID
	snap   rescind.Snapshot
	damage error
}

// snapshotSQL is what one statement, and so one snapshot, knows of sessions s.
const snapshotSQL = `s.id, s.version, s.birth, s.last_active, s.ended_at, s.reason, s.record,
	(SELECT position FROM rescind_cutoff WHERE key = '\x01'::bytea || substr(s.id, 1, 12)),
	(SELECT position FROM rescind_cutoff WHERE key = '\x02'::bytea || s.client),
	(SELECT position FROM rescind_cutoff WHERE key = '\x03'::bytea),
	(SELECT config FROM rescind_ledger)`

// lookupSQL also brings the server's time, so that this node's is never behind
// what it judges by it.
const lookupSQL = `SELECT ` + clockMicros + `, g.n, ` + snapshotSQL + `
	FROM unnest($1::bytea[]) WITH ORDINALITY AS g(id, n) LEFT JOIN rescind_session s ON s.id = g.id`

// Lookup implements [rescind.Store].
func (s *Store) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	if err := s.begin(ctx); err != nil {
		return rescind.Snapshot{}, err
	}
	l := &lookup{call: newCall(s.timeout), id: id}
	if err := s.lookups.join(l); err != nil {
		return rescind.Snapshot{}, err
	}
	if err := s.await(ctx, l.done); err != nil {
		return rescind.Snapshot{}, err
	}
	if l.err != nil {
		return rescind.Snapshot{}, l.err
	}
	return l.snap, nil
}

// serveLookups is a worker. Look-ups that come while all workers are busy are
// asked together, in one statement that begins after the last of them.
func (s *Store) serveLookups() {
	var c *conn
	defer func() {
		if c != nil {
			c.quit()
		}
	}()
	for s.lookups.wait() {
		some := s.lookups.take(lookupsAtOnce)
		if len(some) == 0 {
			continue
		}
		ctx, cancel := context.WithDeadline(s.stop, some[len(some)-1].until)
		err := retry(ctx, s.server, &c, func() error { return s.ask(c, some) })
		cancel()
		for _, l := range some {
			l.finish(unavailable("look-up", firstOf(err, l.damage)))
		}
	}
}

func (s *Store) ask(c *conn, some []*lookup) error {
	ids := make([][]byte, len(some))
	for i, l := range some {
		ids[i] = l.id[:]
	}
	rows, err := c.pg.Query(context.Background(), lookupSQL, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	answers := 0
	for rows.Next() {
		var read, n int64
		var row snapshotRow
		if err := rows.Scan(append([]any{&read, &n}, row.into()...)...); err != nil {
			return err
		}
		s.clock.sample(read)
		l := some[n-1]
		l.snap, l.damage = row.snapshot() // the others are not to suffer from one
		answers++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if answers != len(some) {
		return damaged("the answer to a look-up")
	}
	return nil
}

// snapshotRow is a row of snapshotSQL.
type snapshotRow struct {
	id, reason, record         []byte
	version, birth, lastActive *int64
	endedAt                    *int64
	subject, client, all       *int64
	config                     int64
}

func (r *snapshotRow) into() []any {
	return []any{&r.id, &r.version, &r.birth, &r.lastActive, &r.endedAt, &r.reason, &r.record, &r.subject, &r.client, &r.all, &r.config}
}

func (r *snapshotRow) snapshot() (rescind.Snapshot, error) {
	snap := rescind.Snapshot{Config: uint64(r.config)}
	if r.version == nil {
		return snap, nil
	}
	if len(r.id) != len(rescind.SessionID{}) {
		return snap, damaged("the id of a session")
	}
	session, err := rescind.ParseRecord(rescind.SessionID(r.id), r.record)
	if err != nil {
		return snap, unavailable("look-up", err)
	}
	session.Version, session.Birth = uint64(*r.version), rescind.Position(*r.birth)
	session.LastActive = fromMillis(*r.lastActive)
	if r.endedAt != nil {
		session.EndedAt, session.EndReason = time.UnixMilli(*r.endedAt), rescind.Reason(r.reason)
	}
	snap.Found, snap.Session = true, session
	snap.Cutoffs = rescind.Cutoffs{Subject: position(r.subject), Client: position(r.client), All: position(r.all)}
	return snap, nil
}

func position(p *int64) rescind.Position {
	if p == nil {
		return 0
	}
	return rescind.Position(*p)
}

const (
	maxList = 1000 // sessions on a page

	countSQL = `SELECT n FROM rescind_counter WHERE tag = $1`
	listSQL  = `SELECT ` + snapshotSQL + ` FROM rescind_session s WHERE s.id > $1 AND s.id <= $2 ORDER BY s.id LIMIT $3`
)

// List implements [rescind.Store]. A page has at most 1000 records.
func (s *Store) List(ctx context.Context, q rescind.ListQuery) (page rescind.ListPage, err error) {
	if err := s.begin(ctx); err != nil {
		return page, err
	}
	err = s.pages.read(ctx, func(c *conn) (err error) {
		page = rescind.ListPage{}
		if q.Tag != nil {
			var n int64
			if err := c.pg.QueryRow(context.Background(), countSQL, q.Tag[:]).Scan(&n); err != nil && err != pgx.ErrNoRows {
				return err
			}
			page.Count = uint64(n)
		}
		page.Sessions, page.More, err = list(c, q.Tag, q.After, min(max(q.Limit, 1), maxList))
		return err
	})
	if err != nil {
		return rescind.ListPage{}, unavailable("list", err)
	}
	return page, nil
}

// list reads records in the order of their ids, all of one moment.
func list(c *conn, tag *rescind.Tag, after rescind.SessionID, limit int) (sessions []rescind.Snapshot, more bool, err error) {
	var last rescind.SessionID
	for i := range last {
		last[i] = 0xff
	}
	from := after[:]
	if after.IsZero() {
		from = []byte{} // the zero id itself comes behind nothing
	}
	if tag != nil {
		copy(last[:], tag[:])
		if bytes.Compare(after[:], tag[:]) < 0 {
			from = tag[:] // shorter, so in front of all that begin with it
		}
	}
	rows, err := c.pg.Query(context.Background(), listSQL, from, last[:], limit+1)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		if len(sessions) == limit {
			more = true
			continue
		}
		var row snapshotRow
		if err := rows.Scan(row.into()...); err != nil {
			return nil, false, err
		}
		snap, err := row.snapshot()
		if err != nil {
			return nil, false, err
		}
		sessions = append(sessions, snap)
	}
	return sessions, more, rows.Err()
}

const (
	maxFeed = 10_000 // entries on a page

	// feedSQL begins with the entry at the position itself: whether that is there
	// says whether what follows is whole. The head is of the same snapshot.
	feedSQL = `SELECT ` + headSQL + `, f.position, f.body FROM (SELECT) one LEFT JOIN LATERAL
		(SELECT position, body FROM rescind_feed WHERE position >= $1 ORDER BY position LIMIT $2) f ON true`
)

// Feed implements [rescind.Store]. A page has at most 10,000 endings.
func (s *Store) Feed(ctx context.Context, after rescind.Position, limit int) (page rescind.FeedPage, err error) {
	if err := s.begin(ctx); err != nil {
		return page, err
	}
	if after > 1<<62 {
		after = 1 << 62 // no feed comes so far
	}
	err = s.pages.read(ctx, func(c *conn) error {
		page = rescind.FeedPage{}
		rows, err := c.pg.Query(context.Background(), feedSQL, int64(after), min(max(limit, 0), maxFeed)+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		next := after
		for rows.Next() {
			var head int64
			var at *int64
			var body []byte
			if err := rows.Scan(&head, &at, &body); err != nil {
				return err
			}
			page.Head = rescind.Position(head)
			switch {
			case at == nil || page.Gone:
			case rescind.Position(*at) != next && next == after:
				page.Gone = true
			case rescind.Position(*at) != next:
				return damaged("the feed: it is not dense")
			default:
				if next++; next == after+1 {
					continue
				}
				e, err := rescind.ParseEnding(rescind.Position(*at), body)
				if err != nil {
					return unavailable("feed", err)
				}
				page.Endings = append(page.Endings, e)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return rescind.FeedPage{}, unavailable("feed", err)
	}
	return page, nil
}

const (
	maxEvents   = 1000   // on a page
	eventsAPage = 20_000 // read for one page
	eventsARead = 1000

	eventsSQL = `SELECT seq, body FROM rescind_event WHERE seq < $1 ORDER BY seq DESC LIMIT $2`
)

// Events implements [rescind.Store]. It reads the log backwards.
func (s *Store) Events(ctx context.Context, q rescind.EventQuery) (page rescind.EventPage, err error) {
	if err := s.begin(ctx); err != nil {
		return page, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	if limit < 0 || limit > maxEvents {
		return page, fmt.Errorf("%w: a page has 1 to %d events", rescind.ErrInvalid, maxEvents)
	}
	first := int64(1 << 62)
	if q.After != "" {
		if first, err = parseEventID(q.After); err != nil {
			return page, err
		}
	}
	err = s.pages.read(ctx, func(c *conn) error {
		page = rescind.EventPage{}
		end := first
		for read := 0; ; read += eventsARead {
			if read >= eventsAPage {
				page.Next = eventID(end)
				return nil
			}
			// One more, to know whether there is more.
			last, more, err := readEvents(c, eventsSQL, end, min(limit+1, eventsARead), func(seq int64, e *rescind.Event) bool {
				if !q.Match(e) {
					return true
				}
				if len(page.Events) == limit {
					page.Next = eventID(seq + 1) // this one is the first of the next page
					return false
				}
				page.Events = append(page.Events, *e)
				return true
			})
			if err != nil || !more || page.Next != "" {
				return err
			}
			end = last
		}
	})
	if err != nil {
		return rescind.EventPage{}, unavailable("events", err)
	}
	return page, nil
}

// readEvents reads up to limit events from a number on. more is false where fewer
// were there.
func readEvents(c *conn, sql string, from int64, limit int, use func(seq int64, e *rescind.Event) bool) (last int64, more bool, err error) {
	rows, err := c.pg.Query(context.Background(), sql, from, limit)
	if err != nil {
		return 0, false, err
	}
	defer rows.Close()
	read := 0
	for on := true; rows.Next(); {
		var body []byte
		if err := rows.Scan(&last, &body); err != nil {
			return 0, false, err
		}
		e, err := rescind.ParseEvent(eventID(last), body)
		if err != nil {
			return 0, false, unavailable("events", err)
		}
		read++
		on = on && use(last, &e)
	}
	return last, read == limit, rows.Err()
}

func parseEventID(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 16, 63)
	if err != nil || eventID(int64(n)) != text {
		return 0, fmt.Errorf("%w: no cursor of this log", rescind.ErrInvalid)
	}
	return int64(n), nil
}
