package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	markerFile = "RESCIND" // says that the folder is a store's, and of which format
	backupFile = "BACKUP"  // says that the folder is a copy that was not opened yet
	lockFile   = "LOCK"    // Pebble's
	markerText = "rescind store, pebble, format "
)

func marker() []byte { return fmt.Appendf(nil, "%s%d\n", markerText, formatVersion) }

func newer(format int) error {
	return fmt.Errorf("written by a newer version of Rescind (format %d, this one knows %d)", format, formatVersion)
}

// folder is where a store lives, before it is open.
type folder struct {
	fs     vfs.FS
	dir    string
	fresh  bool // nothing of a store is in it yet
	backup bool // it is a copy
	locked bool // a lock file was there before
}

// claim looks at the folder and locks it. What it refuses it leaves as it was.
func (f *folder) claim() (*pebble.Lock, error) {
	names, err := f.fs.List(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.create(); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if err := f.look(names); err != nil {
		return nil, err
	}
	f.locked = slices.Contains(names, lockFile)
	lock, err := pebble.LockDirectory(f.dir, f.fs)
	if err != nil {
		if (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) && !errors.Is(err, syscall.EAGAIN) {
			return nil, fmt.Errorf("cannot be locked: %w", err)
		}
		return nil, fmt.Errorf("already open in another process, or twice in this one: %w", err)
	}
	// Somebody else may have been at it until now.
	if names, err = f.fs.List(f.dir); err == nil {
		err = f.look(names)
	}
	if err != nil {
		return nil, firstOf(err, f.release(lock))
	}
	return lock, nil
}

// release gives up a folder that could not be opened.
func (f *folder) release(lock *pebble.Lock) error {
	err := lock.Close()
	if !f.locked {
		err = firstOf(err, f.fs.Remove(f.fs.PathJoin(f.dir, lockFile)))
	}
	return err
}

func (f *folder) create() error {
	if err := f.fs.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	return f.sync(f.fs.PathDir(f.dir))
}

func (f *folder) sync(dir string) error {
	d, err := f.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return firstOf(d.Sync(), d.Close())
}

// look decides whose folder it is.
func (f *folder) look(names []string) error {
	rest := 0
	for _, name := range names {
		switch name {
		case lockFile, markerFile, markerFile + ".tmp", "lost+found":
		default:
			rest++
		}
	}
	f.fresh = rest == 0
	f.backup = slices.Contains(names, backupFile)
	if !slices.Contains(names, markerFile) {
		if !f.fresh {
			return fmt.Errorf("not empty and not a store of Rescind (it holds no file %s); nothing was changed", markerFile)
		}
		return nil
	}
	text, err := f.read(markerFile)
	if err != nil {
		return err
	}
	number, ok := strings.CutPrefix(text, markerText)
	var format int
	if _, err := fmt.Sscanf(number, "%d\n", &format); !ok || err != nil {
		return damaged("the file " + markerFile)
	}
	if format > formatVersion {
		return newer(format)
	}
	return nil
}

// mustHoldNoData tells a store whose making was cut short from one that lost its
// database.
func (f *folder) mustHoldNoData() error {
	names, err := f.fs.List(f.dir)
	for _, name := range names {
		if name == backupFile || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log") {
			return damaged("the database is gone")
		}
	}
	return err
}

func (f *folder) read(name string) (text string, err error) {
	file, err := f.fs.Open(f.fs.PathJoin(f.dir, name))
	if err != nil {
		return "", err
	}
	defer func() { err = firstOf(err, file.Close()) }()
	b, err := io.ReadAll(io.LimitReader(file, 1<<10))
	return string(b), err
}

// mark writes the marker, whole or not at all, before anything else is in the
// folder.
func (f *folder) mark() (err error) {
	path := f.fs.PathJoin(f.dir, markerFile)
	file, err := f.fs.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(marker())
	err = firstOf(err, file.Sync())
	if err = firstOf(err, file.Close()); err != nil {
		return err
	}
	if err := f.fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	return f.sync(f.dir)
}

// unmarkBackup makes a copy an ordinary store.
func (f *folder) unmarkBackup() error {
	if err := f.fs.Remove(f.fs.PathJoin(f.dir, backupFile)); err != nil {
		return err
	}
	return f.sync(f.dir)
}
