package rescind

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Store keeps the ledger. It offers few mechanical steps, each atomic, and holds
// no rule: only the [Authority] judges.
//
// The promise that a store makes possible:
//
//	When a revocation returns without error, every check that begins
//	afterwards, on any guard, on any node, fails.
//
// So, for every implementation:
//
//   - A write is durable when it returns nil. Until then nothing of it is
//     visible to any reader, so that nothing seen can be lost by a crash.
//   - A look-up that begins after a write returned nil sees that write.
//   - [ErrConflict] means that nothing was written. Every other error means
//     "outcome unknown": the write may be there, may come, or may never come.
//     Ending is idempotent: repeat it until it returns nil.
//   - Every call returns within the store's own time-out (2 s by default), and
//     sooner when its context ends. A store never answers from what may be stale.
//   - Nothing revives an ended session: Replace and Touch refuse it, Create
//     refuses an id that is there, Purge only forgets.
//   - Values passed in and out are not shared: the store keeps no reference to
//     what it was given and returns what its caller may change.
//
// All methods may be called concurrently. Package storetest holds the tests
// every store passes.
type Store interface {
	// Now returns the store's time, which stamps and judges everything. It never
	// goes backwards while the store is open, nor behind what it last persisted.
	Now() time.Time

	// Create ends those in s.End as End would, inserts s.Session with Version 1
	// and Birth set to the head of the feed behind these endings, and returns that
	// head. A session that has EndedAt, as a copy of one that has ended, is ended
	// from the start and takes no position. ErrConflict if the id exists, or if s.Count is given and the subject's
	// counter differs from it. A create that gives Count advances the counter, no
	// other does, and nothing sets it back.
	Create(ctx context.Context, s Creation) (Position, error)

	// Lookup reads a record and the cutoffs that concern it in one atomic read.
	// No such record is no error: Found is false.
	Lookup(ctx context.Context, id SessionID) (Snapshot, error)

	// Replace writes r.Session over the record that has its Version, and bumps
	// the version by one. It never inserts. ErrConflict if there is no record, if
	// its version differs, if it is ended, if a cutoff (of its subject, its
	// client, or all) has passed its birth, or if it has been idle for its
	// IdleTimeout at the store's time. Birth stays what it is. LastActive
	// becomes the later of the two. EndedAt of r.Session is zero: only End ends.
	// Each token in r.Dropped is an ending of its own and takes a position.
	Replace(ctx context.Context, r Replacement) error

	// End ends a session unconditionally and bumps its version, so that no swap
	// can starve it. One whose record says that it has ended already, or that is
	// not there, stays as it is, writes no event, and Changed is false; one that
	// only a cutoff has ended is ended once more by its record. Position is that of this ending, or
	// the head where nothing changed; either way everything up to it is durable.
	End(ctx context.Context, e End) (Ended, error)

	// MoveCutoff moves the cutoff of a subject, a client, or all to the next
	// position, which it returns: every session born before it has ended. It is
	// one write, however many they are, or, for a client or all, one in each shard
	// of the feed; then it returns the position in the last of them, and a repeat
	// of one that was cut short is harmless. If m.Keep is given, that session gets the
	// new position as its birth in the same step, and a new version; ErrConflict
	// if its version differs, if it is ended, or if a cutoff had passed it.
	MoveCutoff(ctx context.Context, m CutoffMove) (Position, error)

	// Touch sets LastActive to the later of what it is and at, on a record that
	// is active, behind no cutoff, and idle for less than its IdleTimeout at the
	// store's time. It bumps
	// no version and never inserts; where it does not apply it does nothing and
	// returns nil. It may be lost by a crash.
	Touch(ctx context.Context, id SessionID, at time.Time) error

	// List reads records, with their cutoffs, in the order of their ids. The
	// records of one page need not be of one moment, each is as Lookup reads it.
	List(ctx context.Context, q ListQuery) (ListPage, error)

	// Feed returns up to max endings after a position, in its shard, oldest first,
	// and that shard's head. Gone is true if some of them have been purged already: the reader
	// must forget everything and start at the head.
	Feed(ctx context.Context, after Position, max int) (FeedPage, error)

	// Events reads the audit log, newest first.
	Events(ctx context.Context, q EventQuery) (EventPage, error)

	// Config returns every document, and the version of their whole.
	Config(ctx context.Context) (StoreConfig, error)

	// ConfigVersion returns the version alone; cheap enough for every request.
	ConfigVersion(ctx context.Context) (uint64, error)

	// Configure applies a change of documents if the configuration still has
	// version c.Expect, else ErrConflict. The version advances by one. Each of
	// c.Ends takes a position in every shard; a client's also moves its cutoff. It
	// returns the head behind them, of the last shard. With c.NewEpoch the epoch
	// changes in the same step.
	Configure(ctx context.Context, c Change) (Position, error)

	// Purge does one bounded step of forgetting: it reads at most q.Limit records
	// and entries from q.Cursor on, and deletes what q says. It affects space
	// only. A record that changed since q.Drop saw it, be it by a touch, stays. A
	// full round leaves nothing of what it was told to drop. Who asks for
	// CutoffsBefore has made sure that no session born before them can stand.
	Purge(ctx context.Context, q PurgeStep) (Purged, error)

	// Close ends in-flight work and frees the store.
	Close() error
}

// Backuper is a store that can copy itself while it serves.
type Backuper interface {
	// Backup writes a consistent copy as a tar archive. The copy is marked: a
	// store that opens it first moves the cutoff of everything, so that nothing
	// that was revoked after the copy comes back to life.
	Backup(ctx context.Context, w io.Writer) error
}

// Creation is one login. End lists sessions of the same subject that end in the
// same step: the one replaced, or the oldest above a limit.
type Creation struct {
	Session Session
	Count   *uint64 // the subject's creation counter, from ListPage.Count; nil where sessions are not limited
	End     []End
	Events  []Event
}

// Replacement is a compare-and-swap on Session.Version.
type Replacement struct {
	Session Session
	Dropped []TokenID
	Events  []Event
}

// End ends one session. The event is written only if something ended.
type End struct {
	Session SessionID
	At      time.Time
	Reason  Reason
	Event   Event
}

// Ended is what End found.
type Ended struct {
	Position Position
	Changed  bool
}

// EndingKind says what an entry of the feed has ended.
type EndingKind uint8

// What can end.
const (
	EndSession EndingKind = iota + 1 // Session
	EndToken                         // Session and Token
	EndSubject                       // Tag; all but Session, if that is set
	EndClient                        // Name
	EndAll
	EndKey // Name, the key's id
)

// Ending is one entry of the feed.
type Ending struct {
	Position Position
	Nonce    [8]byte // random: tells a feed that went back in time from this one
	Kind     EndingKind
	Session  SessionID
	Token    TokenID
	Tag      Tag
	Name     string
	At       time.Time
}

// CutoffMove ends every session of a subject (by tag), a client (by name), or all.
type CutoffMove struct {
	Kind  EndingKind // EndSubject, EndClient or EndAll
	Tag   Tag
	Name  string
	At    time.Time
	Keep  *Keep // with EndSubject only
	Event Event
}

// Keep is the one session that a subject's cutoff spares.
type Keep struct {
	Session SessionID
	Version uint64
}

// Cutoffs are the positions of the last move of those that concern a session;
// zero where there was none.
type Cutoffs struct {
	Subject Position
	Client  Position
	All     Position
}

// Passed reports whether one of them lies past a birth.
func (c Cutoffs) Passed(birth Position) bool {
	return c.Subject > birth || c.Client > birth || c.All > birth
}

// Snapshot is what one atomic read knows of a session. Config is the version of
// the configuration at the time.
type Snapshot struct {
	Found   bool
	Session Session
	Cutoffs Cutoffs
	Config  uint64
}

// ListQuery selects records by their ids: those under Tag if it is given, after
// the id After if that is set, at most Limit.
type ListQuery struct {
	Tag   *Tag
	After SessionID
	Limit int
}

// ListPage is a part of the ledger. Count is the subject's creation counter,
// read before the records, when Tag is given.
type ListPage struct {
	Sessions []Snapshot
	More     bool
	Count    uint64
}

// FeedPage is a part of the feed.
type FeedPage struct {
	Endings []Ending
	Head    Position
	Gone    bool
}

// Document is a small piece of configuration: a client, a sealed key, a setting.
// Value is at most 64 KiB and opaque to the store.
type Document struct {
	Kind  string
	ID    string
	Value []byte
}

// StoreConfig is the whole configuration. Epoch is random, made with the store,
// and changes when it is known that the store has gone back in time. Shards is
// how many shards the feed has, which never changes.
type StoreConfig struct {
	Version   uint64
	Epoch     [16]byte
	Shards    int
	Documents []Document
}

// ServerDocument is the kind of the documents that concern a ledger as a whole.
// Two of them, by their ids, put it out of force: MovedDocument says where it has
// been moved, CopyingDocument that a copy into it is not finished. While one of
// them is there no Authority answers from this ledger, nor ends anything in it.
const (
	ServerDocument  = "server"
	MovedDocument   = "moved"
	CopyingDocument = "copying"
)

// InForce wraps ErrUnavailable where a ledger may not be used.
func (c *StoreConfig) InForce() error {
	for _, d := range c.Documents {
		switch {
		case d.Kind != ServerDocument:
		case d.ID == MovedDocument:
			return fmt.Errorf("%w: this ledger has been moved, or is being moved, to another store", ErrUnavailable)
		case d.ID == CopyingDocument:
			return fmt.Errorf("%w: the copy into this ledger is not finished", ErrUnavailable)
		}
	}
	return nil
}

// Change changes the configuration. A document with a nil Value is deleted.
// Ends are of kind EndClient or EndKey.
type Change struct {
	Expect    uint64
	Documents []Document
	Ends      []Ending
	Events    []Event
	NewEpoch  bool // the store has gone back in time: make a new, random epoch
}

// Empty reports whether there is nothing to apply.
func (c *Change) Empty() bool {
	return len(c.Documents) == 0 && len(c.Ends) == 0 && len(c.Events) == 0 && !c.NewEpoch
}

// PurgeStep is one bounded piece of forgetting. Drop and DropEvent are asked for
// each record and event read; nil drops none. A zero time drops nothing. Tag
// restricts the sessions read to one subject's.
type PurgeStep struct {
	Cursor        []byte // nil at the start of a round
	Limit         int
	Tag           *Tag
	Drop          func(*Snapshot) bool
	DropEvent     func(*Event) bool
	FeedBefore    time.Time
	CutoffsBefore time.Time
}

// Purged counts what a step removed. Cursor is nil when the round is complete.
type Purged struct {
	Cursor   []byte
	Read     int
	Sessions int
	Events   int
	Endings  int
	Cutoffs  int
}
