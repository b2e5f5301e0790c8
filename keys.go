package rescind

import (
	"encoding/json"
	"time"
)

// Keys plans what happens to keys. It keeps them as sealed documents in the
// store's configuration and touches nothing itself: the [Authority] applies each
// change in one atomic step. Package keys implements it.
type Keys interface {
	// Load unseals the keys of a configuration.
	Load(cfg StoreConfig) (KeyRing, error)
	// Maintain plans what is due: the first keys of a new store, the next key
	// becoming current, retired keys vanishing. Usually nothing.
	Maintain(cfg StoreConfig, now time.Time) (Change, error)
	// Rotate plans a new current key of a use.
	Rotate(cfg StoreConfig, use KeyUse, now time.Time) (Change, error)
	// Revoke plans the end of a key, at once, and a successor if it was current.
	// ErrNotFound if there is no such key.
	Revoke(cfg StoreConfig, id KeyID, now time.Time) (Change, error)
}

// KeyRing is the keys of one version of the configuration. It never changes.
type KeyRing interface {
	// Version is that of the configuration it was loaded from.
	Version() uint64
	// Tag returns the keyed hash of a subject.
	Tag(subject string) Tag
	// MACKey returns the MAC key for new tokens.
	MACKey() KeyID
	// MAC returns HMAC-SHA-256 of msg under a key. ErrRevoked if that key has
	// been revoked, ErrUnknown if there is none.
	MAC(id KeyID, msg []byte) ([32]byte, error)
	// MACState returns nil for a usable key, else as MAC does.
	MACState(id KeyID) error
	// Sign makes a JWT access token by RFC 9068 under the current signing key.
	// Claims.Key is ignored.
	Sign(c *Claims) (string, error)
	// Verify reads a JWT access token and verifies its form, type, algorithm and
	// signature, and nothing else: its claims are authentic and not yet judged.
	// ErrMalformed or ErrUnknown if there is no such key, ErrRevoked if there was.
	Verify(token string) (Claims, error)
	// List returns what may be shown of every key.
	List() []KeyInfo
	// JWKS returns the JSON Web Key Set (RFC 7517) of the next, current and
	// retiring signing keys: public parts only.
	JWKS() []byte
}

// KeyUse says what a key is for.
type KeyUse string

// Uses of keys. The tag key is made with the store and never changes.
const (
	KeyUseSign KeyUse = "sig"
	KeyUseMAC  KeyUse = "mac"
	KeyUseTag  KeyUse = "tag"
)

// KeyState is a key's place in its life.
type KeyState string

// The life of a key. A revoked one stays known as revoked for [MaxLifetime].
const (
	KeyNext     KeyState = "next"
	KeyCurrent  KeyState = "current"
	KeyRetiring KeyState = "retiring"
	KeyRevoked  KeyState = "revoked"
)

// KeyInfo is what may be shown of a key.
type KeyInfo struct {
	ID        KeyID     `json:"id"`
	Use       KeyUse    `json:"use"`
	Algorithm string    `json:"alg"`
	State     KeyState  `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	// Since is when it came into its present state.
	Since time.Time `json:"since"`
}

// Claims are the claims of a JWT access token (RFC 9068 section 2.2), with sid
// for the session. Extra holds the session's own claims, a JSON object or nil.
// Times are whole seconds. Key is the kid it was signed under.
type Claims struct {
	Issuer    string
	Subject   string
	Client    string
	Audience  []string
	Scope     string
	Session   SessionID
	ID        TokenID
	IssuedAt  time.Time
	ExpiresAt time.Time
	Extra     json.RawMessage
	Key       KeyID
}

// Clone returns a copy of c with the same documents, for planning on top of it.
func (c StoreConfig) Clone() StoreConfig {
	c.Documents = append([]Document(nil), c.Documents...)
	return c
}

// RegisteredClaims are the claim names an application may not set as its own.
var registeredClaims = map[string]bool{
	"iss": true, "sub": true, "aud": true, "exp": true, "nbf": true, "iat": true, "jti": true,
	"sid": true, "client_id": true, "scope": true, "cnf": true, "act": true, "may_act": true,
	"active": true, "username": true, "token_type": true, "auth_time": true, "nonce": true, "azp": true,
	"typ": true, "alg": true, "kid": true, "events": true, "sub_id": true, "txn": true, "status": true,
	"authorization_details": true,
}
