package pebblestore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
)

// TestALookUpEndsAlthoughWritesKeepComing: whenever the write that a reader waits
// for is on disk, the next one to the same slot is under way.
func TestALookUpEndsAlthoughWritesKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 50 * time.Millisecond
		s, err := Open("data", Options{FS: vfs.NewMem(), Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		id := rescind.NewSessionID(rescind.Tag{})
		stop, stopped := make(chan struct{}), make(chan struct{})
		n := s.horizon.seq.Load() + 1
		s.touched[s.slotOf(&id)].Store(n)
		go func() {
			defer close(stopped)
			for begun := time.Now(); ; n++ {
				select {
				case <-stop:
				case <-time.After(time.Millisecond):
					if time.Since(begun) < 100*timeout {
						s.touched[s.slotOf(&id)].Store(n + 1)
						s.horizon.advance(n)
						continue
					}
				}
				s.horizon.advance(n)
				return
			}
		}()
		begun := time.Now()
		_, err = s.Lookup(context.Background(), id)
		if took := time.Since(begun); !errors.Is(err, rescind.ErrUnavailable) || took > 2*timeout {
			t.Errorf("a look-up with a time-out of %s: %v after %s", timeout, err, took)
		}
		close(stop)
		<-stopped
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
