package pebblestore_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
	"github.com/rescind/rescind/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB, now func() time.Time) storetest.Instance {
		fs := vfs.NewMem()
		var open *pebblestore.Store
		reopen := func() rescind.Store {
			if open != nil {
				if err := open.Close(); err != nil {
					t.Fatalf("Close: %v", err)
				}
			}
			var err error
			if open, err = pebblestore.Open("ledger", pebblestore.Options{FS: fs, Now: now, CacheSize: 1 << 20, Timeout: time.Minute}); err != nil {
				t.Fatalf("Open: %v", err)
			}
			return open
		}
		t.Cleanup(func() {
			if err := open.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return storetest.Instance{Store: reopen(), Restart: reopen}
	})
}
