package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// tlsEvery is how often the files of a certificate are looked at.
const tlsEvery = 2 * time.Second

// certificate serves a key pair from two files and follows their changes.
type certificate struct {
	files tlsFiles
	log   *slog.Logger
	now   atomic.Pointer[tls.Certificate]
	seen  [sha256.Size]byte // of the files that were last tried, good or not
}

// loadCertificate reads the pair for the first time: now an error ends the start.
func loadCertificate(files tlsFiles, log *slog.Logger) (*certificate, error) {
	c := &certificate{files: files, log: log}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// reload reads both files and, if they have changed, puts them into force
// together. Files that do not fit together change nothing: they may be half-way
// through their replacement, and the next look finds the rest.
func (c *certificate) reload() (changed bool, err error) {
	chain, err := os.ReadFile(c.files.CertFile)
	if err != nil {
		return false, err
	}
	key, err := os.ReadFile(c.files.KeyFile)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(bytes.Join([][]byte{chain, key}, []byte{0}))
	if sum == c.seen {
		return false, nil
	}
	c.seen = sum
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return false, fmt.Errorf("%s and %s: %w", c.files.CertFile, c.files.KeyFile, err)
	}
	c.now.Store(&pair)
	return true, nil
}

// follow looks at the files until the context ends. What is wrong with them is
// logged once for each change.
func (c *certificate) follow(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := c.reload()
		if err == nil {
			last = ""
		} else if err.Error() != last {
			last = err.Error()
			c.log.ErrorContext(ctx, "the new TLS certificate is no good, the old one stays in force", "error", err)
		}
		if changed {
			c.log.InfoContext(ctx, "new TLS certificate in force", "file", c.files.CertFile, "until", c.now.Load().Leaf.NotAfter)
		}
	}
}

// config returns settings for a server: TLS 1.2 and later.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.now.Load(), nil
		},
	}
}
