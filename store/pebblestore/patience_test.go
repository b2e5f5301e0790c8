package pebblestore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
)

// TestALookUpEndsAlthoughWritesKeepComing: whenever the write that a reader waits
// for is on disk, the next one to the same slot is under way.
func TestALookUpEndsAlthoughWritesKeepComing(t *testing.T) {
	s, err := Open("data", Options{FS: vfs.NewMem(), Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	id := rescind.NewSessionID(rescind.Tag{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	n := s.horizon.seq.Load() + 1
	s.touched[s.slotOf(&id)].Store(n)
	go func() {
		defer close(stopped)
		for ; ; n++ {
			select {
			case <-stop:
				s.horizon.advance(n)
				return
			case <-time.After(time.Millisecond):
				s.touched[s.slotOf(&id)].Store(n + 1)
				s.horizon.advance(n)
			}
		}
	}()
	done := make(chan error, 1)
	go func() {
		_, err := s.Lookup(context.Background(), id)
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("look-up: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a look-up with a time-out of 50 ms goes on for 10 s")
	}
	close(stop)
	<-stopped
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
