package keys

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rescind/rescind"
)

// Master is the key under which all others are sealed: 32 random bytes. Whoever
// has it and a copy of the store can make tokens; without it the store's keys
// are lost, and with them every token. Every printed form is redacted.
type Master struct {
	// A function, because fmt prints an unexported field of another type without
	// asking its Format method, and with some verbs even what a pointer points to.
	// Of a function it finds an address.
	bytes func() *[masterSize]byte
}

func newMaster(b [masterSize]byte) Master {
	return Master{bytes: func() *[masterSize]byte { return &b }}
}

const masterSize = 32

// ParseMaster reads standard base64 of 32 bytes, padded or not; white space
// around it is ignored. No error holds any of it.
func ParseMaster(text string) (Master, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	if len(text) != base64.RawStdEncoding.EncodedLen(masterSize) {
		return Master{}, fmt.Errorf("%w: a master key is base64 of %d bytes", rescind.ErrInvalid, masterSize)
	}
	var b [masterSize]byte
	// The decoder skips line breaks and tells by its count how many bytes are left.
	if n, err := base64.RawStdEncoding.Strict().Decode(b[:], []byte(text)); err != nil || n != masterSize {
		return Master{}, fmt.Errorf("%w: a master key is base64 of %d bytes", rescind.ErrInvalid, masterSize)
	}
	if b == [masterSize]byte{} {
		return Master{}, fmt.Errorf("%w: a master key of zeros is none", rescind.ErrInvalid)
	}
	return newMaster(b), nil
}

// LoadMaster reads a master key from a file, as CreateMaster writes it. It
// refuses a file that anybody but its owner may read or write (where the system
// has such modes). The error wraps fs.ErrNotExist if there is no file.
func LoadMaster(path string) (Master, error) {
	f, err := os.Open(path)
	if err != nil {
		return Master{}, fmt.Errorf("master key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Master{}, fmt.Errorf("master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Master{}, fmt.Errorf("master key %s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && hasModes {
		return Master{}, fmt.Errorf("master key %s: others may use this file (mode %04o): chmod 600 it, and if they are not trusted, replace the key", path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return Master{}, fmt.Errorf("master key %s: %w", path, err)
	}
	if len(b) == 0 {
		return Master{}, fmt.Errorf("master key %s: the file is empty: its making was cut short; remove it if the store is new, else bring back the copy you kept", path)
	}
	m, err := ParseMaster(string(b))
	if err != nil {
		return Master{}, fmt.Errorf("master key %s: %w", path, err)
	}
	return m, nil
}

// CreateMaster makes a master key and writes it to a new file (mode 0600), which
// is durable when it returns nil. It never overwrites: the error wraps
// fs.ErrExist if the file is there.
func CreateMaster(path string) (Master, error) {
	var b [masterSize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Master{}, fmt.Errorf("master key: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(b[:]) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		// Nothing has been sealed under it yet, and half a key helps nobody.
		return Master{}, fmt.Errorf("master key: %w", errors.Join(err, os.Remove(path)))
	}
	return newMaster(b), nil
}

// LoadOrCreateMaster reads the file, or makes it if there is none. Created says
// which: a store that has keys already cannot be opened under a created one.
func LoadOrCreateMaster(path string) (m Master, created bool, err error) {
	m, err = LoadMaster(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, false, err
	}
	m, err = CreateMaster(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		m, err = LoadMaster(path)
		return m, false, err
	}
	return m, err == nil, err
}

// hasModes is false where permission bits say nothing.
const hasModes = runtime.GOOS != "windows"

// syncDir makes a new name in a folder durable.
func syncDir(dir string) error {
	if !hasModes { // nor can a folder be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// derive returns a key of its own for each purpose (HKDF, RFC 5869).
func (m Master) derive(purpose string, size int) ([]byte, error) {
	k, err := hkdf.Key(sha256.New, m.bytes()[:], nil, "rescind v1 "+purpose, size)
	if err != nil {
		return nil, fmt.Errorf("derive %s key: %w", purpose, err)
	}
	return k, nil
}

// Format redacts every verb.
func (m Master) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue redacts the log.
func (m Master) LogValue() slog.Value { return slog.StringValue("[redacted]") }
