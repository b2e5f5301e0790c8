package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
)

// TestServerEndsWhenItsStoreHasFailed: a process that answers 503 for ever, and
// says that it is alive, is one that nobody starts again.
func TestServerEndsWhenItsStoreHasFailed(t *testing.T) {
	var full atomic.Bool
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && filepath.Ext(op.Path) == ".log" && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return errors.New("no space left on device")
		}
		return nil
	}))
	store, err := pebblestore.Open("data", pebblestore.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("close: %v", err)
		}
	}()
	ctx, stop := untilFailure(t.Context(), store)
	defer stop()
	write := func() error {
		_, err := store.MoveCutoff(context.Background(), rescind.CutoffMove{Kind: rescind.EndAll, At: time.Now()})
		return err
	}
	if err := write(); err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	full.Store(true)
	if err := write(); !errors.Is(err, rescind.ErrUnavailable) {
		t.Fatalf("a full disk: %v", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Error("the server goes on over a store that has failed")
	}
}
