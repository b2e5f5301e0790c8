package pgstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/rescind/rescind"
)

const (
	maxDocument = 64 << 10 // bytes of a value
	maxName     = 1 << 10  // bytes of a kind and an id, or of a client's name
)

// configSQL reads the documents and what they belong to in one statement. A ledger
// without documents is one row without a document.
const configSQL = `SELECT l.config, l.epoch, d.kind, d.id, d.value FROM rescind_ledger l LEFT JOIN rescind_document d ON true`

// Config implements [rescind.Store].
func (s *Store) Config(ctx context.Context) (cfg rescind.StoreConfig, err error) {
	if err := s.begin(ctx); err != nil {
		return cfg, err
	}
	err = s.pages.read(ctx, func(c *conn) error {
		cfg = rescind.StoreConfig{}
		rows, err := c.pg.Query(context.Background(), configSQL)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var version int64
			var epoch, kind, id, value []byte
			if err := rows.Scan(&version, &epoch, &kind, &id, &value); err != nil {
				return err
			}
			if copy(cfg.Epoch[:], epoch) != len(cfg.Epoch) {
				return damaged("the epoch")
			}
			cfg.Version, cfg.Shards = uint64(version), 1
			if kind != nil {
				cfg.Documents = append(cfg.Documents, rescind.Document{Kind: string(kind), ID: string(id), Value: value})
			}
		}
		return rows.Err()
	})
	if err != nil {
		return rescind.StoreConfig{}, unavailable("configuration", err)
	}
	return cfg, nil
}

// ConfigVersion implements [rescind.Store].
func (s *Store) ConfigVersion(ctx context.Context) (uint64, error) {
	snap, err := s.Lookup(ctx, rescind.SessionID{})
	return snap.Config, err
}

type configureStep struct {
	call
	args []any
	head *int64
}

const configureSQL = `WITH fits AS (
	UPDATE rescind_ledger SET config = config + 1, epoch = coalesce($2, epoch) WHERE config = $1 RETURNING true
), gone AS (
	DELETE FROM rescind_document d USING fits, unnest($3::bytea[], $4::bytea[]) AS g(kind, id) WHERE d.kind = g.kind AND d.id = g.id
), kept AS (
	INSERT INTO rescind_document (kind, id, value)
	SELECT g.kind, g.id, g.value FROM fits, unnest($5::bytea[], $6::bytea[], $7::bytea[]) AS g(kind, id, value)
	ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value
), fed AS (
	INSERT INTO rescind_feed (position, body)
	SELECT ` + headSQL + ` + g.n, g.ending FROM fits, unnest($8::bytea[]) WITH ORDINALITY AS g(ending, n)
), moved AS (
	INSERT INTO rescind_cutoff (key, position, at)
	SELECT g.key, ` + headSQL + ` + g.n, g.at FROM fits, unnest($9::bytea[], $10::int8[], $11::int8[]) AS g(key, n, at)
	ON CONFLICT (key) DO UPDATE SET position = excluded.position, at = excluded.at
), logged AS (
	INSERT INTO rescind_event (body)
	SELECT g.event FROM fits, unnest($12::bytea[]) WITH ORDINALITY AS g(event, n) ORDER BY g.n
) SELECT ` + headSQL + ` + cardinality($8::bytea[]) FROM fits`

// Configure implements [rescind.Store].
func (s *Store) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	if err := validChange(&c); err != nil {
		return 0, err
	}
	type key struct{ kind, id string }
	last := map[key]int{} // a document named twice is what it is named last
	for i, d := range c.Documents {
		last[key{d.Kind, d.ID}] = i
	}
	gone, kept := [2][][]byte{{}, {}}, [3][][]byte{{}, {}, {}}
	for i, d := range c.Documents {
		switch {
		case last[key{d.Kind, d.ID}] != i:
		case d.Value == nil:
			gone[0], gone[1] = append(gone[0], []byte(d.Kind)), append(gone[1], []byte(d.ID))
		default:
			kept[0], kept[1] = append(kept[0], []byte(d.Kind)), append(kept[1], []byte(d.ID))
			kept[2] = append(kept[2], append([]byte{}, d.Value...))
		}
	}
	endings, cutoffs := make([][]byte, len(c.Ends)), map[string]int{}
	for i, e := range c.Ends {
		endings[i] = rescind.AppendEnding(nil, &e)
		if e.Kind == rescind.EndClient {
			cutoffs[e.Name] = i
		}
	}
	keys, places, ats := [][]byte{}, []int64{}, []int64{}
	for name, i := range cutoffs {
		keys, places, ats = append(keys, clientKey(name)), append(places, int64(i+1)), append(ats, toMillis(c.Ends[i].At))
	}
	st := &configureStep{call: newCall(s.timeout), args: []any{
		int64(c.Expect), newEpoch(&c), gone[0], gone[1], kept[0], kept[1], kept[2], endings, keys, places, ats, encodeEvents(c.Events),
	}}
	if err := s.write(ctx, st, &st.call); err != nil {
		return 0, err
	}
	if st.head == nil {
		return 0, rescind.ErrConflict
	}
	return rescind.Position(*st.head), nil
}

func (st *configureStep) send(t *transaction) {
	st.head = nil
	t.row(configureSQL, st.args, &st.head)
}

// newEpoch is nil where the epoch stays.
func newEpoch(c *rescind.Change) []byte {
	if !c.NewEpoch {
		return nil
	}
	epoch := make([]byte, 16)
	_, _ = rand.Read(epoch) // never fails: crypto/rand ends the process instead
	return epoch
}

func validChange(c *rescind.Change) error {
	for _, d := range c.Documents {
		switch {
		case d.Kind == "" || strings.Contains(d.Kind, "\x00") || len(d.Kind)+len(d.ID) > maxName:
			return fmt.Errorf("%w: no name of a document", rescind.ErrInvalid)
		case len(d.Value) > maxDocument:
			return fmt.Errorf("%w: a document has at most %d bytes", rescind.ErrInvalid, maxDocument)
		}
	}
	for _, e := range c.Ends {
		if e.Kind != rescind.EndClient && e.Kind != rescind.EndKey || len(e.Name) > maxName {
			return fmt.Errorf("%w: a change of the configuration ends clients and keys", rescind.ErrInvalid)
		}
	}
	return nil
}
