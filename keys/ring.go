package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"log/slog"
	"sync"

	"github.com/rescind/rescind"
)

// ring implements rescind.KeyRing. Nothing in it changes after Load.
type ring struct {
	version uint64
	tag     *macKey
	current rescind.KeyID // of the MAC keys
	macs    map[rescind.KeyID]*macKey
	signer  *signer // the current one
	signers map[rescind.KeyID]*signer
	headers map[string]*signer // the same, by the header they write
	list    []rescind.KeyInfo
	jwks    []byte
}

// Load implements [rescind.Keys]. ErrMaster if the keys were sealed under
// another master key, ErrDamaged if they are not as they were written or if some
// are missing: then nothing can be judged, and nothing must be.
func (k *Keeper) Load(cfg rescind.StoreConfig) (rescind.KeyRing, error) {
	all, err := k.open(cfg)
	if err != nil {
		return nil, err
	}
	r := &ring{
		version: cfg.Version,
		macs:    map[rescind.KeyID]*macKey{},
		signers: map[rescind.KeyID]*signer{},
		headers: map[string]*signer{},
	}
	var public []*signer
	for _, one := range all {
		r.list = append(r.list, one.info())
		switch one.Use {
		case rescind.KeyUseTag:
			r.tag = newMACKey(one)
		case rescind.KeyUseMAC:
			r.macs[one.id] = newMACKey(one)
			if one.State == rescind.KeyCurrent {
				r.current = one.id
			}
		case rescind.KeyUseSign:
			s, err := newSigner(one)
			if err != nil {
				return nil, fmt.Errorf("key %s: %w: %w", one.id, ErrDamaged, err)
			}
			r.signers[s.id], r.headers[s.header] = s, s
			if !s.revoked {
				public = append(public, s)
			}
			if one.State == rescind.KeyCurrent {
				r.signer = s
			}
		default:
			return nil, fmt.Errorf("key %s: %w: use %q", one.id, ErrDamaged, one.Use)
		}
	}
	if r.tag == nil || r.signer == nil || r.macs[r.current] == nil {
		return nil, fmt.Errorf("%w: some are missing (a new store has none until Maintain's change is applied)", ErrDamaged)
	}
	if r.jwks, err = jwks(public); err != nil {
		return nil, fmt.Errorf("JWKS: %w", err)
	}
	return r, nil
}

func (r *ring) Version() uint64 { return r.version }

func (r *ring) Tag(subject string) rescind.Tag {
	sum := r.tag.sum([]byte(subject))
	sum[0] &= 0x7f // a session's id begins with it; see rescind.NewKeyID
	return rescind.Tag(sum[:len(rescind.Tag{})])
}

func (r *ring) MACKey() rescind.KeyID { return r.current }

func (r *ring) MAC(id rescind.KeyID, msg []byte) ([32]byte, error) {
	k, err := r.mac(id)
	if err != nil {
		return [32]byte{}, err
	}
	return k.sum(msg), nil
}

func (r *ring) MACState(id rescind.KeyID) error {
	_, err := r.mac(id)
	return err
}

func (r *ring) mac(id rescind.KeyID) (*macKey, error) {
	k := r.macs[id]
	switch {
	case k == nil:
		return nil, rescind.ErrUnknown
	case k.revoked:
		return nil, rescind.ErrRevoked
	}
	return k, nil
}

func (r *ring) List() []rescind.KeyInfo { return append([]rescind.KeyInfo(nil), r.list...) }

func (r *ring) JWKS() []byte { return bytes.Clone(r.jwks) }

// Format redacts every verb.
func (r *ring) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "[keys of configuration %d]", r.version)
}

// LogValue redacts the log.
func (r *ring) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// macKey makes HMAC-SHA-256 under one key. Keyed states are kept, because keying
// costs two of the four blocks of a short message.
type macKey struct {
	revoked bool
	states  sync.Pool
}

type macState struct {
	hash hash.Hash
	out  [sha256.Size]byte // here, so that it is not allocated anew for each sum
}

func newMACKey(from *key) *macKey {
	k := &macKey{revoked: from.State == rescind.KeyRevoked}
	k.states.New = func() any { return &macState{hash: hmac.New(sha256.New, from.secret)} }
	return k
}

func (k *macKey) sum(msg []byte) [sha256.Size]byte {
	s := k.states.Get().(*macState)
	s.hash.Reset()
	s.hash.Write(msg)
	s.hash.Sum(s.out[:0])
	out := s.out
	k.states.Put(s)
	return out
}
