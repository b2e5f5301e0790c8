// Package keys makes, seals, rotates and ends the keys of a server: those that
// sign access tokens, those that make the MACs of opaque tokens, and the one
// that turns subjects into tags.
//
// A [Keeper] plans, and touches nothing itself: keys live as sealed documents in
// the store's configuration, and the Authority applies each change in one atomic
// step. What it loads is a ring, which never changes and may be used by any
// number of goroutines.
//
// A stolen copy of the store holds no key: each is sealed with AES-256-GCM under
// a key derived from the master key, which lies outside the store. See
// docs/design/keys.md for what that protects, and what it does not.
package keys

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"log/slog"
	"time"

	"github.com/rescind/rescind"
)

// Options say how keys live. The zero value of a field means its default.
type Options struct {
	// Algorithm of new signing keys: ES256 (the default), EdDSA or RS256. After a
	// change of it the next key is made anew, and becomes current as soon as it
	// has been published for PublishBefore. Every node must be given the same.
	Algorithm string
	// PublishBefore is how long the next signing key stands in the JWKS before it
	// signs; at least twice the max-age the JWKS is served with. 10 minutes.
	PublishBefore time.Duration
	// RotateEvery is the age at which a signing or MAC key is replaced. 90 days;
	// negative means never.
	RotateEvery time.Duration
	// Retire is how long a replaced signing key goes on to verify. An expired access
	// token still logs out, so that is the longest life of a session: 400 days.
	// Shorter, it must be longer than any access token lives.
	Retire time.Duration
}

// Validate reports what is wrong with the options, as New does. The error wraps
// [rescind.ErrInvalid].
func (o Options) Validate() error {
	if _, ok := methods[cmp.Or(o.Algorithm, ES256)]; !ok {
		return fmt.Errorf("%w: signing algorithm %q: use ES256, EdDSA or RS256", rescind.ErrInvalid, o.Algorithm)
	}
	if o.PublishBefore < 0 || o.Retire < 0 {
		return fmt.Errorf("%w: PublishBefore and Retire of keys cannot be negative", rescind.ErrInvalid)
	}
	return nil
}

// Keeper implements [rescind.Keys]. It holds no key but the one that seals.
type Keeper struct {
	opts        Options
	aead        cipher.AEAD
	fingerprint string // of the master key
}

var _ rescind.Keys = (*Keeper)(nil)

// New returns a Keeper that seals under master.
func New(master Master, opts Options) (*Keeper, error) {
	opts.Algorithm = cmp.Or(opts.Algorithm, ES256)
	opts.PublishBefore = cmp.Or(opts.PublishBefore, 10*time.Minute)
	opts.RotateEvery = cmp.Or(opts.RotateEvery, 90*24*time.Hour)
	opts.Retire = cmp.Or(opts.Retire, rescind.MaxLifetime)
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if master.bytes == nil {
		return nil, fmt.Errorf("%w: no master key", rescind.ErrInvalid)
	}
	seal, err := master.derive("seal", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(seal)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	fingerprint, err := master.derive("fingerprint", 6)
	if err != nil {
		return nil, err
	}
	return &Keeper{opts: opts, aead: aead, fingerprint: rawURL.EncodeToString(fingerprint)}, nil
}

// Format redacts every verb.
func (k *Keeper) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[keeper of keys]")) }

// LogValue redacts the log.
func (k *Keeper) LogValue() slog.Value { return slog.StringValue("[keeper of keys]") }
