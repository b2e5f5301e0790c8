package source

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func pin(text string) string {
	sum := sha512.Sum512([]byte(text))
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Whoever answers for a package, or writes into the cache, can only send what is
// pinned.
func TestOnlyWhatIsPinnedIsTaken(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	sends := func(text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, "a-1.0.0.tgz"), []byte(text), 0o600) }
	}
	p := Package{Name: "a", Integrity: pin("right")}
	if _, err := cached(p, sends("wrong")); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("another archive was taken: %v", err)
	}
	path, err := cached(p, sends("right"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cached(p, func(string) error { t.Error("downloaded again"); return nil }); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("changed in the cache"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cached(p, sends("wrong")); err == nil {
		t.Error("the changed archive was taken out of the cache")
	}
	for _, bad := range []string{"", "sha512-", "sha512-AAAA", "md5-00", "sha256-zz"} {
		if _, err := cached(Package{Integrity: bad}, sends("right")); err == nil {
			t.Errorf("%q is a digest", bad)
		}
	}
}

func TestAnArchiveStaysInItsFolder(t *testing.T) {
	for name, right := range map[string]bool{"package/src/a.js": true, "package/../../a.js": false, "package//etc/a": false} {
		archive := filepath.Join(t.TempDir(), "a.tgz")
		f, err := os.Create(archive)
		if err != nil {
			t.Fatal(err)
		}
		z := gzip.NewWriter(f)
		files := tar.NewWriter(z)
		if err := files.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []interface{ Close() error }{files, z, f} {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := unpack(archive, t.TempDir()); (err == nil) != right {
			t.Errorf("%s: %v", name, err)
		}
	}
}
