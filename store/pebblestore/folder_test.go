package pebblestore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// contents is everything in a folder, for comparing.
func contents(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %d %x\n", rel, len(data), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// mustRefuse opens a folder that must be refused with some words, and must be as
// it was afterwards.
func mustRefuse(t *testing.T, dir string, words ...string) {
	t.Helper()
	before := contents(t, dir)
	s, err := Open(dir, Options{Timeout: patience})
	if err == nil {
		err = s.Close()
		t.Fatalf("opened %s (closed: %v), want an error with %q", dir, err, words)
	}
	for _, w := range append(words, dir) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("want %q in the error, got: %v", w, err)
		}
	}
	if after := contents(t, dir); after != before {
		t.Errorf("the folder has changed:\n%s\nit was:\n%s", after, before)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenNeedsAFolder(t *testing.T) {
	if _, err := Open("", Options{Timeout: patience}); !errors.Is(err, rescind.ErrInvalid) {
		t.Fatalf("want ErrInvalid, got %v", err)
	}
}

func TestOpenMakesAFolderForItsOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := Open(dir, Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Fatalf("the folder has mode %v", info.Mode())
	}
}

func TestAForeignFolderIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "letter.txt"), "Dear")
	mustRefuse(t, dir, "not a store of Rescind")
	file := filepath.Join(dir, "letter.txt")
	if _, err := Open(file, Options{Timeout: patience}); err == nil {
		t.Fatal("opened a file")
	}
}

func TestANewerFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	write(t, filepath.Join(dir, markerFile), markerText+"2\n")
	mustRefuse(t, dir, "newer version")
	write(t, filepath.Join(dir, markerFile), "something\n")
	mustRefuse(t, dir, "damaged")
}

// TestADamagedFolderIsLeftAlone damages each file of a store in its turn, once as
// it is after Close and once as a dead process leaves it. A store either refuses
// to open and leaves the folder as it is, or says nothing that is not so.
func TestADamagedFolderIsLeftAlone(t *testing.T) {
	clean, crashed := t.TempDir(), filepath.Join(t.TempDir(), "crashed")
	s, err := Open(clean, Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	var facts []fact
	for i := range 400 {
		r := login(t, s, testTag(byte(i)))
		if i%2 == 0 {
			if err := logout(s, r.ID); err != nil {
				t.Fatal(err)
			}
		}
		facts = append(facts, fact{id: r.ID, version: 1, dead: i%2 == 0})
	}
	if err := os.CopyFS(crashed, os.DirFS(clean)); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	refused := map[string]bool{}
	for how, whole := range map[string]string{"clean": clean, "crashed": crashed} {
		names, err := filepath.Glob(filepath.Join(whole, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range names {
			for _, damage := range []string{"flip", "cut", "remove"} {
				ext := filepath.Ext(path)
				switch {
				case filepath.Base(path) == lockFile:
					continue
				case how == "crashed" && ext == ".log" && damage != "flip":
					continue // what a crash could have done too: docs/design/store-pebble.md
				}
				if damageOne(t, whole, filepath.Base(path), damage, facts) {
					refused[how+" "+ext+" "+damage] = true
				}
			}
		}
	}
	for _, must := range []string{"crashed .log flip", "clean .sst cut", "clean .sst remove"} {
		if !refused[must] {
			t.Errorf("%s was not refused; refused: %v", must, refused)
		}
	}
}

// damageOne reports whether a folder with one damaged file was refused.
func damageOne(t *testing.T, whole, name, damage string, facts []fact) bool {
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	spoil(t, filepath.Join(dir, name), damage)
	before := contents(t, dir)
	s, err := Open(dir, Options{Timeout: patience})
	if err != nil {
		if after := contents(t, dir); after != before {
			t.Errorf("%s %s: the folder has changed:\n%s\nit was:\n%s", damage, name, after, before)
		}
		return true
	}
	mustTellTheTruth(t, s, damage+" "+name, facts)
	return false
}

func spoil(t testing.TB, path, damage string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch damage {
	case "flip":
		for i := len(data) / 3; i < len(data)/3+64 && i < len(data); i++ {
			data[i] ^= 0xff
		}
		write(t, path, string(data))
	case "cut":
		write(t, path, string(data[:len(data)/2]))
	case "remove":
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// mustTellTheTruth: a store that has opened over damage must not say that what is
// dead lives. It may say that it does not know.
func mustTellTheTruth(t testing.TB, s *Store, what string, facts []fact) {
	t.Helper()
	for i, f := range facts {
		snap, err := s.Lookup(context.Background(), f.id)
		switch {
		case err != nil:
			mustBeUnavailable(t, what, err)
		case f.dead && stands(&snap):
			t.Errorf("%s: session %d is dead and lives again", what, i)
		}
	}
	if err := s.Close(); err != nil {
		mustBeUnavailable(t, what+": Close", err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	r := login(t, s, testTag(1))
	if _, err := Open(dir, Options{Timeout: patience}); err == nil || !strings.Contains(err.Error(), "already open") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second Open in this process: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, Options{Timeout: patience}); err == nil || !strings.Contains(err.Error(), "already open") {
		t.Errorf("a second Open by another name: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAnotherProcess$")
	cmd.Env = append(os.Environ(), "PEBBLESTORE_OPEN="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("already open")) || !bytes.Contains(out, []byte(dir)) {
		t.Errorf("a second process: %v\n%s", err, out)
	}
	mustStand(t, s, r.ID, true)
	closed(t, s)
	if s, err = Open(dir, Options{Timeout: patience}); err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	mustStand(t, s, r.ID, true)
	closed(t, s)
}

// TestAnotherProcess is the other process of TestOneProcessAtATime.
func TestAnotherProcess(t *testing.T) {
	dir := os.Getenv("PEBBLESTORE_OPEN")
	if dir == "" {
		return
	}
	s, err := Open(dir, Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
}

func TestTimeNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return clock }
	s, err := Open(dir, Options{Now: now, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Now()
	login(t, s, testTag(1))
	clock = clock.Add(-time.Hour)
	if s.Now().Before(first) {
		t.Fatal("time went back while open")
	}
	closed(t, s)
	if s, err = Open(dir, Options{Now: now, Timeout: patience}); err != nil {
		t.Fatal(err)
	}
	if s.Now().Before(first) {
		t.Fatal("time went behind what was persisted")
	}
	clock = clock.Add(2 * time.Hour)
	if got := s.Now(); !got.Equal(clock) {
		t.Fatalf("time is %v, the clock says %v", got, clock)
	}
	closed(t, s)
}
