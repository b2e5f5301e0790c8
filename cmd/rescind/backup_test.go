package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type member struct {
	name string
	kind byte
	text string
	link string
}

func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Size: int64(len(m.text)), Mode: 0o777, Linkname: m.link}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// restore unpacks an archive as backup does and returns what is there afterwards.
func restore(t *testing.T, text []byte) (folder string, err error) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "copy")
	u, err := newUnpacked(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer u.discard()
	if err := u.unpack(bytes.NewReader(text)); err != nil {
		return folder, err
	}
	return folder, u.commit()
}

func TestABackupIsUnpackedForItsOwnerOnly(t *testing.T) {
	folder, err := restore(t, archive(t, member{"a", tar.TypeReg, "one", ""}, member{"sub/", tar.TypeDir, "", ""}, member{"sub/b", tar.TypeReg, "two", ""}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "one", "sub/b": "two"} {
		path := filepath.Join(folder, name)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	left, err := os.ReadDir(filepath.Dir(folder))
	if err != nil || len(left) != 1 {
		t.Errorf("beside it: %v, %v", left, err)
	}
}

func TestAHostileOrBrokenArchiveLeavesNothing(t *testing.T) {
	whole := archive(t, member{"a", tar.TypeReg, strings.Repeat("x", 5000), ""}, member{"b", tar.TypeReg, "two", ""})
	for name, text := range map[string][]byte{
		"parent":              archive(t, member{"../evil", tar.TypeReg, "x", ""}),
		"parent inside":       archive(t, member{"a/../../evil", tar.TypeReg, "x", ""}),
		"absolute":            archive(t, member{"/tmp/rescind-evil", tar.TypeReg, "x", ""}),
		"backslash":           archive(t, member{`..\evil`, tar.TypeReg, "x", ""}),
		"symbolic link":       archive(t, member{"l", tar.TypeSymlink, "", "/etc"}, member{"l/x", tar.TypeReg, "x", ""}),
		"hard link":           archive(t, member{"l", tar.TypeLink, "", "/etc/passwd"}),
		"device":              archive(t, member{"d", tar.TypeChar, "", ""}),
		"twice":               archive(t, member{"a", tar.TypeReg, "x", ""}, member{"a", tar.TypeReg, "y", ""}),
		"empty":               archive(t),
		"nothing":             {},
		"cut in a file":       whole[:3000],
		"cut between files":   whole[:512+5120], // behind a and its padding
		"cut in the end mark": whole[:len(whole)-512],
		"damaged":             append([]byte("nonsense"), whole...),
	} {
		t.Run(name, func(t *testing.T) {
			folder, err := restore(t, text)
			if err == nil {
				t.Fatal("no error")
			}
			left, rerr := os.ReadDir(filepath.Dir(folder))
			if rerr != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v (error was: %v)", left, rerr, err)
			}
			if _, err := os.Lstat("/tmp/rescind-evil"); err == nil {
				t.Error("a file outside was written")
			}
		})
	}
}
