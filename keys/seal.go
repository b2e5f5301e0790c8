package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rescind/rescind"
)

// The errors of a store's keys. None of them is about a token.
var (
	// ErrMaster says that the keys were sealed under another master key.
	ErrMaster = errors.New("this store was sealed under another master key")
	// ErrDamaged says that the keys are not as they were written: cut off, moved
	// to another key's place, changed, or some of them missing.
	ErrDamaged = errors.New("the keys of this store are damaged or were tampered with")
)

// documentKind is the kind of the configuration documents that hold keys; a
// document's id is the text of the key's.
const documentKind = "key"

const documentFormat = 1

// rawURL refuses what lenient decoders let through; see its twin in package
// rescind. Line breaks it ignores: those have to be refused before.
var rawURL = base64.RawURLEncoding.Strict()

// document is how a key is stored. Key is authenticated as the bytes that stand
// there, so that nothing depends on how JSON is written twice.
type document struct {
	Format int             `json:"format"`
	Master string          `json:"master"` // fingerprint of the master key
	Key    json.RawMessage `json:"key"`
	Sealed []byte          `json:"sealed"`
}

// attributes is what is not secret of a key.
type attributes struct {
	Use     rescind.KeyUse   `json:"use"`
	Alg     string           `json:"alg"`
	State   rescind.KeyState `json:"state"`
	Created time.Time        `json:"created"`
	Since   time.Time        `json:"since"`
	// Due marks a current key that is to be replaced as soon as its successor has
	// been published for long enough.
	Due bool `json:"due,omitempty"`
}

// key is one key of a configuration. A revoked one has no secret.
type key struct {
	attributes
	id      rescind.KeyID
	secret  []byte
	changed bool // to be written
	gone    bool // to be deleted
}

func (k *key) info() rescind.KeyInfo {
	return rescind.KeyInfo{ID: k.id, Use: k.Use, Algorithm: k.Alg, State: k.State, CreatedAt: k.Created, Since: k.Since}
}

// seal writes a key. A revoked key is sealed too, with nothing inside, so that
// nobody without the master key can write that it was revoked, or was not.
func (k *Keeper) seal(key *key) (rescind.Document, error) {
	head, err := json.Marshal(key.attributes)
	if err != nil {
		return rescind.Document{}, fmt.Errorf("seal key %s: %w", key.id, err)
	}
	value, err := json.Marshal(document{
		Format: documentFormat,
		Master: k.fingerprint,
		Key:    head,
		Sealed: k.aead.Seal(nil, nil, key.secret, additional(key.id, head)),
	})
	if err != nil {
		return rescind.Document{}, fmt.Errorf("seal key %s: %w", key.id, err)
	}
	return rescind.Document{Kind: documentKind, ID: key.id.String(), Value: value}, nil
}

// open reads and unseals every key of a configuration, oldest first.
func (k *Keeper) open(cfg rescind.StoreConfig) ([]*key, error) {
	var all []*key
	for _, d := range cfg.Documents {
		if d.Kind != documentKind {
			continue
		}
		one, err := k.unseal(d)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", d.ID, err)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *key) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return bytes.Compare(a.id[:], b.id[:])
	})
	// Two keys in one place can only come from documents of two moments.
	places := map[[2]string]bool{}
	for _, one := range all {
		place := [2]string{string(one.Use), string(one.State)}
		if places[place] && (one.State == rescind.KeyCurrent || one.State == rescind.KeyNext) {
			return nil, fmt.Errorf("%w: two keys for %s are %s", ErrDamaged, one.Use, one.State)
		}
		places[place] = true
	}
	if len(all) > 0 && !places[[2]string{string(rescind.KeyUseTag), string(rescind.KeyCurrent)}] {
		// A new one would give every subject another tag: ending a subject's
		// sessions would then miss those that are there.
		return nil, fmt.Errorf("%w: the tag key is missing", ErrDamaged)
	}
	return all, nil
}

func (k *Keeper) unseal(d rescind.Document) (*key, error) {
	id, err := rescind.ParseKeyID(d.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: not a key's name", ErrDamaged)
	}
	var doc document
	if err := decode(d.Value, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if doc.Format != documentFormat {
		return nil, fmt.Errorf("keys in format %d cannot be read: this store was used by another version", doc.Format)
	}
	if doc.Master != k.fingerprint {
		return nil, fmt.Errorf("%w: theirs has the fingerprint %.16q, the one given %q", ErrMaster, doc.Master, k.fingerprint)
	}
	one := &key{id: id}
	if one.secret, err = k.aead.Open(nil, nil, doc.Sealed, additional(id, doc.Key)); err != nil {
		return nil, fmt.Errorf("%w: the seal is broken", ErrDamaged)
	}
	if err := decode(doc.Key, &one.attributes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if (one.State == rescind.KeyRevoked) != (len(one.secret) == 0) {
		return nil, fmt.Errorf("%w: a %s key with %d bytes of secret", ErrDamaged, one.State, len(one.secret))
	}
	return one, nil
}

// additional is what a seal binds beside the secret: the document's kind and
// place, and what is written beside it.
func additional(id rescind.KeyID, head []byte) []byte {
	b := append([]byte(documentKind), 0)
	b = append(b, id[:]...)
	return append(b, head...)
}

// decode reads one JSON value and nothing behind it.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}
