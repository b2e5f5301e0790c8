package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rescind/rescind"
)

func isSync(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

// crash is a disk as it could be found after the power went at one moment, and
// what had been told by then.
type crash struct {
	at    string
	fs    *vfs.MemFS
	facts []fact
}

// crashes takes crashes before each sync and each change of a folder: one without
// anything that was not synced, and one with some of it. Facts are taken first, so
// that all of them were told before the crash.
//
// some is a percentage. Only 100, a process that died, suits a store that is being
// opened: Pebble relies on a folder's changes reaching the disk in their order
// when it begins a new manifest, as they do on every journalling file system.
func crashes(fs *vfs.MemFS, w *witness, some *atomic.Int64, most int) (errorfs.Injector, func() []crash) {
	var mu sync.Mutex
	var all []crash
	met, stride := 0, 1
	rng := rand.New(rand.NewPCG(1, 2))
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !isSync(op) && op.Kind != errorfs.OpRename && op.Kind != errorfs.OpRemove && op.Kind != errorfs.OpCreate {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if met++; met%stride != 0 {
			return nil
		}
		facts := w.so()
		for _, percent := range []int{0, int(some.Load())} {
			c := crash{at: fmt.Sprintf("crash %d, before op %d on %s, %d%% of what was not synced", len(all), op.Kind, op.Path, percent), facts: facts}
			c.fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			all = append(all, c)
		}
		if len(all) > most { // keep an even choice of them
			half := all[:0]
			for i, c := range all {
				if i%4 < 2 {
					half = append(half, c)
				}
			}
			all = half
			stride *= 2
		}
		return nil
	})
	return inject, func() []crash {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// storm logs in, refreshes, ends and looks up from several sides until n writes
// are done or one fails, and notes what it is told.
func storm(s *Store, w *witness, n int) error {
	ctx := context.Background()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	errs := make([]error, 6)
	ids := make(chan rescind.SessionID, 1024)
	for worker := range 4 {
		wg.Go(func() {
			if errs[worker] = stormWriter(s, w, byte(worker), &left, ids); errs[worker] != nil {
				left.Store(0) // the others end too
			}
		})
	}
	for reader := range 2 {
		wg.Go(func() {
			for left.Load() > 0 && errs[4+reader] == nil {
				select {
				case id := <-ids:
					errs[4+reader] = observe(ctx, s, w, id)
				default:
					time.Sleep(100 * time.Microsecond)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func observe(ctx context.Context, s *Store, w *witness, id rescind.SessionID) error {
	page, err := s.Feed(ctx, 0, 10)
	if err != nil {
		return err
	}
	w.saw(fact{head: page.Head})
	for range 3 {
		snap, err := s.Lookup(ctx, id)
		if err != nil {
			return err
		}
		if snap.Found {
			w.saw(fact{id: id, version: snap.Session.Version, dead: !stands(&snap), config: snap.Config})
		}
	}
	tag := id.Tag()
	list, err := s.List(ctx, rescind.ListQuery{Tag: &tag, Limit: 20})
	if err != nil {
		return err
	}
	for _, snap := range list.Sessions {
		w.saw(fact{id: snap.Session.ID, version: snap.Session.Version, dead: !stands(&snap)})
	}
	return nil
}

func stormWriter(s *Store, w *witness, worker byte, left *atomic.Int64, ids chan<- rescind.SessionID) error {
	ctx := context.Background()
	for round := 0; left.Add(-4) >= 0; round++ {
		tag := testTag(worker + 10*byte(round%3))
		r := testSession(tag, s.Now())
		for range 3 { // what is under way is what readers must not believe
			select {
			case ids <- r.ID:
			default:
			}
		}
		birth, err := s.Create(ctx, rescind.Creation{Session: r})
		if err != nil {
			return err
		}
		w.saw(fact{id: r.ID, version: 1, head: birth})
		r.Version, r.Birth = 1, birth
		r.Generation++
		r.Device.UserAgent = strings.Repeat("x", 400)
		switch err := s.Replace(ctx, rescind.Replacement{Session: r}); {
		case err == nil:
			w.saw(fact{id: r.ID, version: 2})
		case !errors.Is(err, rescind.ErrConflict):
			return err
		}
		switch round % 4 {
		case 0, 1:
			if err := logout(s, r.ID); err != nil {
				return err
			}
			w.saw(fact{id: r.ID, version: 2, dead: true})
		case 2:
			to, err := s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: tag, At: s.Now()})
			if err != nil {
				return err
			}
			w.saw(fact{id: r.ID, version: 1, dead: true, head: to})
		case 3:
			v, err := s.ConfigVersion(ctx)
			if err != nil {
				return err
			}
			_, err = s.Configure(ctx, rescind.Change{Expect: v, Documents: []rescind.Document{{Kind: "k", ID: "id", Value: []byte{1}}}})
			switch {
			case err == nil:
				w.saw(fact{config: v + 1})
			case !errors.Is(err, rescind.ErrConflict):
				return err
			}
		}
	}
	return nil
}

// TestNothingToldIsLostByACrash is rule 6 of the protocol: whatever was
// acknowledged or seen is on the disk, at whichever sync the power goes.
func TestNothingToldIsLostByACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	w := &witness{}
	var some atomic.Int64
	some.Store(100)
	inject, taken := crashes(fs, w, &some, 160)
	// A slow disk leaves room between showing a batch and syncing it.
	slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isSync(op) && strings.HasSuffix(op.Path, ".log") {
			time.Sleep(time.Millisecond)
		}
		return inject.MaybeError(op)
	})
	s, err := Open(testDir, Options{FS: errorfs.Wrap(fs, slow), CacheSize: 1 << 20, memTable: 64 << 10, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	some.Store(50)
	if err := storm(s, w, 1200); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	all := taken()
	if len(all) < 60 {
		t.Fatalf("only %d crashes were taken", len(all))
	}
	for _, c := range all {
		s, err := Open(testDir, Options{FS: c.fs, CacheSize: 1 << 20, Timeout: patience})
		if err != nil {
			t.Fatalf("%s: Open: %v", c.at, err)
		}
		hold(t, c.at, s, c.facts)
		closed(t, s)
	}
	t.Logf("%d crashes, up to %d facts", len(all), len(all[len(all)-1].facts))
}

// TestAFailingDiskIsNeverSuccess lets one operation of the disk fail, each in its
// turn: nothing is acknowledged that is not there, and a store that cannot know
// any more says so for good.
func TestAFailingDiskIsNeverSuccess(t *testing.T) {
	kinds := map[string]func(errorfs.Op) bool{
		"log write": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") },
		"log sync":  func(op errorfs.Op) bool { return isSync(op) && strings.HasSuffix(op.Path, ".log") },
		"any write": func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite },
	}
	for name, match := range kinds {
		for _, nth := range []int64{1, 2, 5, 20, 60, 150} {
			t.Run(fmt.Sprintf("%s/%d", name, nth), func(t *testing.T) { failingDisk(t, match, nth) })
		}
	}
}

func failingDisk(t *testing.T, match func(errorfs.Op) bool, nth int64) {
	fs := vfs.NewCrashableMem()
	closed(t, openOn(t, fs))
	var armed atomic.Bool
	var count atomic.Int64
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && match(op) && count.Add(1) == nth {
			return errorfs.ErrInjected
		}
		return nil
	})
	s, err := Open(testDir, Options{FS: errorfs.Wrap(fs, inject), CacheSize: 1 << 20, memTable: 32 << 10, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	w := &witness{}
	if err := storm(s, w, 1000); err != nil {
		mustBeUnavailable(t, "a step on a failing disk", err)
		if s.failure() != nil {
			_, err := s.Lookup(context.Background(), rescind.SessionID{1})
			mustBeUnavailable(t, "Lookup afterwards", err)
			mustBeUnavailable(t, "End afterwards", logout(s, rescind.SessionID{1}))
			_, err = s.ConfigVersion(context.Background())
			mustBeUnavailable(t, "ConfigVersion afterwards", err)
		}
	}
	failed := s.failure() != nil
	begun := time.Now()
	err = s.Close()
	if failed {
		mustBeUnavailable(t, "Close", err)
	}
	if took := time.Since(begun); took > patience { // of 1 s
		t.Fatalf("Close took %s", took)
	}
	mustBeUnavailable(t, "End after Close", logout(s, rescind.SessionID{1}))
	again := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	hold(t, "after the failure", again, w.so())
	closed(t, again)
	t.Logf("%d of %d operations met, store failed: %v, %d facts", count.Load(), nth, failed, len(w.so()))
}
