package rescind

import "time"

// EventKind says what happened.
type EventKind string

// What the audit log records.
const (
	EventSessionCreated   EventKind = "session.created"
	EventSessionRefreshed EventKind = "session.refreshed"
	EventSessionEnded     EventKind = "session.ended"
	EventTokenDropped     EventKind = "token.dropped"
	EventSubjectEnded     EventKind = "subject.ended"
	EventSubjectErased    EventKind = "subject.erased"
	EventClientEnded      EventKind = "client.ended"
	EventAllEnded         EventKind = "all.ended"
	EventClientAdded      EventKind = "client.added"
	EventClientRemoved    EventKind = "client.removed"
	EventKeyCreated       EventKind = "key.created"
	EventKeyRotated       EventKind = "key.rotated"
	EventKeyRevoked       EventKind = "key.revoked"
	EventBackupOpened     EventKind = "backup.opened"
	EventStoreWentBack    EventKind = "store.went_back"
	EventLedgerMoved      EventKind = "ledger.moved"
	EventLedgerCopied     EventKind = "ledger.copied"
)

// ActorSelf is the actor of what the server does by itself.
const ActorSelf = "rescind"

// Event is one line of the audit log: who did what to whom, why and when.
// It never holds a token. The store assigns ID in the step that the event
// belongs to; ids of one store sort in the order of its log.
type Event struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Kind    EventKind `json:"kind"`
	Actor   string    `json:"actor"`
	Subject string    `json:"subject,omitempty"`
	Session string    `json:"session,omitempty"`
	Client  string    `json:"client,omitempty"`
	Key     string    `json:"key,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// EventQuery selects events, newest first. Empty fields select all. Limit is
// 1 to 1000 (0 means 100); After is the cursor of the page before.
type EventQuery struct {
	Subject string
	Session string
	Client  string
	Kind    EventKind
	Since   time.Time
	Until   time.Time
	After   string
	Limit   int
}

// Match reports whether e is selected, cursor and limit apart.
func (q *EventQuery) Match(e *Event) bool {
	return (q.Subject == "" || q.Subject == e.Subject) &&
		(q.Session == "" || q.Session == e.Session) &&
		(q.Client == "" || q.Client == e.Client) &&
		(q.Kind == "" || q.Kind == e.Kind) &&
		(q.Since.IsZero() || !e.At.Before(q.Since)) &&
		(q.Until.IsZero() || e.At.Before(q.Until))
}

// EventPage is a part of the log. Next is empty at the end. A page may hold
// fewer events than asked for, even none, and still have a Next: the work of
// one call is bounded by what it reads.
type EventPage struct {
	Events []Event `json:"events"`
	Next   string  `json:"next,omitempty"`
}
