package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
)

// What follows compares and swaps. Each statement runs under the lock and begins
// with a snapshot of its own, so it sees every step before it, those of its own
// transaction too, and nobody changes meanwhile what it has read.

const (
	headSQL = `(SELECT max(position) FROM rescind_feed)`

	// standsSQL is true of a session s that has not ended and that no cutoff has
	// passed.
	standsSQL = `s.ended_at IS NULL AND NOT EXISTS (SELECT FROM rescind_cutoff c WHERE c.position > s.birth
		AND c.key IN ('\x01'::bytea || substr(s.id, 1, 12), '\x02'::bytea || s.client, '\x03'::bytea))`

	// busySQL is true of a session s that is not idle. The time is the server's, of
	// this very moment under the lock, or this node's where the server's was set
	// back: nobody can have been told a later one before.
	busySQL = `s.last_active + s.idle > greatest($1, floor(extract(epoch FROM clock_timestamp()) * 1000)::int8)`
)

func subjectKey(tag rescind.Tag) []byte { return append([]byte{1}, tag[:]...) }
func clientKey(name string) []byte      { return append([]byte{2}, name...) }
func allKey() []byte                    { return []byte{3} }

func encodeEvents(events []rescind.Event) [][]byte {
	list := make([][]byte, len(events))
	for i := range events {
		list[i] = rescind.AppendEvent(nil, &events[i])
	}
	return list
}

// encodeRecord leaves out what has columns of its own.
func encodeRecord(s rescind.Session) []byte {
	s.Version, s.Birth, s.LastActive, s.EndedAt, s.EndReason = 0, 0, time.Time{}, time.Time{}, ""
	return rescind.AppendRecord(nil, &s)
}

// endArgs are the parts of an End that a statement takes, in the order of its
// arrays.
type endArgs struct {
	ids, reasons, endings, events [][]byte
	ats                           []int64
}

func (a *endArgs) add(s *Store, e *rescind.End) {
	at := e.At
	if at.UnixMilli() <= 0 {
		at = s.Now() // an end needs a time
	}
	a.ids = append(a.ids, append([]byte(nil), e.Session[:]...))
	a.ats = append(a.ats, toMillis(at))
	a.reasons = append(a.reasons, []byte(e.Reason))
	a.endings = append(a.endings, rescind.AppendEnding(nil, &rescind.Ending{Kind: rescind.EndSession, Session: e.Session, At: at}))
	a.events = append(a.events, rescind.AppendEvent(nil, &e.Event))
}

func (a *endArgs) join(b *endArgs) {
	a.ids, a.ats = append(a.ids, b.ids...), append(a.ats, b.ats...)
	a.reasons, a.endings, a.events = append(a.reasons, b.reasons...), append(a.endings, b.endings...), append(a.events, b.events...)
}

type endStep struct {
	call
	args endArgs
	out  rescind.Ended
}

// End implements [rescind.Store].
func (s *Store) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	st := &endStep{call: newCall(s.timeout)}
	st.args.add(s, &e)
	if err := s.write(ctx, st, &st.call); err != nil {
		return rescind.Ended{}, err
	}
	return st.out, nil
}

func (st *endStep) send(t *transaction) { t.ends = append(t.ends, st) }

// endSQL ends sessions, by their numbers in the arrays; of two ends of one session
// it takes one. It answers with the head before it and the numbers in the order
// of their positions.
const endSQL = `WITH given AS MATERIALIZED (
	SELECT * FROM unnest($1::bytea[], $2::int8[], $3::bytea[], $4::bytea[], $5::bytea[]) WITH ORDINALITY AS g(id, at, reason, ending, event, n)
), done AS (
	UPDATE rescind_session s SET version = s.version + 1, ended_at = g.at, reason = g.reason
	FROM given g WHERE s.id = g.id AND s.ended_at IS NULL
	RETURNING g.n, g.ending, g.event
), numbered AS MATERIALIZED (
	SELECT *, ` + headSQL + ` + row_number() OVER (ORDER BY n) AS position FROM done
), fed AS (
	INSERT INTO rescind_feed (position, body) SELECT position, ending FROM numbered
), logged AS (
	INSERT INTO rescind_event (body) SELECT event FROM numbered ORDER BY n
) SELECT ` + headSQL + `, coalesce((SELECT array_agg(n ORDER BY n) FROM numbered), '{}')`

func (t *transaction) sendEnds() {
	if len(t.ends) == 0 {
		return
	}
	var a endArgs
	for _, st := range t.ends {
		a.join(&st.args)
	}
	t.Queue(endSQL, a.ids, a.ats, a.reasons, a.endings, a.events).QueryRow(func(row pgx.Row) error {
		var head int64
		var changed []int64
		if err := row.Scan(&head, &changed); err != nil {
			return err
		}
		for _, st := range t.ends {
			st.out = rescind.Ended{Position: rescind.Position(head) + rescind.Position(len(changed))}
		}
		for i, n := range changed {
			t.ends[n-1].out = rescind.Ended{Position: rescind.Position(head) + rescind.Position(i) + 1, Changed: true}
		}
		return nil
	})
}

type createStep struct {
	call
	args  []any
	birth *int64
}

// createSQL takes its steps only if the first part finds that they fit.
const createSQL = `WITH fits AS MATERIALIZED (
	SELECT FROM (SELECT) one WHERE NOT EXISTS (SELECT FROM rescind_session WHERE id = $1)
	AND ($7::int8 IS NULL OR $7 = coalesce((SELECT n FROM rescind_counter WHERE tag = $6), 0))
), counted AS (
	INSERT INTO rescind_counter AS r (tag, n) SELECT $6, $7 + 1 FROM fits WHERE $7 IS NOT NULL
	ON CONFLICT (tag) DO UPDATE SET n = excluded.n
), given AS MATERIALIZED (
	SELECT g.* FROM fits, unnest($9::bytea[], $10::int8[], $11::bytea[], $12::bytea[], $13::bytea[]) WITH ORDINALITY AS g(id, at, reason, ending, event, n)
), done AS (
	UPDATE rescind_session s SET version = s.version + 1, ended_at = g.at, reason = g.reason
	FROM given g WHERE s.id = g.id AND s.ended_at IS NULL
	RETURNING g.n, g.ending, g.event
), numbered AS MATERIALIZED (
	SELECT *, ` + headSQL + ` + row_number() OVER (ORDER BY n) AS position FROM done
), fed AS (
	INSERT INTO rescind_feed (position, body) SELECT position, ending FROM numbered
), made AS (
	INSERT INTO rescind_session (id, version, birth, last_active, idle, client, record, ended_at, reason)
	SELECT $1, 1, ` + headSQL + ` + (SELECT count(*) FROM numbered), $2, $3, $4, $5, $14, $15 FROM fits
	RETURNING birth
), logged AS (
	INSERT INTO rescind_event (body) SELECT event FROM (
		SELECT 0 AS part, n, event FROM numbered
		UNION ALL SELECT 1, g.n, g.event FROM fits, unnest($8::bytea[]) WITH ORDINALITY AS g(event, n)
	) e ORDER BY part, n
) SELECT birth FROM made`

// Create implements [rescind.Store].
func (s *Store) Create(ctx context.Context, n rescind.Creation) (rescind.Position, error) {
	r, tag := &n.Session, n.Session.ID.Tag()
	var ends endArgs
	named := make(map[rescind.SessionID]bool, len(n.End))
	for i := range n.End {
		if id := n.End[i].Session; !named[id] { // named twice, ended once
			named[id] = true
			ends.add(s, &n.End[i])
		}
	}
	var count *int64
	if n.Count != nil {
		c := int64(*n.Count)
		count = &c
	}
	st := &createStep{call: newCall(s.timeout), args: []any{
		r.ID[:], toMillis(r.LastActive), r.IdleTimeout.Milliseconds(), []byte(r.Client), encodeRecord(*r),
		tag[:], count, encodeEvents(n.Events),
		some(ends.ids), someInts(ends.ats), some(ends.reasons), some(ends.endings), some(ends.events), nil, nil,
	}}
	if r.Ended() {
		st.args[13], st.args[14] = toMillis(r.EndedAt), []byte(r.EndReason)
	}
	if err := s.write(ctx, st, &st.call); err != nil {
		return 0, err
	}
	if st.birth == nil {
		return 0, rescind.ErrConflict
	}
	return rescind.Position(*st.birth), nil
}

func (st *createStep) send(t *transaction) {
	st.birth = nil
	t.row(createSQL, st.args, &st.birth)
}

// some makes no list an empty one, which SQL can tell from nothing.
func some(list [][]byte) [][]byte { return append([][]byte{}, list...) }

func someInts(list []int64) []int64 { return append([]int64{}, list...) }

type replaceStep struct {
	call
	args    []any // but the time
	swapped *bool
}

const replaceSQL = `WITH swapped AS (
	UPDATE rescind_session s SET version = s.version + 1, last_active = greatest(s.last_active, $4), idle = $5, client = $6, record = $7
	WHERE s.id = $2 AND s.version = $3 AND ` + busySQL + ` AND ` + standsSQL + `
	RETURNING true AS yes
), fed AS (
	INSERT INTO rescind_feed (position, body)
	SELECT ` + headSQL + ` + g.n, g.ending FROM swapped, unnest($8::bytea[]) WITH ORDINALITY AS g(ending, n)
), logged AS (
	INSERT INTO rescind_event (body)
	SELECT g.event FROM swapped, unnest($9::bytea[]) WITH ORDINALITY AS g(event, n) ORDER BY g.n
) SELECT yes FROM swapped`

// Replace implements [rescind.Store].
func (s *Store) Replace(ctx context.Context, r rescind.Replacement) error {
	v, now := &r.Session, s.Now()
	dropped := make([][]byte, len(r.Dropped))
	for i, id := range r.Dropped {
		dropped[i] = rescind.AppendEnding(nil, &rescind.Ending{Kind: rescind.EndToken, Session: v.ID, Token: id, At: now})
	}
	st := &replaceStep{call: newCall(s.timeout), args: []any{
		nil, v.ID[:], int64(v.Version), toMillis(v.LastActive), v.IdleTimeout.Milliseconds(), []byte(v.Client), encodeRecord(*v),
		dropped, encodeEvents(r.Events),
	}}
	if err := s.write(ctx, st, &st.call); err != nil {
		return err
	}
	if st.swapped == nil {
		return rescind.ErrConflict
	}
	return nil
}

func (st *replaceStep) send(t *transaction) {
	st.args[0], st.swapped = t.now, nil
	t.row(replaceSQL, st.args, &st.swapped)
}

type moveStep struct {
	call
	args []any
	to   *int64
}

const moveSQL = `WITH head AS MATERIALIZED (
	SELECT ` + headSQL + ` + 1 AS position
), kept AS (
	UPDATE rescind_session s SET version = s.version + 1, birth = head.position
	FROM head WHERE s.id = $1 AND s.version = $2 AND ` + standsSQL + `
	RETURNING true
), fits AS MATERIALIZED (
	SELECT position FROM head WHERE $1::bytea IS NULL OR EXISTS (SELECT FROM kept)
), moved AS (
	INSERT INTO rescind_cutoff (key, position, at) SELECT $3, position, $4 FROM fits
	ON CONFLICT (key) DO UPDATE SET position = excluded.position, at = excluded.at
), fed AS (
	INSERT INTO rescind_feed (position, body) SELECT position, $5 FROM fits
), logged AS (
	INSERT INTO rescind_event (body) SELECT $6 FROM fits
) SELECT position FROM fits`

// MoveCutoff implements [rescind.Store].
func (s *Store) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	var key []byte
	switch m.Kind {
	case rescind.EndSubject:
		key = subjectKey(m.Tag)
	case rescind.EndClient:
		key = clientKey(m.Name)
	case rescind.EndAll:
		key = allKey()
	default:
		return 0, fmt.Errorf("%w: no cutoff of kind %d", rescind.ErrInvalid, m.Kind)
	}
	if len(m.Name) > maxName {
		return 0, fmt.Errorf("%w: the name of a client has at most %d bytes", rescind.ErrInvalid, maxName)
	}
	if m.Keep != nil && (m.Kind != rescind.EndSubject || m.Keep.Session.Tag() != m.Tag) {
		return 0, fmt.Errorf("%w: a cutoff spares a session of its subject only", rescind.ErrInvalid)
	}
	e := rescind.Ending{Kind: m.Kind, Tag: m.Tag, Name: m.Name, At: m.At}
	var keep []byte
	var version int64
	if m.Keep != nil {
		e.Session = m.Keep.Session
		keep, version = e.Session[:], int64(m.Keep.Version)
	}
	st := &moveStep{call: newCall(s.timeout), args: []any{
		keep, version, key, toMillis(m.At), rescind.AppendEnding(nil, &e), rescind.AppendEvent(nil, &m.Event),
	}}
	if err := s.write(ctx, st, &st.call); err != nil {
		return 0, err
	}
	if st.to == nil {
		return 0, rescind.ErrConflict
	}
	return rescind.Position(*st.to), nil
}

func (st *moveStep) send(t *transaction) {
	st.to = nil
	t.row(moveSQL, st.args, &st.to)
}

type touchStep struct {
	call
	id []byte
	at int64
}

const touchSQL = `WITH given AS MATERIALIZED (
	SELECT id, max(at) AS at FROM unnest($2::bytea[], $3::int8[]) AS g(id, at) GROUP BY id
) UPDATE rescind_session s SET last_active = g.at
	FROM given g WHERE s.id = g.id AND g.at > s.last_active AND ` + busySQL + ` AND ` + standsSQL

// Touch implements [rescind.Store]. It is as durable as every other write.
func (s *Store) Touch(ctx context.Context, id rescind.SessionID, at time.Time) error {
	st := &touchStep{call: newCall(s.timeout), id: id[:], at: toMillis(at)}
	return s.write(ctx, st, &st.call)
}

func (st *touchStep) send(t *transaction) { t.touches = append(t.touches, st) }

func (t *transaction) sendTouches() {
	if len(t.touches) == 0 {
		return
	}
	ids, ats := make([][]byte, len(t.touches)), make([]int64, len(t.touches))
	for i, st := range t.touches {
		ids[i], ats[i] = st.id, st.at
	}
	t.Queue(touchSQL, t.now, ids, ats)
}
