package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind"
)

func TestMasterFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := LoadMaster(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	m, created, err := LoadOrCreateMaster(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, created, err := LoadOrCreateMaster(path)
	if err != nil || created || *again.bytes() != *m.bytes() {
		t.Errorf("the second time: %v, %v", created, err)
	}
	if _, err := CreateMaster(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	if kept, err := LoadMaster(path); err != nil || *kept.bytes() != *m.bytes() {
		t.Errorf("after that: %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o620, 0o601, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := LoadOrCreateMaster(path)
		if err == nil || !strings.Contains(err.Error(), "chmod 600") || !strings.Contains(err.Error(), path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := LoadMaster(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
	if _, err := CreateMaster(filepath.Join(path, "x")); err == nil {
		t.Error("made below a file")
	}
	empty := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateMaster(empty); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("empty file: %v", err)
	}
}

func TestParseMaster(t *testing.T) {
	raw := bytes.Repeat([]byte{0xfb, 0xef}, 16)
	padded := base64.StdEncoding.EncodeToString(raw)
	for _, text := range []string{padded, strings.TrimRight(padded, "="), " " + padded + "\r\n"} {
		if m, err := ParseMaster(text); err != nil || !bytes.Equal(m.bytes()[:], raw) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"", "secret", padded[:40], padded + "AAAA", base64.URLEncoding.EncodeToString(raw), fmt.Sprintf("%x", raw),
		padded[:20] + "\n" + padded[21:], padded[:20] + "\n\n\n" + padded[20:40], padded[:42] + "9", base64.StdEncoding.EncodeToString(make([]byte, 32)),
	} {
		_, err := ParseMaster(text)
		if !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
		if text != "" && err != nil && strings.Contains(err.Error(), text) {
			t.Errorf("the error holds the text: %v", err)
		}
	}
	if _, err := New(Master{}, Options{}); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("no master key: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Algorithm: "HS256"}, {Algorithm: "none"}, {Algorithm: "es256"}, {PublishBefore: -1}, {Retire: -1}} {
		if _, err := New(someMaster(), o); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestAnotherMasterKeyOpensNothing(t *testing.T) {
	c := &config{}
	c.maintain(t, newKeeper(t, Options{}), start)
	other := newKeeper(t, Options{})
	for name, do := range map[string]func() error{
		"Load":     func() error { _, err := other.Load(c.StoreConfig); return err },
		"Maintain": func() error { _, err := other.Maintain(c.StoreConfig, start); return err },
		"Rotate":   func() error { _, err := other.Rotate(c.StoreConfig, rescind.KeyUseSign, start); return err },
		"Revoke":   func() error { _, err := other.Revoke(c.StoreConfig, rescind.KeyID{}, start); return err },
	} {
		err := do()
		if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "this store was sealed under another master key") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, rescind.ErrInactive) {
			t.Errorf("%s blames a token: %v", name, err)
		}
	}
}

// TestFingerprintAloneOpensNothing puts the right fingerprint on documents that
// were sealed under another master key.
func TestFingerprintAloneOpensNothing(t *testing.T) {
	c := &config{}
	k := newKeeper(t, Options{})
	c.maintain(t, k, start)
	other := newKeeper(t, Options{})
	for i := range c.Documents {
		c.Documents[i].Value = bytes.ReplaceAll(c.Documents[i].Value, []byte(k.fingerprint), []byte(other.fingerprint))
	}
	if _, err := other.Load(c.StoreConfig); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestTamperedDocumentsAreRefused changes what a thief with write access could:
// each document in every place, and its place.
func TestTamperedDocumentsAreRefused(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	ring := c.load(t, k)
	ch, err := k.Revoke(c.StoreConfig, ring.signer.id, start)
	c.apply(t, ch, err)
	if n := len(c.Documents); n != 5 { // tag, MAC, current, next, revoked
		t.Fatalf("%d documents", n)
	}
	refused := func(what string, bad rescind.StoreConfig) {
		t.Helper()
		if _, err := k.Load(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := k.Maintain(bad, start); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s, Maintain: %v", what, err)
		}
	}
	for i, d := range c.Documents {
		var doc document
		var a attributes
		if err := errors.Join(json.Unmarshal(d.Value, &doc), json.Unmarshal(doc.Key, &a)); err != nil {
			t.Fatal(err)
		}
		put := func(value []byte) rescind.StoreConfig {
			bad := c.Clone()
			bad.Documents[i].Value = value
			return bad
		}
		for cut := range len(d.Value) {
			refused(fmt.Sprintf("%s cut to %d", a.Use, cut), put(d.Value[:cut]))
		}
		refused("appended to", put(append(bytes.Clone(d.Value), " {}"...)))
		for at := range doc.Sealed {
			bad := doc
			bad.Sealed = bytes.Clone(doc.Sealed)
			bad.Sealed[at] ^= 0x10
			b, err := json.Marshal(bad)
			if err != nil {
				t.Fatal(err)
			}
			refused(fmt.Sprintf("%s with byte %d of its seal changed", a.Use, at), put(b))
		}
		for _, change := range []func(*attributes){
			func(a *attributes) {
				a.Use = map[rescind.KeyUse]rescind.KeyUse{"sig": "mac", "mac": "tag", "tag": "mac"}[a.Use]
			},
			func(a *attributes) { a.Alg = "none" },
			func(a *attributes) { a.State = rescind.KeyRetiring },
			func(a *attributes) { a.Created = a.Created.Add(1) },
			func(a *attributes) { a.Since = a.Since.Add(-1) },
			func(a *attributes) { a.Due = true },
		} {
			other := a
			change(&other)
			bad := doc
			if bad.Key, err = json.Marshal(other); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(bad)
			if err != nil {
				t.Fatal(err)
			}
			refused(fmt.Sprintf("%+v instead of %+v", other, a), put(b))
		}
		for j := range c.Documents {
			if j != i {
				bad := c.Clone()
				bad.Documents[i].Value = c.Documents[j].Value
				refused(fmt.Sprintf("document %d in the place of %d", j, i), bad)
				bad = c.Clone()
				bad.Documents[i].Value, bad.Documents[j].Value = c.Documents[j].Value, c.Documents[i].Value
				refused(fmt.Sprintf("documents %d and %d swapped", j, i), bad)
			}
		}
		bad := c.Clone()
		bad.Documents[i].ID = rescind.NewKeyID().String()
		refused("renamed", bad)
		bad.Documents[i].ID = "x"
		refused("renamed to what is no name", bad)
	}
	bad := c.Clone()
	bad.Documents = bad.Documents[:0]
	for _, d := range c.Documents {
		if !bytes.Contains(d.Value, []byte(`"use":"tag"`)) {
			bad.Documents = append(bad.Documents, d)
		}
	}
	refused("without the tag key", bad)
}

// TestUnrevokedKeyIsNoticed puts a document from before a revocation back. The
// seal cannot tell when it was written; but two keys are current then.
func TestUnrevokedKeyIsNoticed(t *testing.T) {
	k := newKeeper(t, Options{})
	for _, use := range []rescind.KeyUse{rescind.KeyUseSign, rescind.KeyUseMAC} {
		c := &config{}
		c.maintain(t, k, start)
		before := c.Clone()
		id := only(t, c.load(t, k), use, rescind.KeyCurrent).ID
		ch, err := k.Revoke(c.StoreConfig, id, start)
		c.apply(t, ch, err)
		for i := range c.Documents {
			if c.Documents[i].ID == id.String() {
				for _, d := range before.Documents {
					if d.ID == id.String() {
						c.Documents[i] = d
					}
				}
			}
		}
		if _, err := k.Load(c.StoreConfig); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", use, err)
		}
	}
}

// TestKeyWithoutSecretIsRefused: under an empty key anybody could make a MAC.
func TestKeyWithoutSecretIsRefused(t *testing.T) {
	k := newKeeper(t, Options{})
	for _, state := range []rescind.KeyState{rescind.KeyCurrent, rescind.KeyRetiring, rescind.KeyRevoked} {
		for _, secret := range [][]byte{nil, make([]byte, 32)} {
			d, err := k.seal(&key{attributes: attributes{Use: rescind.KeyUseTag, Alg: algHMAC, State: state}, secret: secret})
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.unseal(d)
			if ok := (state == rescind.KeyRevoked) == (secret == nil); ok != (err == nil) || !ok && !errors.Is(err, ErrDamaged) {
				t.Errorf("%s key with %d bytes: %v", state, len(secret), err)
			}
		}
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	c.Documents[0].Value = bytes.Replace(c.Documents[0].Value, []byte(`"format":1`), []byte(`"format":2`), 1)
	if _, err := k.Load(c.StoreConfig); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
}

func TestEmptyStoreHasNoRing(t *testing.T) {
	k := newKeeper(t, Options{})
	other := rescind.StoreConfig{Documents: []rescind.Document{{Kind: "client", ID: "app", Value: []byte("{}")}}}
	for _, cfg := range []rescind.StoreConfig{{}, other} {
		if _, err := k.Load(cfg); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}
}

// TestStolenStoreHoldsNoKey looks for every secret, in plain and encoded, in the
// documents; law 6.
func TestStolenStoreHoldsNoKey(t *testing.T) {
	for _, alg := range []string{ES256, EdDSA, RS256} {
		k := newKeeper(t, Options{Algorithm: alg})
		c := &config{}
		c.maintain(t, k, start)
		all, err := k.open(c.StoreConfig)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range c.Documents {
			noSecret(t, "the document "+d.ID, string(d.Value), all)
		}
	}
}

// TestRevokedKeyLeavesNoMaterial: what was revoked cannot be unsealed later.
func TestRevokedKeyLeavesNoMaterial(t *testing.T) {
	k := newKeeper(t, Options{})
	c := &config{}
	c.maintain(t, k, start)
	for _, use := range []rescind.KeyUse{rescind.KeyUseSign, rescind.KeyUseMAC} {
		id := only(t, c.load(t, k), use, rescind.KeyCurrent).ID
		ch, err := k.Revoke(c.StoreConfig, id, start)
		c.apply(t, ch, err)
		all, err := k.open(c.StoreConfig)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if one.id == id && (one.State != rescind.KeyRevoked || len(one.secret) != 0) {
				t.Errorf("%s: %s with %d bytes", use, one.State, len(one.secret))
			}
		}
	}
}

// noSecret fails if text holds a secret in any form that it may be printed in.
func noSecret(t *testing.T, what, text string, all []*key) {
	t.Helper()
	for _, one := range all {
		if len(one.secret) == 0 {
			continue
		}
		// The middle: the ends of a PKCS #8 encoding are the same for every key.
		b := one.secret[max(0, len(one.secret)/2-8):][:16]
		list := fmt.Sprint(b)
		for _, form := range []string{
			string(b), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("%#v", b), list[1 : len(list)-1],
			base64.StdEncoding.EncodeToString(b)[3:18], base64.StdEncoding.EncodeToString(b[1:])[3:18], base64.StdEncoding.EncodeToString(b[2:])[3:16],
		} {
			if strings.Contains(text, form) {
				t.Errorf("%s holds the secret of a key for %s", what, one.Use)
			}
		}
	}
}

// TestNothingPrintsAKey prints everything that holds keys, in every way, alone
// and inside of other things.
func TestNothingPrintsAKey(t *testing.T) {
	master := someMaster()
	k, err := New(master, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &config{}
	c.maintain(t, k, start)
	r := c.load(t, k)
	all, err := k.open(c.StoreConfig)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := master.derive("seal", 32)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, &key{secret: master.bytes()[:], attributes: attributes{Use: "master"}}, &key{secret: seal, attributes: attributes{Use: "sealing"}})
	type holder struct {
		Public  any
		private any
		master  Master
		keeper  *Keeper
		ring    rescind.KeyRing
		list    []Master
		named   map[string]rescind.KeyRing
	}
	for _, v := range []any{
		master, &master, k, r, rescind.KeyRing(r),
		holder{master, master, master, k, r, []Master{master}, map[string]rescind.KeyRing{"r": r}},
		&holder{k, r, master, k, r, []Master{master}, map[string]rescind.KeyRing{"r": r}},
		[]any{master, k, r},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%T"} {
			noSecret(t, fmt.Sprintf("%s of %T", verb, v), fmt.Sprintf(verb, v), all)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		noSecret(t, fmt.Sprintf("the log of %T", v), log.String(), all)
		if b, err := json.Marshal(v); err == nil {
			noSecret(t, fmt.Sprintf("JSON of %T", v), string(b), all)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", master, k, r, r); got != "[redacted] [keeper of keys] [keys of configuration 1] [keys of configuration 1]" {
		t.Error(got)
	}
}
