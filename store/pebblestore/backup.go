package pebblestore

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
)

// backupDir is the prefix of the folders that hold a copy on its way out. They
// lie in the store's own folder, because files are linked into them.
const backupDir = "backup-tmp-"

// Backup implements [rescind.Backuper]. The archive holds the files of a folder
// that Open opens, the mark first, so that a copy that was cut short is marked
// too. The time-out does not bound it; ctx and Close do.
func (s *Store) Backup(ctx context.Context, w io.Writer) (err error) {
	if err := s.enter(ctx); err != nil {
		return err
	}
	select {
	case <-s.stop:
		s.leave()
		return errClosed
	default:
		s.copies.Add(1)
	}
	defer s.copies.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()

	dir := s.fs.PathJoin(s.dir, fmt.Sprintf("%s%d", backupDir, s.copyNumber.Add(1)))
	defer func() {
		if rerr := s.fs.RemoveAll(dir); rerr != nil {
			err = firstOf(err, unavailable("backup", rerr))
		}
	}()
	err = s.checkpoint(dir)
	s.leave()
	if err != nil {
		return unavailable("backup", err)
	}
	return unavailable("backup", s.archive(ctx, dir, w))
}

// checkpoint makes a copy of everything that was acknowledged before it.
func (s *Store) checkpoint(dir string) (err error) {
	defer func() {
		if r := recover(); r != nil { // Pebble panics when its log fails
			err = fmt.Errorf("%v", r)
		}
	}()
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	return s.failure()
}

func (s *Store) archive(ctx context.Context, dir string, w io.Writer) error {
	out := tar.NewWriter(w)
	mark := []byte("A copy of a store. Opening it ends every session in it first.\n")
	for _, f := range []struct {
		name string
		text []byte
	}{{backupFile, mark}, {markerFile, marker()}} {
		h := tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.text)), ModTime: s.Now()}
		if err := out.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := out.Write(f.text); err != nil {
			return err
		}
	}
	names, err := s.fs.List(dir)
	if err != nil {
		return err
	}
	sort.Strings(names)
	for _, name := range names {
		if err := s.archiveFile(ctx, dir, name, out); err != nil {
			return err
		}
	}
	return out.Close()
}

func (s *Store) archiveFile(ctx context.Context, dir, name string, out *tar.Writer) (err error) {
	f, err := s.fs.Open(s.fs.PathJoin(dir, name))
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}
	if err := out.WriteHeader(&h); err != nil {
		return err
	}
	_, err = io.Copy(out, &contextReader{ctx, f})
	return err
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// removeCopies removes what a backup left that was cut short by the end of its
// process.
func (s *Store) removeCopies() error {
	names, err := s.fs.List(s.dir)
	for _, name := range names {
		if strings.HasPrefix(name, backupDir) {
			err = errors.Join(err, s.fs.RemoveAll(s.fs.PathJoin(s.dir, name)))
		}
	}
	return err
}

// restoreStep ends everything in a store that was opened from a copy: what was
// revoked after the copy must not come back to life.
type restoreStep struct {
	outcome
	epoch [16]byte
}

func (st *restoreStep) apply(c *committer) error {
	now := c.s.Now()
	v := c.change()
	v.epoch = st.epoch
	v.config++ // so that nobody takes the configuration for the one it had seen
	c.moveCutoff(&rescind.Ending{Kind: rescind.EndAll, At: now})
	c.event(rescind.AppendEvent(nil, &rescind.Event{At: now, Kind: rescind.EventBackupOpened, Actor: rescind.ActorSelf, Reason: string(rescind.ReasonAll)}))
	return nil
}
