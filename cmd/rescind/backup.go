package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Limits on what a backup may hold: far above what a store makes.
const maxBackupFiles = 1_000_000

// copied says what a backup has brought.
type copied struct {
	Folder string `json:"folder"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
}

func (c *cli) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the embedded store of a running server into a new folder",
		Long: `Copy the embedded store of a running server, which goes on serving, into DIR, which must not
exist or be empty. The copy appears there whole or not at all.

To use it, stop the server and start one on the copy: --store pebble:DIR. The first start on a copy
logs everybody out, so that nothing that was revoked since then comes back to life.

The master key is not in the copy. Keep one of it elsewhere: without it the copy is worth nothing,
and together they are as good as the server.`,
		Example: `  rescind backup /backups/rescind-2026-01-31
  rescind serve --store pebble:/backups/rescind-2026-01-31 --master-key-file rescind-data.keys/master.key`,
		Args: exactly("DIR"),
	}
	c.overServer(cmd, unbounded, func(r *remoteCall) error {
		into, err := newUnpacked(r.args[0])
		if err != nil {
			return err
		}
		defer into.discard()
		if !c.out.json && isTerminal(c.stderr) {
			into.progress = c.stderr
		}
		// The archive is read while it arrives, so that it needs no room of its own.
		in, out := io.Pipe()
		unpacked := make(chan error, 1)
		go func() {
			err := into.unpack(in)
			in.CloseWithError(err)
			unpacked <- err
		}()
		err = r.client.Backup(r.ctx, out)
		out.CloseWithError(err)
		// Where the transfer broke, what unpack says is only the result of that.
		if uerr := <-unpacked; uerr != nil && (err == nil || !errors.Is(uerr, err)) {
			err = uerr
		}
		if err != nil {
			return err
		}
		if err := into.commit(); err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(into.copied)
		}
		return c.out.printf(`copied %d files, %s, to %s
Opening this copy logs everybody out: what was revoked since now must not come back to life.
The master key is not in it: keep a copy of that elsewhere.
`, into.Files, size(into.Bytes), clean(into.Folder))
	})
	return cmd
}

// unpacked is a folder that comes into being: under another name until it is
// whole and durable.
type unpacked struct {
	copied
	temp     string
	progress io.Writer // nil: none
	shown    time.Time
}

// newUnpacked makes room for a folder. It must be absent or empty.
func newUnpacked(folder string) (*unpacked, error) {
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, refusedf("backup: %w", err)
	case len(entries) > 0:
		return nil, refusedf("backup: %s is not empty: name a new folder", folder)
	}
	folder, err = filepath.Abs(folder)
	if err != nil {
		return nil, refusedf("backup: %w", err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(folder), filepath.Base(folder)+".unfinished-")
	if err != nil {
		return nil, refusedf("backup: %w", err)
	}
	return &unpacked{copied: copied{Folder: folder}, temp: temp}, nil
}

// discard removes what was not committed.
func (u *unpacked) discard() {
	if u.temp != "" {
		// What cannot be removed stays under a name that says what it is.
		_ = os.RemoveAll(u.temp)
	}
}

// unpack writes the files of a tar archive. It takes regular files and folders
// only, inside the folder only, and refuses an archive that has been cut off.
func (u *unpacked) unpack(r io.Reader) error {
	end := &tail{r: r}
	archive := tar.NewReader(end)
	folders := map[string]bool{u.temp: true}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("backup: the archive is damaged: %w", err)
		}
		name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
		if !filepath.IsLocal(name) || strings.ContainsAny(h.Name, "\\\x00") {
			return refusedf("backup: the archive names a place outside its folder, %q: nothing of it is kept", h.Name)
		}
		path := filepath.Join(u.temp, name)
		switch h.Typeflag {
		case tar.TypeDir:
		case tar.TypeReg:
			path = filepath.Dir(path)
		default:
			return refusedf("backup: the archive holds %q, which is no regular file: nothing of it is kept", h.Name)
		}
		for p := path; !folders[p]; p = filepath.Dir(p) {
			folders[p] = true
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if u.Files++; u.Files > maxBackupFiles {
				return refusedf("backup: the archive holds more than %d files", maxBackupFiles)
			}
			if err := u.write(filepath.Join(u.temp, name), archive); err != nil {
				return err
			}
		}
	}
	// An archive that broke off between two files looks like a short one. Its end
	// mark says that it is whole.
	if _, err := io.Copy(io.Discard, end); err != nil {
		return err
	}
	if !end.marked() {
		return unavailablef("backup: the archive was cut off: try again")
	}
	if u.Files == 0 {
		return unavailablef("backup: the archive is empty")
	}
	for folder := range folders {
		if err := syncFolder(folder); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacked) write(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, &counted{r, u})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("backup: %s after %d bytes: %w", filepath.Base(path), n, err)
	}
	return nil
}

// counted counts what passes and shows it now and then.
type counted struct {
	io.Reader
	u *unpacked
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.u.Bytes += int64(n)
	if c.u.progress != nil && time.Since(c.u.shown) > 200*time.Millisecond {
		c.u.shown = time.Now()
		_, _ = fmt.Fprintf(c.u.progress, "\r%d files, %s ", c.u.Files, size(c.u.Bytes)) // a remark
	}
	return n, err
}

// commit gives the folder its name.
func (u *unpacked) commit() error {
	if u.progress != nil {
		_, _ = fmt.Fprint(u.progress, "\r\x1b[K")
	}
	// A folder can be renamed over an empty one, but not over one that somebody
	// has filled meanwhile; some systems know neither, so it goes first.
	if err := os.Remove(u.Folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return refusedf("backup: %w", err)
	}
	if err := os.Rename(u.temp, u.Folder); err != nil {
		return refusedf("backup: %w", err)
	}
	u.temp = ""
	return syncFolder(filepath.Dir(u.Folder))
}

// tail remembers the end of what was read: a whole tar archive ends with two
// blocks of zeros.
type tail struct {
	r    io.Reader
	last []byte
}

const tarEnd = 1024

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.last = append(t.last, p[:n]...)
	if over := len(t.last) - tarEnd; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return n, err
}

func (t *tail) marked() bool {
	return len(t.last) == tarEnd && len(bytes.Trim(t.last, "\x00")) == 0
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
