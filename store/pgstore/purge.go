package pgstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// A round of forgetting goes through these parts. A cursor is the part and what
// was read last in it.
const (
	purgeSessions = 's'
	purgeEvents   = 'e'
	purgeFeed     = 'f'
	purgeCutoffs  = 'c'
)

const purgeOrder = "sefc"

const maxPurge = 10_000 // records and entries read by one step

// Forgetting takes no lock: it never waits for a step, and no step for long for it.
// A session that a step is writing is skipped, since it is about to change.
const (
	forgetSessionsSQL = `DELETE FROM rescind_session WHERE id IN (
		SELECT s.id FROM unnest($1::bytea[], $2::int8[], $3::int8[]) AS g(id, version, last_active)
		JOIN rescind_session s ON s.id = g.id AND s.version = g.version AND s.last_active = g.last_active
		FOR UPDATE OF s SKIP LOCKED)`

	oldEventsSQL    = `SELECT seq, body FROM rescind_event WHERE seq > $1 ORDER BY seq LIMIT $2`
	forgetEventsSQL = `DELETE FROM rescind_event WHERE seq = ANY($1)`

	oldFeedSQL = `SELECT position, body FROM rescind_feed WHERE position >= (SELECT min(position) FROM rescind_feed) ORDER BY position LIMIT $1`
	// forgetFeedSQL empties the last ending that is forgotten, which marks the tail,
	// and deletes those before it. It answers how many it has forgotten.
	forgetFeedSQL = `WITH tail AS (
		UPDATE rescind_feed SET body = '' WHERE position = $1 AND body <> '' RETURNING position
	), gone AS (
		DELETE FROM rescind_feed f USING tail WHERE f.position < tail.position RETURNING 1
	) SELECT count(*) FROM gone`

	forgetCutoffsSQL = `WITH part AS MATERIALIZED (
		SELECT key FROM rescind_cutoff WHERE key > $1 ORDER BY key LIMIT $2
	), gone AS (
		DELETE FROM rescind_cutoff c USING part WHERE c.key = part.key AND c.at < $3 RETURNING 1
	) SELECT (SELECT count(*) FROM part), (SELECT max_key FROM (SELECT key AS max_key FROM part ORDER BY key DESC LIMIT 1) m), (SELECT count(*) FROM gone)`
)

// Purge implements [rescind.Store]. One step reads at most 10,000 records and
// entries. A part that nothing is to be dropped from is not read.
func (s *Store) Purge(ctx context.Context, q rescind.PurgeStep) (sum rescind.Purged, err error) {
	if err := s.begin(ctx); err != nil {
		return sum, err
	}
	part, after := 0, []byte(nil)
	if q.Cursor != nil {
		part = -1
		if len(q.Cursor) > 0 {
			part = bytes.IndexByte([]byte(purgeOrder), q.Cursor[0])
			after = q.Cursor[1:]
		}
		if part < 0 {
			return sum, fmt.Errorf("%w: no cursor of a purge", rescind.ErrInvalid)
		}
	}
	limit := min(max(q.Limit, 1), maxPurge)
	for ; part < len(purgeOrder); part++ {
		if sum.Read == limit {
			sum.Cursor = []byte{purgeOrder[part]}
			return sum, nil
		}
		last, err := s.purge(ctx, &q, purgeOrder[part], after, limit-sum.Read, &sum)
		if err != nil {
			return rescind.Purged{}, unavailable("purge", err)
		}
		if last != nil {
			sum.Cursor = append([]byte{purgeOrder[part]}, last...)
			return sum, nil
		}
		after = nil
	}
	return sum, nil
}

// purge does one part. It returns where to go on, or nil at the part's end.
func (s *Store) purge(ctx context.Context, q *rescind.PurgeStep, part byte, after []byte, limit int, sum *rescind.Purged) ([]byte, error) {
	switch {
	case part == purgeSessions && q.Drop != nil:
		return s.purgeSessions(ctx, q, after, limit, sum)
	case part == purgeEvents && q.DropEvent != nil:
		return s.purgeEvents(ctx, q, after, limit, sum)
	case part == purgeFeed && !q.FeedBefore.IsZero():
		return s.purgeFeed(ctx, q.FeedBefore, limit, sum)
	case part == purgeCutoffs && !q.CutoffsBefore.IsZero():
		return s.purgeCutoffs(ctx, q.CutoffsBefore, after, limit, sum)
	}
	return nil, nil
}

func (s *Store) purgeSessions(ctx context.Context, q *rescind.PurgeStep, after []byte, limit int, sum *rescind.Purged) ([]byte, error) {
	var from rescind.SessionID
	copy(from[:], after)
	var page []rescind.Snapshot
	var more bool
	err := s.pages.read(ctx, func(c *conn) (err error) {
		page, more, err = list(c, q.Tag, from, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	sum.Read += len(page)
	var last []byte
	if more {
		last = bytes.Clone(page[len(page)-1].Session.ID[:])
	}
	var ids [][]byte
	var versions, active []int64
	for i := range page {
		id, version, lastActive := page[i].Session.ID, page[i].Session.Version, page[i].Session.LastActive
		if q.Drop(&page[i]) {
			ids, versions, active = append(ids, id[:]), append(versions, int64(version)), append(active, lastActive.UnixMilli())
		}
	}
	if len(ids) == 0 {
		return last, nil
	}
	n, err := s.forget(ctx, forgetSessionsSQL, ids, versions, active)
	sum.Sessions += n
	return last, err
}

// forget runs a statement that deletes, and says how many rows it has.
func (s *Store) forget(ctx context.Context, sql string, args ...any) (n int, err error) {
	err = s.pages.once(ctx, func(c *conn) error {
		tag, err := c.pg.Exec(context.Background(), sql, args...)
		n = int(tag.RowsAffected())
		return err
	})
	return n, err
}

func (s *Store) purgeEvents(ctx context.Context, q *rescind.PurgeStep, after []byte, limit int, sum *rescind.Purged) ([]byte, error) {
	from := int64(0)
	if len(after) == 8 {
		from = int64(binary.BigEndian.Uint64(after))
	}
	type entry struct {
		seq   int64
		event rescind.Event
	}
	var page []entry
	var more bool
	err := s.pages.read(ctx, func(c *conn) (err error) {
		page = nil
		_, more, err = readEvents(c, oldEventsSQL, from, limit, func(seq int64, e *rescind.Event) bool {
			page = append(page, entry{seq, *e})
			return true
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	sum.Read += len(page)
	var drop []int64
	for i := range page {
		if q.DropEvent(&page[i].event) {
			drop = append(drop, page[i].seq)
		}
	}
	var last []byte
	if more {
		last = binary.BigEndian.AppendUint64(nil, uint64(page[len(page)-1].seq))
	}
	if len(drop) == 0 {
		return last, nil
	}
	n, err := s.forget(ctx, forgetEventsSQL, drop)
	sum.Events += n
	return last, err
}

// purgeFeed cuts off the front of the feed only, so that it stays dense.
func (s *Store) purgeFeed(ctx context.Context, before time.Time, limit int, sum *rescind.Purged) ([]byte, error) {
	tail, more := int64(0), false
	err := s.pages.read(ctx, func(c *conn) error {
		tail, more = 0, false
		rows, err := c.pg.Query(context.Background(), oldFeedSQL, limit+1) // the first is the tail
		if err != nil {
			return err
		}
		defer rows.Close()
		read := 0
		for on := true; rows.Next(); {
			var at int64
			var body []byte
			if err := rows.Scan(&at, &body); err != nil {
				return err
			}
			if len(body) == 0 || !on {
				continue
			}
			e, err := rescind.ParseEnding(rescind.Position(at), body)
			if err != nil {
				return unavailable("purge", err)
			}
			if on = e.At.Before(before); on {
				tail = at
				read++
			}
		}
		more = read == limit
		return rows.Err()
	})
	if err != nil || tail == 0 {
		return nil, err
	}
	err = s.pages.once(ctx, func(c *conn) error {
		var gone int
		err := c.pg.QueryRow(context.Background(), forgetFeedSQL, tail).Scan(&gone)
		sum.Endings += gone
		sum.Read += gone
		return err
	})
	if !more {
		return nil, err
	}
	return []byte{}, err
}

func (s *Store) purgeCutoffs(ctx context.Context, before time.Time, after []byte, limit int, sum *rescind.Purged) (last []byte, err error) {
	if after == nil {
		after = []byte{}
	}
	read := 0
	err = s.pages.once(ctx, func(c *conn) error {
		var gone int
		err := c.pg.QueryRow(context.Background(), forgetCutoffsSQL, after, limit, toMillis(before)).Scan(&read, &last, &gone)
		sum.Cutoffs += gone
		return err
	})
	sum.Read += read
	if read < limit {
		return nil, err
	}
	return last, err
}
