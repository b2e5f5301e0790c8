package rescind

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Role says what a client may do.
type Role string

// The roles of clients.
const (
	RoleIssue      Role = "issue"      // create, list, show and end sessions of its own
	RoleIntrospect Role = "introspect" // check tokens of its audiences
	RoleRevoke     Role = "revoke"     // end any token, session or subject
	RoleGuard      Role = "guard"      // follow the feed and check
	RoleAdmin      Role = "admin"      // all, for any client
)

// TokenFormat is the form of a client's access tokens.
type TokenFormat string

// Forms of access tokens.
const (
	FormatJWT    TokenFormat = "jwt"
	FormatOpaque TokenFormat = "opaque"
)

// Grace windows for a repeated refresh, by kind of client. Lost replies outlast
// the time-outs of HTTP clients, so a confidential client gets more.
const (
	GracePublic       = 10 * time.Second
	GraceConfidential = 60 * time.Second
	MaxGrace          = 5 * time.Minute
)

// MinSecret is the least length of a client secret that a person may choose.
const MinSecret = 32

// Client is an application or service that talks to the server. It is stored as
// a document of kind "client" in this JSON form.
type Client struct {
	ID          string      `json:"id"`
	Name        string      `json:"name,omitempty"`
	SecretHash  []byte      `json:"secret_hash,omitempty"` // SHA-256; none for a public client
	Public      bool        `json:"public,omitempty"`
	Roles       []Role      `json:"roles,omitempty"`
	Audiences   []string    `json:"audiences,omitempty"`  // those it may check; empty: the server's default one
	IssuesFor   []string    `json:"issues_for,omitempty"` // other clients whose sessions it may create, list and show with the role issue: the backend of a public client
	Format      TokenFormat `json:"access_token_format,omitempty"`
	Strict      bool        `json:"strict,omitempty"`        // no grace window at all (ASVS 10.4.5 to the letter)
	Grace       Duration    `json:"grace,omitempty"`         // 0: the default of its kind
	NoLogoutAll bool        `json:"no_logout_all,omitempty"` // its users may not log out everywhere
	CreatedAt   time.Time   `json:"created_at"`
}

// Duration is a time.Duration that JSON shows as text, as in "10s".
type Duration time.Duration

// MarshalText writes the form of time.Duration.String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of time.ParseDuration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Has reports whether the client has a role; admin has all.
func (c *Client) Has(r Role) bool {
	return slices.Contains(c.Roles, r) || slices.Contains(c.Roles, RoleAdmin)
}

// MayIssue reports whether the client may create, list and show sessions of a
// client: with the role issue its own and those of the clients that it issues
// for, with admin anybody's.
func (c *Client) MayIssue(client string) bool {
	return c.Has(RoleAdmin) || (c.Has(RoleIssue) && (client == c.ID || slices.Contains(c.IssuesFor, client)))
}

// clone shares nothing with c.
func (c *Client) clone() *Client {
	v := *c
	v.SecretHash = slices.Clone(c.SecretHash)
	v.Roles, v.Audiences, v.IssuesFor = slices.Clone(c.Roles), slices.Clone(c.Audiences), slices.Clone(c.IssuesFor)
	return &v
}

// Window returns how long a repeated refresh gets the same successor again.
func (c *Client) Window() time.Duration {
	switch {
	case c.Strict:
		return 0
	case c.Grace > 0:
		return time.Duration(c.Grace)
	case c.Public:
		return GracePublic
	}
	return GraceConfidential
}

// Authentic reports, in constant time, whether secret is the client's.
// It is false for every public client: those have no secret.
func (c *Client) Authentic(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return !c.Public && len(c.SecretHash) == sha256.Size && subtle.ConstantTimeCompare(sum[:], c.SecretHash) == 1
}

// SetSecret stores the hash of a secret. Secrets have at least 32 characters,
// so a plain hash is enough: there is nothing to guess. None holds % or +, so that
// a caller that forgets to form-encode it is understood all the same.
func (c *Client) SetSecret(secret string) error {
	if len(secret) < MinSecret || len(secret) > 256 || !printable(secret) {
		return invalid("a client secret has %d to 256 printable ASCII characters", MinSecret)
	}
	if strings.ContainsAny(secret, "%+") {
		return invalid("a client secret has neither %% nor +: HTTP Basic is form-decoded (RFC 6749 section 2.3.1), and callers that do not encode it would be refused")
	}
	sum := sha256.Sum256([]byte(secret))
	c.SecretHash = sum[:]
	return nil
}

// NewSecret returns a fresh secret: 43 alphanumeric characters, 256 bits, which
// need no escaping anywhere.
func NewSecret() Secret {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	out := make([]byte, 0, 43)
	var buf [64]byte
	for len(out) < 43 {
		_, _ = rand.Read(buf[:]) // never fails: crypto/rand ends the process instead
		for _, b := range buf {
			if int(b) < 256/len(alphabet)*len(alphabet) && len(out) < 43 {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return Secret(out)
}

const clientKind = "client"

func (c *Client) document() (Document, error) {
	v, err := json.Marshal(c)
	if err != nil {
		return Document{}, err
	}
	return Document{Kind: clientKind, ID: c.ID, Value: v}, nil
}

// Validate reports what is wrong with a client, as AddClient does, and gives it the
// default format if it has none. The error wraps ErrInvalid.
func (c *Client) Validate() error {
	if !validClientID(c.ID) {
		return invalid("a client id has 1 to 64 characters of A-Z a-z 0-9 . _ -")
	}
	if c.ID == ActorSelf {
		return invalid("the client id %q is the server's own", ActorSelf)
	}
	if c.Public != (len(c.SecretHash) == 0) {
		return invalid("a public client has no secret, every other has one")
	}
	for _, r := range c.Roles {
		switch r {
		case RoleIssue, RoleIntrospect, RoleRevoke, RoleGuard, RoleAdmin:
		default:
			return invalid("the roles are %s, %s, %s, %s and %s", RoleIssue, RoleIntrospect, RoleRevoke, RoleGuard, RoleAdmin)
		}
		if c.Public {
			return invalid("a public client can have no role: anybody can claim to be it")
		}
	}
	if len(c.Audiences) > 64 {
		return invalid("a client has at most 64 audiences")
	}
	for _, a := range c.Audiences {
		if a == "" || len(a) > MaxAudience || !printable(a) {
			return invalid("an audience has 1 to %d printable ASCII characters", MaxAudience)
		}
	}
	if len(c.IssuesFor) > 64 {
		return invalid("a client issues for at most 64 others")
	}
	for _, id := range c.IssuesFor {
		if !validClientID(id) || !c.Has(RoleIssue) {
			return invalid("issues_for takes client ids and needs the role %s", RoleIssue)
		}
	}
	switch c.Format {
	case "":
		c.Format = FormatJWT
	case FormatJWT, FormatOpaque:
	default:
		return invalid("access_token_format is %s or %s", FormatJWT, FormatOpaque)
	}
	if c.Grace < 0 || time.Duration(c.Grace) > MaxGrace {
		return invalid("grace is at most %s", MaxGrace)
	}
	if c.Strict && c.Grace > 0 {
		return invalid("a strict client has no grace window")
	}
	if len(c.Name) > 255 {
		return invalid("a client name has at most 255 bytes")
	}
	return nil
}

func validClientID(id string) bool {
	return len(id) >= 1 && len(id) <= 64 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

func parseClient(d Document) (*Client, error) {
	c := new(Client)
	if err := json.Unmarshal(d.Value, c); err != nil {
		return nil, fmt.Errorf("stored client %q: %w", d.ID, err)
	}
	return c, nil
}

// printable reports whether s is printable ASCII, space excluded.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
