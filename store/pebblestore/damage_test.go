package pebblestore

import (
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDamageInTheFirstLogIsNoticed: after a crash, a log is all that a new store
// has. Damage in the middle of it must not be taken for its end, or everything
// behind it would be forgotten, logouts among it.
func TestDamageInTheFirstLogIsNoticed(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs)
	for n := range 400 { // more than two blocks of the log, of 32 KiB
		if err := logout(s, login(t, s, testTag(byte(n))).ID); err != nil {
			t.Fatal(err)
		}
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	closed(t, s)
	names, err := crashed.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".log") && flipBit(t, crashed, crashed.PathJoin(testDir, name), 20_000) {
			spoilt++
		}
	}
	if spoilt != 1 {
		t.Fatalf("%d of %v are long enough to be spoilt, want 1", spoilt, names)
	}
	if s, err := Open(testDir, Options{FS: crashed, Timeout: patience}); err == nil {
		_ = s.Close()
		t.Fatal("a log with a hole is opened as if it ended there")
	} else if !strings.Contains(err.Error(), errDamaged.Error()) {
		t.Fatalf("%v", err)
	}
}

// flipBit changes one bit of a file in place. It is false if the file ends before
// two blocks of a log behind it.
func flipBit(t *testing.T, fs vfs.FS, path string, at int64) bool {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at+2*32<<10); err != nil {
		if err != io.EOF {
			t.Fatal(err)
		}
		return false
	}
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	return true
}
