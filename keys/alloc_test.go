//go:build !race

package keys

import "testing"

// TestAllocations bounds what every request pays. The race detector makes pools
// forget at random, so it runs without.
func TestAllocations(t *testing.T) {
	r := newRing(t, Options{Algorithm: EdDSA})
	token := signed(t, r, someClaims())
	msg := make([]byte, 70)
	for _, one := range []struct {
		name string
		max  float64
		do   func() error
	}{
		{"MAC", 0, func() error { _, err := r.MAC(r.current, msg); return err }},
		{"MACState", 0, func() error { return r.MACState(r.current) }},
		{"Tag", 1, func() error { r.Tag("user-4711"); return nil }},
		{"Verify", 34, func() error { _, err := r.Verify(token); return err }},
	} {
		if got := testing.AllocsPerRun(200, func() {
			if err := one.do(); err != nil {
				t.Fatal(err)
			}
		}); got > one.max {
			t.Errorf("%s allocates %v times, at most %v", one.name, got, one.max)
		}
	}
}
