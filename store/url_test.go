package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
)

// TestAURLNeverPrintsItsSecrets: however it is printed, and whatever a driver says
// that could not use it.
func TestAURLNeverPrintsItsSecrets(t *testing.T) {
	for _, text := range []string{
		"postgres://user:hunter2@127.0.0.1:1/ledger?sslmode=disable",
		"postgres://127.0.0.1:1/ledger?user=user&password=hunter2",
		"postgres://user:hunter2@[::1:1/ledger",
		"postgres://user:hunter2@127.0.0.1:1,127.0.0.1:2/ledger?no_such=hunter2",
		"redis://user:hunter2@127.0.0.1:1/0",
		"redis://:hunter2@127.0.0.1:1,127.0.0.1:2/0",
		"redis://user:hunter2@127.0.0.1:1/0?no_such=hunter2",
		"rediss://user:hunter2@%zz/0",
		"mysql://user:hunter2@127.0.0.1:1/x",
		"postgres:user:hunter2@127.0.0.1:1/ledger",
		// Passwords that were not escaped, as base64 has them.
		"redis://:hunter2/x@127.0.0.1:1/0",
		"redis://user:hunter2?x@127.0.0.1:1/0",
		"redis://:hunter2#x@127.0.0.1:1/0",
		"redis://:x/hunter2@127.0.0.1:1/0",
		"redis://:%hunter2@127.0.0.1:1/0",
		"postgres://user:hunter2/x@127.0.0.1:1/ledger",
		"postgres://user:hunter2?x@127.0.0.1:1/ledger",
		"postgres://user:hunter2#x@127.0.0.1:1/ledger",
		"postgres://user:x@127.0.0.1:1/ledger?password=hunter2&host=a@b",
		"postgres://127.0.0.1:1/ledger?sslpassword=hunter2&no_such=1&sslmode=x",
		"postgres://127.0.0.1:1/ledger?password=hunter2+%26&sslmode=x",
	} {
		u := store.URL(text)
		log := new(bytes.Buffer)
		slog.New(slog.NewJSONHandler(log, nil)).Info("x", "store", u)
		slog.New(slog.NewTextHandler(log, nil)).Info("x", "store", u)
		encoded, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		printed := fmt.Sprintf("%v %s %q %#v %+v %s %s", u, u, u, u, struct{ U store.URL }{u}, log, encoded)
		s, err := u.Open(slog.New(slog.NewTextHandler(log, nil)))
		if err == nil {
			t.Fatalf("%s was opened: %v", u, s.Close())
		}
		if !errors.Is(err, rescind.ErrInvalid) && !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("%s: %v", u, err)
		}
		printed += fmt.Sprintf("%v %#v", err, err.Error()) + log.String()
		if strings.Contains(printed, "hunter2") {
			t.Errorf("printed: %s", printed)
		}
	}
}

func TestAFolderIsPrintedAsItIs(t *testing.T) {
	u := store.URL("pebble:" + t.TempDir() + "/led@ger?x")
	if u.String() != string(u) || !u.Embedded() {
		t.Errorf("%s", u)
	}
	s, err := u.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := store.URL("pebble:").Open(nil); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("no folder: %v", err)
	}
}
