package fault

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// volatile is a file system that keeps what is written to a file in the process
// until it is synced. When the process is killed, that is gone, as after a power
// cut. Names (create, rename, remove) and what is in a file at its closing are
// written at once: of those it says nothing.
type volatile struct {
	vfs.FS
	// delay is the longest time that a sync takes; a random part of it passes
	// before anything is written, so that there is something to interrupt.
	delay time.Duration
}

func (v volatile) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return v.hold(v.FS.Create(name, category))
}

func (v volatile) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return v.hold(v.FS.ReuseForWrite(oldname, newname, category))
}

func (v volatile) Unwrap() vfs.FS { return v.FS }

func (v volatile) hold(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &held{File: f, delay: v.delay}, nil
}

// held is a file that is written from its start.
type held struct {
	vfs.File
	delay time.Duration
	mu    sync.Mutex
	kept  []byte
}

func (h *held) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, p...)
	return len(p), nil
}

// put hands over what is kept to the file beneath.
func (h *held) put() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) == 0 {
		return nil
	}
	_, err := h.File.Write(h.kept)
	h.kept = h.kept[:0]
	return err
}

func (h *held) wait() {
	if h.delay > 0 {
		time.Sleep(rand.N(h.delay))
	}
}

// The sync of the file beneath is left out: the machine is not the one to fail
// here, and a busy disk would only make the test slow.

func (h *held) Sync() error {
	h.wait()
	return h.put()
}

func (h *held) SyncData() error { return h.Sync() }

func (h *held) SyncTo(int64) (bool, error) { return false, nil }

func (h *held) Read(p []byte) (int, error) {
	if err := h.put(); err != nil {
		return 0, err
	}
	return h.File.Read(p)
}

func (h *held) ReadAt(p []byte, off int64) (int, error) {
	if err := h.put(); err != nil {
		return 0, err
	}
	return h.File.ReadAt(p, off)
}

func (h *held) WriteAt(p []byte, off int64) (int, error) {
	if err := h.put(); err != nil {
		return 0, err
	}
	return h.File.WriteAt(p, off)
}

func (h *held) Stat() (vfs.FileInfo, error) {
	if err := h.put(); err != nil {
		return nil, err
	}
	return h.File.Stat()
}

func (h *held) Close() error {
	if err := h.put(); err != nil {
		return err
	}
	return h.File.Close()
}
