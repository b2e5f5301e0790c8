package pebblestore

import (
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system that Pebble works on. Pebble panics, with its locks in
// a state that ends the process, when it cannot write, close or begin a log. So a
// failure there never comes back to it: the store fails, and the goroutine stays
// where it is. While the database is being opened errors are returned as usual,
// and so are those of all other files.
type guard struct {
	vfs.FS
	l *logger
}

func (g guard) Unwrap() vfs.FS { return g.FS }

// check returns err where that is safe.
func (g guard) check(op, name string, err error) error {
	if err != nil && g.l.failed.Load() != nil {
		g.l.Fatalf("%s %s: %v", op, name, err)
	}
	return err
}

func isLog(name string) bool { return filepath.Ext(name) == ".log" }

func (g guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, c)
	if isLog(name) {
		return g.file(name, f, g.check("creating", name, err))
	}
	return f, err
}

func (g guard) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(old, name, c)
	if isLog(name) {
		return g.file(name, f, g.check("reusing", name, err))
	}
	return f, err
}

// OpenDir: a new log counts once its folder is synced.
func (g guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return g.file(name, f, err)
}

func (g guard) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &guardFile{f, g, name}, nil
}

type guardFile struct {
	vfs.File
	g    guard
	name string
}

func (f *guardFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.g.check("writing", f.name, err)
}

func (f *guardFile) Sync() error { return f.g.check("syncing", f.name, f.File.Sync()) }

func (f *guardFile) SyncData() error { return f.g.check("syncing", f.name, f.File.SyncData()) }

func (f *guardFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.g.check("syncing", f.name, err)
}

func (f *guardFile) Stat() (vfs.FileInfo, error) {
	i, err := f.File.Stat()
	return i, f.g.check("reading", f.name, err)
}

func (f *guardFile) Close() error { return f.g.check("closing", f.name, f.File.Close()) }
