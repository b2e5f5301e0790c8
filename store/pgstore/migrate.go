package pgstore

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"

	"github.com/rescind/rescind"
)

// Migrations only ever add. Each says which format a node must understand to go on
// beside it: as long as that is its own, an older node may run, and may start.

//go:embed migrations/0001.sql
var migration1 string

var migrations = [...]struct {
	sql   string
	needs int
}{
	{migration1, 1},
}

// format is the last migration that this version knows.
const format = len(migrations)

// migrationLock is the advisory lock under which tables are made. Ledgers in other
// schemas of the database share it, which only makes them wait.
const migrationLock = 0x7265736369 // "resci"

// migrate brings the tables to this version's format. After an error the connection
// may still hold the lock and has to be dropped. Nodes that start together
// do it one after another, and the later ones find it done. What is newer stays.
func migrate(ctx context.Context, c *conn) error {
	if have, err := formatOf(ctx, c); err != nil || have >= format {
		return err
	}
	// The lock comes before the transaction: PostgreSQL looks up names in a cache
	// that it brings up to date when a transaction begins.
	if _, err := c.pg.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return err
	}
	tx, err := c.pg.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	have, err := formatOf(ctx, c)
	if err != nil {
		return err
	}
	for n := have; n < format; n++ {
		m := migrations[n]
		if _, err := tx.Exec(ctx, m.sql); err != nil {
			return fmt.Errorf("migration %d: %w", n+1, err)
		}
		if n == 0 {
			var epoch [16]byte
			_, _ = rand.Read(epoch[:]) // never fails: crypto/rand ends the process instead
			_, err = tx.Exec(ctx, `INSERT INTO rescind_ledger (format, needs, epoch) VALUES (1, $1, $2)`, m.needs, epoch[:])
		} else {
			_, err = tx.Exec(ctx, `UPDATE rescind_ledger SET format = $1, needs = $2`, n+1, m.needs)
		}
		if err != nil {
			return fmt.Errorf("migration %d: %w", n+1, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	_, err = c.pg.Exec(ctx, `SELECT pg_advisory_unlock($1)`, int64(migrationLock))
	return err
}

// formatOf is 0 where there is no ledger.
func formatOf(ctx context.Context, c *conn) (have int, err error) {
	var there bool
	if err := c.pg.QueryRow(ctx, `SELECT to_regclass('rescind_ledger') IS NOT NULL`).Scan(&there); err != nil || !there {
		return 0, err
	}
	var needs int
	if err := c.pg.QueryRow(ctx, `SELECT format, needs FROM rescind_ledger`).Scan(&have, &needs); err != nil {
		return 0, err
	}
	if needs > format {
		return 0, fmt.Errorf("%w: the ledger was made for a newer version: it needs format %d, this one knows %d", rescind.ErrInvalid, needs, format)
	}
	return have, nil
}
