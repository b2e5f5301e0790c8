package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rescind/rescind"
)

// only returns the one key in a place, or fails.
func only(t testing.TB, r *ring, use rescind.KeyUse, state rescind.KeyState) rescind.KeyInfo {
	t.Helper()
	found := in(r, use, state)
	if len(found) != 1 {
		t.Fatalf("%d keys for %s are %s", len(found), use, state)
	}
	return found[0]
}

func in(r *ring, use rescind.KeyUse, state rescind.KeyState) (found []rescind.KeyInfo) {
	for _, k := range r.List() {
		if k.Use == use && k.State == state {
			found = append(found, k)
		}
	}
	return found
}

// published returns the kids of the JWKS.
func published(t testing.TB, r *ring) (kids []string) {
	t.Helper()
	var set struct {
		Keys []map[string]string
	}
	if err := json.Unmarshal(r.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		for name := range k {
			if !slices.Contains([]string{"use", "alg", "kid", "kty", "crv", "x", "y", "n", "e"}, name) {
				t.Fatalf("the JWKS has a member %q", name)
			}
		}
		if k["use"] != "sig" || k["alg"] == "" || k["kty"] == "" {
			t.Fatalf("JWK %v", k)
		}
		kids = append(kids, k["kid"])
	}
	return kids
}

func kinds(ch rescind.Change) (all []rescind.EventKind) {
	for _, e := range ch.Events {
		all = append(all, e.Kind)
	}
	return all
}

func TestNewStoreGetsItsKeys(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{StoreConfig: rescind.StoreConfig{Version: 7, Documents: []rescind.Document{{Kind: "client", ID: "app", Value: []byte("{}")}}}}
	ch := c.maintain(t, k, start)
	if want := []rescind.EventKind{"key.created", "key.created", "key.created", "key.created"}; !slices.Equal(kinds(ch), want) || len(ch.Ends) != 0 {
		t.Errorf("%+v", ch)
	}
	for _, e := range ch.Events {
		if e.Actor != rescind.ActorSelf || e.Key == "" || !e.At.Equal(start) {
			t.Errorf("%+v", e)
		}
	}
	r := c.load(t, k)
	for _, place := range [][2]string{{"tag", "current"}, {"mac", "current"}, {"sig", "current"}, {"sig", "next"}} {
		only(t, r, rescind.KeyUse(place[0]), rescind.KeyState(place[1]))
	}
	if r.Version() != 8 || len(r.List()) != 4 || len(published(t, r)) != 2 || r.MACKey() != only(t, r, rescind.KeyUseMAC, rescind.KeyCurrent).ID {
		t.Errorf("version %d, %+v, %s", r.Version(), r.List(), r.JWKS())
	}
	if ch := c.maintain(t, k, start); !ch.Empty() || ch.Expect != 8 {
		t.Errorf("a second time: %+v", ch)
	}
	if r.Tag("a") == r.Tag("b") || r.Tag("a") != c.load(t, k).Tag("a") {
		t.Error("tags")
	}
	for i := range 1000 {
		if id := rescind.NewSessionID(r.Tag(strconv.Itoa(i))).String(); id[0] == '-' {
			t.Fatalf("a command line takes the session %s for a flag", id)
		}
	}
	if r.Tag("a") == newRing(t, Options{}).Tag("a") {
		t.Error("two stores have the same tags")
	}
	r.JWKS()[0] = 'x'
	r.List()[0].State = "x"
	if r.JWKS()[0] != '{' || r.List()[0].State == "x" {
		t.Error("a caller can change the ring")
	}
}

// TestNextKeyIsPublishedBeforeItSigns walks through the rotation of a signing key
// at its edges.
func TestNextKeyIsPublishedBeforeItSigns(t *testing.T) {
	k := newKeeper(t, Options{PublishBefore: 10 * time.Minute, Retire: 24 * time.Hour})
	c := &config{}
	c.maintain(t, k, start)
	r := c.load(t, k)
	first, second := only(t, r, "sig", rescind.KeyCurrent).ID, only(t, r, "sig", rescind.KeyNext).ID
	token := signed(t, r, someClaims())

	ch, err := k.Rotate(c.StoreConfig, rescind.KeyUseSign, start.Add(time.Minute))
	c.apply(t, ch, err)
	if len(ch.Events) != 1 || ch.Events[0].Kind != rescind.EventKeyRotated || ch.Events[0].Actor != "" || ch.Events[0].Key != first.String() {
		t.Errorf("asked too early: %+v", ch.Events)
	}
	if again, err := k.Rotate(c.StoreConfig, rescind.KeyUseSign, start.Add(time.Minute)); err != nil || !again.Empty() {
		t.Errorf("asked twice: %+v, %v", again, err)
	}
	if ch := c.maintain(t, k, start.Add(10*time.Minute-1)); !ch.Empty() || c.load(t, k).signer.id != first {
		t.Errorf("a moment too early: %+v", ch)
	}
	promoted := start.Add(10 * time.Minute)
	if ch := c.maintain(t, k, promoted); !slices.Equal(kinds(ch), []rescind.EventKind{"key.rotated", "key.created"}) || len(ch.Ends) != 0 {
		t.Errorf("when it is old enough: %+v", ch)
	}
	r = c.load(t, k)
	third := only(t, r, "sig", rescind.KeyNext).ID
	if r.signer.id != second || only(t, r, "sig", rescind.KeyRetiring).ID != first || third == first || third == second {
		t.Errorf("%+v", r.List())
	}
	if len(published(t, r)) != 3 {
		t.Errorf("JWKS %s", r.JWKS())
	}
	if _, err := r.Verify(token); err != nil {
		t.Errorf("token of a retiring key: %v", err)
	}
	if ch := c.maintain(t, k, promoted.Add(24*time.Hour-1)); !ch.Empty() {
		t.Errorf("retired too early: %+v", ch)
	}
	c.maintain(t, k, promoted.Add(24*time.Hour))
	r = c.load(t, k)
	refuse(t, r, token, rescind.ErrUnknown)
	if kids := published(t, r); len(kids) != 2 || slices.Contains(kids, first.String()) {
		t.Errorf("JWKS %s", r.JWKS())
	}
	// Now the next one is old enough: asking is enough.
	ch, err = k.Rotate(c.StoreConfig, rescind.KeyUseSign, promoted.Add(25*time.Hour))
	c.apply(t, ch, err)
	if got := c.load(t, k).signer.id; got != third || ch.Events[0].Actor != "" {
		t.Errorf("%s signs, want %s; %+v", got, third, ch.Events)
	}
}

func TestKeysRotateByAge(t *testing.T) {
	k := newKeeper(t, Options{RotateEvery: 30 * 24 * time.Hour})
	never, err := New(someMaster(), Options{RotateEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*Keeper{k, never} {
		c := &config{}
		c.maintain(t, k, start)
		before := c.load(t, k)
		if ch := c.maintain(t, k, start.Add(30*24*time.Hour-1)); !ch.Empty() {
			t.Errorf("too early: %+v", ch)
		}
		ch := c.maintain(t, k, start.Add(30*24*time.Hour))
		after := c.load(t, k)
		if k == never {
			if !ch.Empty() {
				t.Errorf("rotated: %+v", ch)
			}
			continue
		}
		if after.signer.id == before.signer.id || after.MACKey() == before.MACKey() || after.Tag("x") != before.Tag("x") {
			t.Errorf("%+v", after.List())
		}
		if ch := c.maintain(t, k, start.Add(30*24*time.Hour)); !ch.Empty() {
			t.Errorf("a second time: %+v", ch)
		}
	}
}

// TestRevokedKeyNeverVerifiesAgain, and its successor signs at once.
func TestRevokedKeyNeverVerifiesAgain(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	r := c.load(t, k)
	id, next := r.signer.id, only(t, r, "sig", rescind.KeyNext).ID
	token := signed(t, r, someClaims())
	now := start.Add(time.Second)
	ch, err := k.Revoke(c.StoreConfig, id, now)
	c.apply(t, ch, err)
	if len(ch.Ends) != 1 || !reflect.DeepEqual(ch.Ends[0], rescind.Ending{Kind: rescind.EndKey, Name: id.String(), At: now}) {
		t.Errorf("%+v", ch.Ends)
	}
	if !slices.Equal(kinds(ch), []rescind.EventKind{"key.revoked", "key.created"}) || ch.Events[0].Key != id.String() || ch.Events[0].Actor != "" {
		t.Errorf("%+v", ch.Events)
	}
	r = c.load(t, k)
	if r.signer.id != next || slices.Contains(published(t, r), id.String()) || len(published(t, r)) != 2 {
		t.Errorf("%+v %s", r.List(), r.JWKS())
	}
	refuse(t, r, token, rescind.ErrRevoked)
	// By a header that was written differently, too; and only under its own algorithm.
	payload := payloadOf(t, someClaims())
	refuse(t, r, forge(t, r.signer, `{"alg":"ES256","kid":"`+id.String()+`","typ":"at+jwt"}`, payload), rescind.ErrRevoked)
	refuse(t, r, forge(t, r.signer, `{"alg":"RS256","kid":"`+id.String()+`","typ":"at+jwt"}`, payload), rescind.ErrMalformed)
	if ch, err := k.Revoke(c.StoreConfig, id, now); err != nil || !ch.Empty() || ch.Expect != c.Version {
		t.Errorf("a second time: %+v, %v", ch, err)
	}
	c.maintain(t, k, now.Add(rescind.MaxLifetime-1))
	refuse(t, c.load(t, k), token, rescind.ErrRevoked)
	c.maintain(t, k, now.Add(rescind.MaxLifetime))
	refuse(t, c.load(t, k), token, rescind.ErrUnknown)
}

func TestRevokedMACKeyMakesNoMAC(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	r := c.load(t, k)
	id := r.MACKey()
	mac, err := r.MAC(id, []byte("x"))
	if err != nil || mac == [32]byte{} {
		t.Fatal(mac, err)
	}
	ch, err := k.Rotate(c.StoreConfig, rescind.KeyUseMAC, start)
	c.apply(t, ch, err)
	r = c.load(t, k)
	if got, err := r.MAC(id, []byte("x")); err != nil || got != mac || r.MACKey() == id {
		t.Errorf("under a retiring key: %v", err)
	}
	ch, err = k.Revoke(c.StoreConfig, id, start)
	c.apply(t, ch, err)
	r = c.load(t, k)
	if got, err := r.MAC(id, []byte("x")); !errors.Is(err, rescind.ErrRevoked) || got != [32]byte{} {
		t.Errorf("under a revoked key: %v", err)
	}
	if err := r.MACState(id); !errors.Is(err, rescind.ErrRevoked) {
		t.Error(err)
	}
	if err := r.MACState(rescind.KeyID{}); !errors.Is(err, rescind.ErrUnknown) {
		t.Error(err)
	}
	if err := r.MACState(r.signer.id); !errors.Is(err, rescind.ErrUnknown) {
		t.Error("a signing key makes MACs:", err)
	}
	if err := r.MACState(r.MACKey()); err != nil {
		t.Error(err)
	}
}

func TestRevokingTheNextKeyKeepsTheRotationDue(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	first := c.load(t, k).signer.id
	ch, err := k.Rotate(c.StoreConfig, rescind.KeyUseSign, start)
	c.apply(t, ch, err)
	next := only(t, c.load(t, k), "sig", rescind.KeyNext).ID
	now := start.Add(9 * time.Minute)
	ch, err = k.Revoke(c.StoreConfig, next, now)
	c.apply(t, ch, err)
	r := c.load(t, k)
	if r.signer.id != first || only(t, r, "sig", rescind.KeyNext).ID == next || slices.Contains(published(t, r), next.String()) {
		t.Errorf("%+v", r.List())
	}
	c.maintain(t, k, now.Add(10*time.Minute-1))
	if got := c.load(t, k).signer.id; got != first {
		t.Error("the new next key became current too young")
	}
	c.maintain(t, k, now.Add(10*time.Minute))
	if got := c.load(t, k).signer.id; got == first || got == next {
		t.Error("the rotation was forgotten")
	}
}

// TestAlgorithmChanges: the next key is made anew, becomes current once it has
// been published, and tokens of the old algorithm live on.
func TestAlgorithmChanges(t *testing.T) {
	master := someMaster()
	old, err := New(master, Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(master, Options{Algorithm: EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	c := &config{}
	c.maintain(t, old, start)
	token := signed(t, c.load(t, old), someClaims())
	now := start.Add(time.Hour)
	c.maintain(t, k, now)
	r := c.load(t, k)
	if r.signer.alg != ES256 || only(t, r, "sig", rescind.KeyNext).Algorithm != EdDSA || len(published(t, r)) != 2 {
		t.Errorf("%+v", r.List())
	}
	if ch := c.maintain(t, k, now); !ch.Empty() {
		t.Errorf("a second time: %+v", ch)
	}
	c.maintain(t, k, now.Add(10*time.Minute))
	r = c.load(t, k)
	if r.signer.alg != EdDSA {
		t.Errorf("%+v", r.List())
	}
	if _, err := r.Verify(token); err != nil {
		t.Error(err)
	}
	if _, err := r.Verify(signed(t, r, someClaims())); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	r := c.load(t, k)
	for _, use := range []rescind.KeyUse{rescind.KeyUseTag, "", "enc"} {
		if _, err := k.Rotate(c.StoreConfig, use, start); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("rotate %q: %v", use, err)
		}
	}
	if _, err := k.Revoke(c.StoreConfig, only(t, r, rescind.KeyUseTag, rescind.KeyCurrent).ID, start); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("revoke the tag key: %v", err)
	}
	if _, err := k.Revoke(c.StoreConfig, rescind.NewKeyID(), start); !errors.Is(err, rescind.ErrNotFound) {
		t.Errorf("revoke none: %v", err)
	}
	ch, err := k.Rotate(rescind.StoreConfig{}, rescind.KeyUseSign, start)
	if err != nil || len(ch.Documents) != 4 {
		t.Errorf("rotate in a new store: %+v, %v", ch, err)
	}
}

// TestPlanningTouchesNothing: a plan that is thrown away has changed nothing.
func TestPlanningTouchesNothing(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	before := make([][]byte, len(c.Documents))
	for i, d := range c.Documents {
		before[i] = bytes.Clone(d.Value)
	}
	r := c.load(t, k)
	token := signed(t, r, someClaims())
	for _, do := range []func() (rescind.Change, error){
		func() (rescind.Change, error) { return k.Maintain(c.StoreConfig, start.AddDate(1, 0, 0)) },
		func() (rescind.Change, error) { return k.Rotate(c.StoreConfig, rescind.KeyUseMAC, start) },
		func() (rescind.Change, error) { return k.Revoke(c.StoreConfig, r.signer.id, start) },
	} {
		if ch, err := do(); err != nil || ch.Empty() {
			t.Errorf("%+v, %v", ch, err)
		}
	}
	for i, d := range c.Documents {
		if !bytes.Equal(d.Value, before[i]) {
			t.Error("a document was changed in place")
		}
	}
	if _, err := r.Verify(token); err != nil {
		t.Error(err)
	}
}

// history is what the model remembers of one key.
type history struct {
	info    rescind.KeyInfo // as last seen
	nextAt  time.Time       // when it was published as next
	retired time.Time
	revoked time.Time
	mac     [32]byte
	tokens  []string
}

// TestLifeOfKeys does random things at random times, as an operator and the
// server's own maintenance would, and holds every key to the rules of its life.
func TestLifeOfKeys(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opts := Options{
			PublishBefore: rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Minute, time.Hour}).Draw(rt, "publish"),
			RotateEvery:   rapid.SampledFrom([]time.Duration{-1, time.Hour, 90 * 24 * time.Hour}).Draw(rt, "every"),
			Retire:        rapid.SampledFrom([]time.Duration{time.Minute, 25 * time.Hour}).Draw(rt, "retire"),
			Algorithm:     rapid.SampledFrom([]string{ES256, EdDSA}).Draw(rt, "algorithm"),
		}
		k := newKeeper(t, opts)
		now := start
		c := &config{}
		known := map[rescind.KeyID]*history{}
		var r *ring
		var tag rescind.Tag

		// see compares the ring with what is known, after a change that revoked one
		// key, or none.
		see := func(revoked *rescind.KeyID) {
			first := r == nil
			r = c.load(t, k)
			only(t, r, rescind.KeyUseTag, rescind.KeyCurrent)
			only(t, r, rescind.KeyUseMAC, rescind.KeyCurrent)
			only(t, r, rescind.KeyUseSign, rescind.KeyCurrent)
			only(t, r, rescind.KeyUseSign, rescind.KeyNext)
			if first {
				tag = r.Tag("subject")
			} else if r.Tag("subject") != tag {
				rt.Fatal("the tag key changed")
			}
			wantPublished := []string{}
			seen := map[rescind.KeyID]bool{}
			for _, info := range r.List() {
				seen[info.ID] = true
				h := known[info.ID]
				if h == nil {
					h = &history{info: rescind.KeyInfo{ID: info.ID}}
					known[info.ID] = h
					if info.Use == rescind.KeyUseMAC {
						h.mac, _ = r.MAC(info.ID, []byte("m"))
					}
				}
				from := h.info.State
				h.info = info
				if from != info.State {
					if !info.Since.Equal(now) {
						rt.Fatalf("%s since %s at %s", info.State, info.Since, now)
					}
					switch move := string(from) + ">" + string(info.State); {
					case move == ">next":
						h.nextAt = now
					case move == ">current" && (info.Use != rescind.KeyUseSign || first):
					case move == "next>current":
						if revoked == nil && now.Sub(h.nextAt) < opts.PublishBefore {
							rt.Fatalf("current after %s as next", now.Sub(h.nextAt))
						}
					case move == "current>retiring":
						h.retired = now
					case info.State == rescind.KeyRevoked && revoked != nil && info.ID == *revoked:
						h.revoked = now
					default:
						rt.Fatalf("%s key: %s", info.Use, move)
					}
				}
				if info.Use == rescind.KeyUseSign && info.State != rescind.KeyRevoked {
					wantPublished = append(wantPublished, info.ID.String())
				}
			}
			if got := published(t, r); !slices.Equal(got, wantPublished) {
				rt.Fatalf("JWKS has %v, want %v", got, wantPublished)
			}
			for id, h := range known {
				var want error
				switch {
				case seen[id] && h.info.State == rescind.KeyRevoked:
					want = rescind.ErrRevoked
				case !seen[id]:
					want = rescind.ErrUnknown
				}
				if !seen[id] { // forgotten, or a next key of another algorithm (not here)
					limit := rescind.MaxLifetime
					if h.revoked.IsZero() && h.info.Use == rescind.KeyUseSign {
						limit = opts.Retire
					}
					last := h.retired
					if !h.revoked.IsZero() {
						last = h.revoked
					}
					if last.IsZero() || now.Sub(last) < limit {
						rt.Fatalf("%s key in state %s vanished %s after %s", h.info.Use, h.info.State, now.Sub(last), last)
					}
				}
				for _, token := range h.tokens {
					if _, err := r.Verify(token); !errors.Is(err, want) {
						rt.Fatalf("token of a key that is %s: %v, want %v", h.info.State, err, want)
					}
				}
				if h.info.Use == rescind.KeyUseMAC {
					if mac, err := r.MAC(id, []byte("m")); !errors.Is(err, want) || err == nil && mac != h.mac {
						rt.Fatalf("MAC under a key that is %s: %v, want %v", h.info.State, err, want)
					}
				}
			}
			if h := known[r.signer.id]; len(h.tokens) < 2 {
				h.tokens = append(h.tokens, signed(t, r, someClaims()))
			}
		}

		c.maintain(t, k, now)
		see(nil)
		rt.Repeat(map[string]func(*rapid.T){
			"wait": func(rt *rapid.T) {
				now = now.Add(rapid.SampledFrom([]time.Duration{
					time.Nanosecond, time.Second, time.Minute, 9 * time.Minute, time.Hour, 24 * time.Hour, 91 * 24 * time.Hour, 401 * 24 * time.Hour,
				}).Draw(rt, "for"))
			},
			"maintain": func(rt *rapid.T) {
				c.maintain(t, k, now)
				see(nil)
				if ch := c.maintain(t, k, now); !ch.Empty() {
					rt.Fatalf("not settled: %+v", ch)
				}
			},
			"rotate": func(rt *rapid.T) {
				use := rapid.SampledFrom([]rescind.KeyUse{rescind.KeyUseSign, rescind.KeyUseMAC}).Draw(rt, "use")
				before := only(t, r, use, rescind.KeyCurrent).ID
				ch, err := k.Rotate(c.StoreConfig, use, now)
				c.apply(t, ch, err)
				see(nil)
				if use == rescind.KeyUseMAC && r.MACKey() == before {
					rt.Fatal("the MAC key did not rotate")
				}
				if use == rescind.KeyUseSign { // at the latest once the next one is old enough
					now = now.Add(opts.PublishBefore)
					c.maintain(t, k, now)
					see(nil)
					if r.signer.id == before {
						rt.Fatal("the signing key did not rotate")
					}
				}
			},
			"revoke": func(rt *rapid.T) {
				list := r.List()
				one := list[rapid.IntRange(0, len(list)-1).Draw(rt, "which")]
				ch, err := k.Revoke(c.StoreConfig, one.ID, now)
				if one.Use == rescind.KeyUseTag {
					if !errors.Is(err, rescind.ErrInvalid) {
						rt.Fatal(err)
					}
					return
				}
				c.apply(t, ch, err)
				see(&one.ID)
				if one.State != rescind.KeyRevoked && (len(ch.Ends) != 1 || ch.Ends[0].Name != one.ID.String()) {
					rt.Fatalf("%+v", ch.Ends)
				}
			},
		})
	})
}
