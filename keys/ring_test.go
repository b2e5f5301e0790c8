package keys

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func someMaster() Master {
	var b [masterSize]byte
	_, _ = rand.Read(b[:])
	return newMaster(b)
}

func newKeeper(t testing.TB, opts Options) *Keeper {
	t.Helper()
	k, err := New(someMaster(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// config is a store's configuration, as far as keys are concerned.
type config struct{ rescind.StoreConfig }

// apply does what a store's Configure does.
func (c *config) apply(t testing.TB, ch rescind.Change, err error) rescind.Change {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if ch.Expect != c.Version {
		t.Fatalf("change expects version %d, the configuration has %d", ch.Expect, c.Version)
	}
	if ch.Empty() {
		return ch
	}
	next := c.Clone()
	next.Version++
	for _, d := range ch.Documents {
		at := -1
		for i := range next.Documents {
			if next.Documents[i].Kind == d.Kind && next.Documents[i].ID == d.ID {
				at = i
			}
		}
		switch {
		case d.Value == nil && at < 0:
			t.Fatalf("change deletes %s, which is not there", d.ID)
		case d.Value == nil:
			next.Documents = append(next.Documents[:at], next.Documents[at+1:]...)
		case at < 0:
			next.Documents = append(next.Documents, d)
		default:
			next.Documents[at] = d
		}
		if len(d.Value) > 64<<10 {
			t.Fatalf("document of %d bytes", len(d.Value))
		}
	}
	c.StoreConfig = next
	return ch
}

func (c *config) maintain(t testing.TB, k *Keeper, now time.Time) rescind.Change {
	t.Helper()
	ch, err := k.Maintain(c.StoreConfig, now)
	return c.apply(t, ch, err)
}

func (c *config) load(t testing.TB, k *Keeper) *ring {
	t.Helper()
	r, err := k.Load(c.StoreConfig)
	if err != nil {
		t.Fatal(err)
	}
	return r.(*ring)
}

func newRing(t testing.TB, opts Options) *ring {
	t.Helper()
	k := newKeeper(t, opts)
	c := &config{}
	c.maintain(t, k, start)
	return c.load(t, k)
}

func someClaims() rescind.Claims {
	var id rescind.TokenID
	_, _ = rand.Read(id[:])
	return rescind.Claims{
		Issuer:    "https://rescind.example",
		Subject:   "user-4711",
		Client:    "app",
		Audience:  []string{"https://api.example"},
		Scope:     "read write profile",
		Session:   rescind.NewSessionID(rescind.Tag{1, 2, 3}),
		ID:        id,
		IssuedAt:  time.Unix(start.Unix(), 0),
		ExpiresAt: time.Unix(start.Unix()+300, 0),
		Extra:     json.RawMessage(`{"tenant":"acme","roles":["admin","billing"],"plan":{"name":"gold"}}`),
	}
}

// BenchmarkVerify compares with golang-jwt v5, which checks no state. Both read
// the same token in turn, so that a machine's other work slows both; what counts
// is the ratio of the medians.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{ES256, EdDSA, RS256} {
		b.Run(alg, func(b *testing.B) {
			r := newRing(b, Options{Algorithm: alg})
			c := someClaims()
			token, err := r.Sign(&c)
			if err != nil {
				b.Fatal(err)
			}
			parser := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithTimeFunc(func() time.Time { return start }))
			find := func(*jwt.Token) (any, error) { return r.signer.public, nil }
			var ours, theirs []time.Duration
			for b.Loop() {
				from := time.Now()
				if _, err := r.Verify(token); err != nil {
					b.Fatal(err)
				}
				between := time.Now()
				if _, err := parser.ParseWithClaims(token, jwt.MapClaims{}, find); err != nil {
					b.Fatal(err)
				}
				ours, theirs = append(ours, between.Sub(from)), append(theirs, time.Since(between))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			own, other := ours[len(ours)/2], theirs[len(theirs)/2]
			b.ReportMetric(float64(own), "ns/Verify")
			b.ReportMetric(float64(other), "ns/golang-jwt")
			b.ReportMetric(float64(own)/float64(other), "ratio")
		})
	}
}

func BenchmarkSign(b *testing.B) {
	r := newRing(b, Options{})
	c := someClaims()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign(&c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	r := newRing(b, Options{})
	msg := make([]byte, 70)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.MAC(r.current, msg); err != nil {
			b.Fatal(err)
		}
	}
}
