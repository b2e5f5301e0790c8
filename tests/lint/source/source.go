// Package source brings the source of public packages onto this machine, at pinned
// versions, for tests. What it brings is checked against the digest that the pin
// has, kept in a folder of the user's cache, and only read.
package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
)

// A Package is pinned: version and digest.
type Package struct {
	Name      string `yaml:"package"`
	From      From   `yaml:"from"`
	Version   string `yaml:"version"`
	Integrity string `yaml:"integrity"` // sha512-BASE64 of npm's archive, h1:… as in go.sum, sha256-HEX of Debian's
}

// From says where a package comes from.
type From string

// The places.
const (
	NPM        From = "npm"
	Go         From = "go"
	Debian     From = "debian"
	Repository From = "repository" // this one; there is nothing to bring
)

// limits of what an archive may hold.
const (
	maxFile = 64 << 20
	maxAll  = 512 << 20
)

// Fetch returns a folder with the source of a package, which nobody may change.
func Fetch(t testing.TB, p Package) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir, err := "", error(nil)
	switch p.From {
	case NPM:
		need.Commands(t, "NODE", p.Name+" from npm", "npm")
		dir, err = npm(ctx, t, p)
	case Go:
		dir, err = module(ctx, t, p)
	case Debian:
		need.Commands(t, "APT", p.Name+" from Debian", "apt-get", "dpkg-deb")
		dir, err = debian(ctx, t, p)
	default:
		err = fmt.Errorf("nothing is known of %q", p.From)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", p.Name, p.Version, err)
	}
	return dir
}

// module is what the go command keeps. It checks the archive against go.sum's
// digest whenever it unpacks; ours says which that must be.
func module(ctx context.Context, t testing.TB, p Package) (string, error) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module corpus\n"), 0o600); err != nil {
		return "", err
	}
	out, err := run(ctx, dir, []string{"GOFLAGS=-mod=mod", "GOWORK=off", "GOSUMDB=off"}, "go", "mod", "download", "-json", p.Name+"@"+p.Version)
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr == nil && got.Dir != "" && got.Error == "" {
		if got.Sum != p.Integrity {
			return "", fmt.Errorf("the digest is %s, pinned is %s", got.Sum, p.Integrity)
		}
		return got.Dir, nil // an error may only say that a newer Go would be wanted to build it
	}
	return "", errors.Join(err, errors.New(got.Error))
}

func npm(ctx context.Context, t testing.TB, p Package) (string, error) {
	archive, err := cached(p, func(dir string) error {
		_, err := run(ctx, dir, nil, "npm", "pack", p.Name+"@"+p.Version, "--ignore-scripts", "--silent")
		return err
	})
	if err != nil {
		return "", err
	}
	dir := t.TempDir()
	return dir, unpack(archive, dir)
}

// debian downloads with lists of its own, so that it needs no rights and no lists
// that somebody has brought up to date.
func debian(ctx context.Context, t testing.TB, p Package) (string, error) {
	archive, err := cached(p, func(dir string) error {
		for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return err
			}
		}
		options := []string{"-qq", "-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "APT::Sandbox::User="}
		download := append(options, "download", p.Name+"="+p.Version)
		if _, err := run(ctx, dir, nil, "apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", p.Name+"="+p.Version); err == nil {
			return nil
		}
		if _, err := run(ctx, dir, nil, "apt-get", append(options, "update")...); err != nil {
			return err
		}
		if _, err := run(ctx, dir, nil, "apt-get", download...); err != nil {
			return fmt.Errorf("%w\nif Debian has moved on to another version, its labels must be read again", err)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	dir := t.TempDir()
	_, err = run(ctx, dir, nil, "dpkg-deb", "-x", archive, dir)
	return dir, err
}

// cached returns the path of a package's archive. What is not there yet, download
// puts into the folder that it is given.
func cached(p Package, download func(dir string) error) (string, error) {
	want, err := digest(p.Integrity)
	if err != nil {
		return "", err
	}
	home, err := os.UserCacheDir()
	if err != nil {
		home = os.TempDir()
	}
	home = filepath.Join(home, "rescind-tests")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	kept := filepath.Join(home, hex.EncodeToString(want.sum[:min(20, len(want.sum))]))
	if want.matches(kept) == nil {
		return kept, nil
	}
	dir, err := os.MkdirTemp(home, "download")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays is rubbish in a cache
	if err := download(dir); err != nil {
		return "", err
	}
	for _, pattern := range []string{"*.tgz", "*.deb"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		for _, archive := range found {
			if err := want.matches(archive); err != nil {
				return "", err
			}
			return kept, os.Rename(archive, kept)
		}
	}
	return "", errors.New("nothing was downloaded")
}

// A sum is what an archive must add up to.
type sum struct {
	make func() hash.Hash
	sum  []byte
}

func digest(integrity string) (sum, error) {
	kind, text, _ := strings.Cut(integrity, "-")
	s, err := sum{}, error(nil)
	switch kind {
	case "sha512":
		s.make = sha512.New
		s.sum, err = base64.StdEncoding.DecodeString(text)
	case "sha256":
		s.make = sha256.New
		s.sum, err = hex.DecodeString(text)
	default:
		return s, fmt.Errorf("%q is no digest", integrity)
	}
	if err == nil && len(s.sum) != s.make().Size() {
		err = fmt.Errorf("%q has the wrong length", integrity)
	}
	return s, err
}

func (s sum) matches(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := s.make()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := h.Sum(nil); !bytes.Equal(got, s.sum) {
		return fmt.Errorf("the digest of %s is %x, pinned is %x", filepath.Base(path), got, s.sum)
	}
	return nil
}

// unpack writes the plain files of npm's archive, without its outermost folder.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	all := int64(0)
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, ok := strings.Cut(h.Name, "/")
		if h.Typeflag != tar.TypeReg || !ok || name == "" {
			continue
		}
		if all += h.Size; !filepath.IsLocal(name) || h.Size > maxFile || all > maxAll {
			return fmt.Errorf("%s does not belong into an archive", h.Name)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		text, err := io.ReadAll(files)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			return err
		}
	}
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.WaitDelay = 10 * time.Second
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out, err
}
