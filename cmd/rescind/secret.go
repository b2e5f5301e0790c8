package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rescind/rescind"
)

// hasModes is false where permission bits say nothing.
const hasModes = runtime.GOOS != "windows"

// readSecret reads a secret from a file: its first line, without the line break.
// It refuses a file that others may read. The error wraps fs.ErrNotExist if there
// is no file, and never holds any of what is in it.
func readSecret(path string) (rescind.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); hasModes && info.Mode().IsRegular() && mode&0o077 != 0 {
		return "", fmt.Errorf("%s: others may read this secret (mode %04o): chmod 600 it, and if they are not trusted, change it", path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	switch {
	case secret == "":
		return "", fmt.Errorf("%s: the file is empty, a secret is expected", path)
	case strings.ContainsAny(secret, "\r\n"):
		return "", fmt.Errorf("%s: the file has more than one line, one secret is expected", path)
	}
	return rescind.Secret(secret), nil
}

// writeSecret writes a secret to a new file, as writePrivate does.
func writeSecret(path string, secret rescind.Secret) error {
	return writePrivate(path, secret.Reveal()+"\n")
}

// writePrivate writes a new file that only its owner may read, and makes it
// durable. It never overwrites: the error wraps fs.ErrExist if there is such a
// file.
func writePrivate(path, text string) error {
	if err := privateFolder(filepath.Dir(path)); err != nil {
		return err
	}
	// Under its own name only when it is whole: a cut-off secret would be taken
	// for one that somebody chose.
	f, err := os.CreateTemp(filepath.Dir(path), ".new-secret-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // unlike a rename it fails where there is one already
	}
	err = errors.Join(err, os.Remove(f.Name()))
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// privateFolder makes a folder, and those above it, where it is missing: for its
// owner only, and durable before anything is kept in it.
func privateFolder(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := privateFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	if !hasModes { // nor can a folder be synced there
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// obtainSecret reads a secret from its file, or makes both if there is no file.
func obtainSecret(path string) (rescind.Secret, error) {
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	secret = rescind.NewSecret()
	if err := writeSecret(path, secret); err != nil {
		if errors.Is(err, fs.ErrExist) { // somebody was faster
			return readSecret(path)
		}
		return "", err
	}
	return secret, nil
}
