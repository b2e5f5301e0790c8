// Package nodes runs several servers on one ledger, and asks them as the backend of
// an application does.
package nodes

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/server"
)

// The clients whose sessions are opened: one of each form of token. Nothing of
// theirs runs out by itself.
const (
	Opaque = "opaque"
	JWT    = "jwt"

	secret = "the-secret-of-the-clients-of-this-test"
	config = `
issuer: https://nodes.example
lifetimes: {access_token: 24h, idle: 480h, session: 720h}
clients:
  - {id: opaque, access_token_format: opaque, grace: 5m, secret_env: RESCIND_NODES_SECRET}
  - {id: jwt, access_token_format: jwt, grace: 5m, secret_env: RESCIND_NODES_SECRET}
`
)

// Node is one of the servers. Its address stays the same when it is started again.
type Node struct {
	*server.Server
	URL     string
	witness string
}

// Start starts one server for each URL of the ledger, one after another. More are
// environment variables of each.
func Start(t testing.TB, p server.Program, ledgers []string, more ...[]string) []*Node {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "rescind.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var master [32]byte
	_, _ = rand.Read(master[:]) // never fails
	env := []string{
		"RESCIND_MASTER_KEY=" + base64.StdEncoding.EncodeToString(master[:]),
		"RESCIND_NODES_SECRET=" + secret,
	}
	all := make([]*Node, len(ledgers))
	for i, ledger := range ledgers {
		witness := filepath.Join(dir, fmt.Sprintf("%d", i), "witness.json")
		o := server.Options{Config: file, Env: env, Args: []string{"--store", ledger, "--witness-file", witness}}
		if i < len(more) {
			o.Env = append(env[:len(env):len(env)], more[i]...)
		}
		s := p.Start(t, o)
		all[i] = &Node{Server: s, URL: s.URL, witness: witness}
	}
	return all
}

// Marks are the endings that the node remembers the ledger has told it of: the
// newest of each shard, and none where it has written down nothing yet.
func (n *Node) Marks(t testing.TB) []rescind.Mark {
	t.Helper()
	text, err := os.ReadFile(n.witness)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var says rescind.Testimony
	if err == nil {
		err = json.Unmarshal(text, &says)
	}
	if err != nil {
		t.Fatal(err)
	}
	return says.Marks
}

// Kill ends the server as a crash would, and waits until it is gone.
func (n *Node) Kill(t testing.TB) {
	t.Helper()
	if err := n.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-n.Over()
}
