package stores

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	root "github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/tests/server"
)

// residents are the sessions of a ledger that moves: a few hundred, or some
// thousands in the slow suites.
type residents struct {
	t      *testing.T
	folder string
	at     *client.Client
	live   []root.Grant
	dead   []root.Grant
}

func newResidents(t *testing.T, folder string) *residents {
	t.Helper()
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32))
	if err := os.WriteFile(filepath.Join(folder, "master.key"), []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &residents{t: t, folder: folder}
}

// serve starts a server on a ledger, and returns what stops it.
func (r *residents) serve(store string) (stop func()) {
	r.t.Helper()
	s := rescind.Start(r.t, server.Options{Args: []string{
		"--store", store, "--issuer", "https://login.example", "--master-key-file", filepath.Join(r.folder, "master.key"),
		"--witness-file", filepath.Join(r.folder, "witness.json"),
	}})
	c, err := client.New(client.Options{Server: s.URL, ID: "admin", Secret: server.AdminSecret})
	if err != nil {
		r.t.Fatal(err)
	}
	r.at = c
	return func() {
		r.t.Helper()
		s.Stop(r.t)
	}
}

// each does something for every number below n, a few at a time; again where the
// ledger was not there in time, which a busy machine can bring about.
func (r *residents) each(n int, do func(i int) error) {
	r.t.Helper()
	var work sync.WaitGroup
	errs := make([]error, 16)
	for w := range errs {
		work.Go(func() {
			for i := w; i < n && errs[w] == nil; i += len(errs) {
				errs[w] = do(i)
				for until := time.Now().Add(time.Minute); errors.Is(errs[w], root.ErrUnavailable) && time.Now().Before(until); {
					errs[w] = do(i)
				}
			}
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
}

// moveIn makes sessions in every state.
func (r *residents) moveIn() {
	r.t.Helper()
	n := 120
	if os.Getenv("RESCIND_SLOW") != "" {
		n = 2000
	}
	ctx := r.t.Context()
	r.live, r.dead = make([]root.Grant, n), make([]root.Grant, n)
	r.each(n, func(i int) (err error) {
		subject := fmt.Sprint("user", i)
		if r.dead[i], err = r.at.Issue(ctx, root.Login{Subject: subject}); err != nil {
			return err
		}
		switch i % 4 {
		case 0:
			_, err = r.at.Logout(ctx, r.dead[i].AccessToken.Reveal(), false)
		case 1:
			_, err = r.at.Revoke(ctx, root.Revocation{Selector: root.Selector{Subject: subject}})
		case 2: // a stolen refresh token
			used := r.dead[i].RefreshToken.Reveal()
			for range 2 {
				if r.dead[i], err = r.at.Refresh(ctx, root.Refresh{Token: r.dead[i].RefreshToken.Reveal(), Client: "admin"}); err != nil {
					return err
				}
			}
			if _, err = r.at.Refresh(ctx, root.Refresh{Token: used, Client: "admin"}); errors.Is(err, root.ErrInactive) || errors.Is(err, root.ErrReuse) {
				err = nil
			}
		case 3:
			_, err = r.at.Revoke(ctx, root.Revocation{Selector: root.Selector{Session: r.dead[i].Session}})
		}
		if err != nil {
			return err
		}
		r.live[i], err = r.at.Issue(ctx, root.Login{Subject: subject})
		return err
	})
}

// hold asserts that every live session lives, and refreshes it, and that every
// dead one is dead.
func (r *residents) hold() {
	r.t.Helper()
	ctx := r.t.Context()
	r.each(len(r.live), func(i int) (err error) {
		if _, err = r.at.Check(ctx, r.live[i].AccessToken.Reveal(), root.Want{AnyAudience: true}); err != nil {
			return fmt.Errorf("live session %d: %w", i, err)
		}
		if r.live[i], err = r.at.Refresh(ctx, root.Refresh{Token: r.live[i].RefreshToken.Reveal(), Client: "admin"}); err != nil {
			return fmt.Errorf("refresh of live session %d: %w", i, err)
		}
		if _, err := r.at.Check(ctx, r.dead[i].AccessToken.Reveal(), root.Want{AnyAudience: true}); !errors.Is(err, root.ErrInactive) {
			return fmt.Errorf("dead session %d: %w", i, err)
		}
		if g, err := r.at.Refresh(ctx, root.Refresh{Token: r.dead[i].RefreshToken.Reveal(), Client: "admin"}); !errors.Is(err, root.ErrInactive) {
			return fmt.Errorf("refresh of dead session %d: %v, %w", i, g, err)
		}
		return nil
	})
}
