package pebblestore

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rescind/rescind"
)

// extract unpacks an archive as tar would and syncs what it wrote.
func extract(t testing.TB, fs vfs.FS, dir string, archive []byte) []string {
	t.Helper()
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var names []string
	in := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		f, err := fs.Create(fs.PathJoin(dir, h.Name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, in); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, fs.PathDir(dir)} {
		f, err := fs.OpenDir(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// TestWhatWasRevokedSinceABackupStaysDead: a copy is taken while the store works,
// a session ends after it, and the copy is opened.
func TestWhatWasRevokedSinceABackupStaysDead(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	s := openOn(t, fs)
	before := login(t, s, testTag(1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := byte(2); ; i++ {
			select {
			case <-stop:
				return
			default:
				login(t, s, testTag(i%200+2))
			}
		}
	})
	var archive bytes.Buffer
	err := s.Backup(ctx, &archive)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := logout(s, before.ID); err != nil {
		t.Fatal(err)
	}
	was, err := s.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	mustHoldNoCopies(t, fs)

	disk := vfs.NewCrashableMem()
	names := extract(t, disk, testDir, archive.Bytes())
	if names[0] != backupFile || names[1] != markerFile {
		t.Fatalf("the archive begins with %v", names[:2])
	}
	w := &witness{}
	var some atomic.Int64
	some.Store(100)
	inject, taken := crashes(disk, w, &some, 60)
	c, err := Open(testDir, Options{FS: errorfs.Wrap(disk, inject), CacheSize: 1 << 20, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	mustBeTheCopy(t, "opened", c, was, before)
	fresh := login(t, c, testTag(1))
	mustStand(t, c, fresh.ID, true)
	closed(t, c)

	// Whenever the opening was cut short, the next one does it again.
	for _, crash := range taken() {
		c, err := Open(testDir, Options{FS: crash.fs, CacheSize: 1 << 20, Timeout: patience})
		if err != nil {
			t.Fatalf("%s: %v", crash.at, err)
		}
		mustBeTheCopy(t, crash.at, c, was, before)
		closed(t, c)
	}

	// Once it has been opened it is a store like any other.
	again := openOn(t, disk)
	mustStand(t, again, fresh.ID, true)
	mustStand(t, again, before.ID, false)
	closed(t, again)
}

func mustBeTheCopy(t *testing.T, at string, s *Store, was rescind.StoreConfig, before rescind.Session) {
	t.Helper()
	ctx := context.Background()
	list, err := s.List(ctx, rescind.ListQuery{Limit: 1000})
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	found := false
	for _, snap := range list.Sessions {
		found = found || snap.Session.ID == before.ID
		if stands(&snap) && snap.Session.ID == before.ID {
			t.Fatalf("%s: a session of the copy lives", at)
		}
		if stands(&snap) && snap.Cutoffs.All == 0 {
			t.Fatalf("%s: the cutoff of everything has not moved", at)
		}
	}
	if !found {
		t.Fatalf("%s: the copy lacks a session from before it", at)
	}
	events, err := s.Events(ctx, rescind.EventQuery{Kind: rescind.EventBackupOpened})
	if err != nil || len(events.Events) == 0 {
		t.Fatalf("%s: no event says that a backup was opened: %v", at, err)
	}
	cfg, err := s.Config(ctx)
	if err != nil || cfg.Epoch == was.Epoch {
		t.Fatalf("%s: the epoch is the old one: %v", at, err)
	}
	page, err := s.Feed(ctx, 0, 1000)
	if err != nil || len(page.Endings) == 0 {
		t.Fatalf("%s: Feed: %v", at, err)
	}
	all := false
	for _, e := range page.Endings {
		all = all || e.Kind == rescind.EndAll
	}
	if !all {
		t.Fatalf("%s: the feed does not say that all has ended", at)
	}
}

func mustHoldNoCopies(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, backupDir) {
			t.Errorf("%s was left behind", name)
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errors.New("the other side is gone")
	}
	return len(b), nil
}

func TestABackupCleansUp(t *testing.T) {
	fs := vfs.NewMem()
	s := openOn(t, fs)
	login(t, s, testTag(1))
	mustBeUnavailable(t, "Backup to a writer that fails", s.Backup(context.Background(), &failingWriter{2000}))
	mustHoldNoCopies(t, fs)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	mustBeUnavailable(t, "Backup with an ended context", s.Backup(ctx, io.Discard))
	closed(t, s)
	// What a process left that died in the middle is removed at the next start.
	if err := fs.MkdirAll(fs.PathJoin(testDir, backupDir+"7"), os.ModePerm); err != nil {
		t.Fatal(err)
	}
	s = openOn(t, fs)
	mustHoldNoCopies(t, fs)
	closed(t, s)
}

// TestHalfABackupIsRefused: an archive that was cut short must not be opened as a
// new, empty store.
func TestHalfABackupIsRefused(t *testing.T) {
	s := openOn(t, vfs.NewMem())
	login(t, s, testTag(1))
	var archive bytes.Buffer
	if err := s.Backup(context.Background(), &archive); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	whole := vfs.NewMem()
	names := extract(t, whole, testDir, archive.Bytes())
	for n := 2; n < len(names); n++ {
		half := vfs.NewMem()
		extract(t, half, testDir, archive.Bytes())
		for _, name := range names[n:] {
			if err := half.Remove(half.PathJoin(testDir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := Open(testDir, Options{FS: half, Timeout: patience}); err == nil {
			list, lerr := s.List(context.Background(), rescind.ListQuery{Limit: 10})
			if lerr != nil || len(list.Sessions) == 0 {
				t.Errorf("opened with %v alone: %v", names[:n], lerr)
			}
			closed(t, s)
		}
	}
}
