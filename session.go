package rescind

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// Limits on what one session may hold. They are part of the contract.
const (
	MaxSubject       = 255                  // bytes of printable ASCII
	MaxAudiences     = 8                    // per session
	MaxAudience      = 255                  // bytes, each
	MaxScope         = 1024                 // bytes, all scopes together
	MaxClaims        = 4096                 // bytes of JSON
	MaxDeviceField   = 512                  // bytes; longer ones are cut
	MaxAccessEntries = 4                    // live access tokens of one session
	MaxLifetime      = 400 * 24 * time.Hour // of a session; cutoffs outlive it
	MinAccess        = time.Second
)

// Tag is a keyed hash of a subject. It routes one subject's sessions to one
// place in a store and stands for the subject where its name must not be seen.
type Tag [12]byte

// SessionID names a session: the tag of its subject and 96 random bits.
// It is an identifier, not a secret: it opens nothing.
type SessionID [24]byte

// NewSessionID returns a fresh id under tag.
func NewSessionID(tag Tag) SessionID {
	var id SessionID
	copy(id[:], tag[:])
	_, _ = rand.Read(id[len(tag):]) // never fails: crypto/rand ends the process instead
	return id
}

// ParseSessionID reads the text form of an id: 32 characters of base64url.
func ParseSessionID(s string) (SessionID, error) {
	var id SessionID
	if len(s) != 32 {
		return id, invalid("a session id has 32 characters, this has %d", len(s))
	}
	if !decodeRaw(id[:], s) {
		return SessionID{}, invalid("a session id is base64url")
	}
	return id, nil
}

// Tag returns the tag the id begins with.
func (id SessionID) Tag() Tag { return Tag(id[:12]) }

func (id SessionID) String() string { return rawURL.EncodeToString(id[:]) }

// IsZero reports whether the id is unset.
func (id SessionID) IsZero() bool { return id == SessionID{} }

// MarshalText writes the 32-character form.
func (id SessionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the 32-character form.
func (id *SessionID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseSessionID(string(b))
	return err
}

// TokenID is the jti of an access token.
type TokenID [16]byte

func (id TokenID) String() string { return rawURL.EncodeToString(id[:]) }

// ParseTokenID reads the 22-character text form.
func ParseTokenID(s string) (TokenID, error) {
	var id TokenID
	if len(s) != 22 {
		return id, invalid("a token id has 22 characters, this has %d", len(s))
	}
	if !decodeRaw(id[:], s) {
		return TokenID{}, invalid("a token id is base64url")
	}
	return id, nil
}

// MarshalText writes the 22-character form.
func (id TokenID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the 22-character form.
func (id *TokenID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseTokenID(string(b))
	return err
}

// KeyID names a signing key (it is the kid of RFC 7515) or a MAC key.
type KeyID [6]byte

// NewKeyID returns a fresh random id. Its first bit is 0, so that its text never
// begins with "-": command lines would take it for a flag.
func NewKeyID() KeyID {
	var id KeyID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	id[0] &= 0x7f
	return id
}

// ParseKeyID reads the 8-character text form.
func ParseKeyID(s string) (KeyID, error) {
	var id KeyID
	if len(s) != 8 {
		return id, invalid("a key id has 8 characters")
	}
	if !decodeRaw(id[:], s) {
		return KeyID{}, invalid("a key id is base64url")
	}
	return id, nil
}

func (id KeyID) String() string { return rawURL.EncodeToString(id[:]) }

// MarshalText writes the 8-character form.
func (id KeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the 8-character form.
func (id *KeyID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseKeyID(string(b))
	return err
}

// rawURL refuses padding and non-zero trailing bits, each of which would give
// one token several spellings. It skips line breaks; see decodeRaw.
var rawURL = base64.RawURLEncoding.Strict()

// decodeRaw decodes exactly len(dst) bytes. A line break, which the decoder
// skips, would stand in the place of a byte that is then missing at the end.
func decodeRaw(dst []byte, s string) bool {
	if len(s) != rawURL.EncodedLen(len(dst)) {
		return false
	}
	n, err := rawURL.Decode(dst, []byte(s))
	return err == nil && n == len(dst)
}

// Position is a place in the feed of endings: a shard and, in it, a count that is
// dense and in commit order. A session remembers the position of its birth; a
// cutoff past it has ended it. Both lie in the session's own shard, and only
// positions of one shard can be compared. All of them are exact in JSON.
type Position uint64

const shardBit = 45 // 256 shards of 35 million million endings are below 2^53

// MaxShards is how many shards a feed can have.
const MaxShards = 256

// ShardStart is the position before the first ending of a shard.
func ShardStart(shard int) Position { return Position(shard) << shardBit }

// Shard is the shard that a position lies in; 0 where there is only one.
func (p Position) Shard() int { return int(p >> shardBit) }

// Reason says why a session ended.
type Reason string

// Why sessions end.
const (
	ReasonLogout   Reason = "logout"
	ReasonRevoked  Reason = "revoked"
	ReasonReuse    Reason = "reuse"
	ReasonIdle     Reason = "idle"
	ReasonExpired  Reason = "expired"
	ReasonReplaced Reason = "replaced"
	ReasonLimit    Reason = "limit"
	ReasonSubject  Reason = "subject"
	ReasonClient   Reason = "client"
	ReasonAll      Reason = "all"
	ReasonKey      Reason = "key"
)

// Device describes where a session was opened, in the application's words.
// It helps a person recognise a session and decides nothing.
type Device struct {
	Name      string `json:"name,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	IP        string `json:"ip,omitempty"`
}

// AccessEntry is the ledger's entry of one access token. Scope is empty where
// it equals the session's. Times are whole seconds, as in a JWT.
type AccessEntry struct {
	ID         TokenID
	Generation uint32
	Scope      string
	IssuedAt   time.Time
	ExpiresAt  time.Time
}

// Session is the record of one login: the family of all tokens that descend
// from it. It holds no token and nothing from which one could be made without
// the server's keys. Times are in milliseconds; EndedAt is zero while active.
type Session struct {
	ID             SessionID
	Subject        string
	Client         string
	Audience       []string
	Scope          string
	Claims         json.RawMessage // a JSON object, or nil
	Device         Device
	CreatedAt      time.Time
	ExpiresAt      time.Time // absolute; nothing outlives it
	IdleTimeout    time.Duration
	AccessLifetime time.Duration
	LastActive     time.Time
	Generation     uint32
	RotatedAt      time.Time
	Salt           [16]byte
	MACKey         KeyID
	Access         []AccessEntry // oldest first, at most MaxAccessEntries
	Birth          Position
	Version        uint64
	Confirmation   string // cnf (RFC 7800), reserved
	EndedAt        time.Time
	EndReason      Reason
}

// Ended reports whether the record itself says so; a cutoff may say so too.
func (s *Session) Ended() bool { return !s.EndedAt.IsZero() }

// entry returns the ledger's entry for an access token, or nil.
func (s *Session) entry(id TokenID) *AccessEntry {
	for i := range s.Access {
		if s.Access[i].ID == id {
			return &s.Access[i]
		}
	}
	return nil
}

// entryOf returns the access-token entry of a generation, or nil.
func (s *Session) entryOf(generation uint32) *AccessEntry {
	for i := range s.Access {
		if s.Access[i].Generation == generation {
			return &s.Access[i]
		}
	}
	return nil
}

// scopeOf returns the scope of an entry: its own, or the session's.
func (s *Session) scopeOf(e *AccessEntry) string {
	if e.Scope != "" {
		return e.Scope
	}
	return s.Scope
}

// Secret is a token or a client secret. Every printed form of it is redacted;
// JSON, which carries it to the client it belongs to, is not.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string { return "[redacted]" }

// Format redacts every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue redacts it in logs, which may be written as JSON.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
