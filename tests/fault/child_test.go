package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
)

const (
	issuer = "https://fault.example"
	// window is the grace window of the clients here: longer than a restart takes
	// on the slowest machine.
	window = rescind.MaxGrace
	// patience is how long a call may take before the test calls it hung.
	patience = time.Minute
)

// clientsHere are those whose sessions are stormed: one of each form of token.
var clientsHere = []rescind.Client{
	{ID: "jwt", Format: rescind.FormatJWT, Grace: rescind.Duration(window)},
	{ID: "opaque", Format: rescind.FormatOpaque, Grace: rescind.Duration(window)},
}

// order is what the parent asks of the child: one of the methods, one line of JSON.
type order struct {
	N       uint64
	Issue   *rescind.Login      `json:",omitempty"`
	Check   *check              `json:",omitempty"`
	Refresh *rescind.Refresh    `json:",omitempty"`
	Revoke  *rescind.Revocation `json:",omitempty"`
	Logout  *logout             `json:",omitempty"`
	Rotate  rescind.KeyUse      `json:",omitempty"`
	Upkeep  bool                `json:",omitempty"`
}

type check struct {
	Token string
	Want  rescind.Want
}

type logout struct {
	Token string
	All   bool
}

// reply is the child's answer. The first one, with N zero, says that it is ready.
type reply struct {
	N       uint64
	Grant   rescind.Grant
	Access  rescind.Access
	Receipt rescind.Receipt
	Kind    int    // of the error: its place in sentinels and one more; 0 for none
	Error   string `json:",omitempty"`
}

// sentinels are the errors that keep their identity on the way to the parent.
var sentinels = []error{
	errors.New("unexpected error"), rescind.ErrReuse, rescind.ErrInactive, rescind.ErrUnavailable, rescind.ErrNotFound,
	rescind.ErrForeign, rescind.ErrConflict, rescind.ErrForbidden, rescind.ErrInvalid,
}

func (r *reply) fail(err error) {
	if err == nil {
		return
	}
	r.Kind, r.Error = 1, err.Error()
	for i, s := range sentinels {
		if errors.Is(err, s) {
			r.Kind = i + 1
			break
		}
	}
}

func (r *reply) err() error {
	if r.Kind == 0 {
		return nil
	}
	return fmt.Errorf("%w (%s)", sentinels[r.Kind-1], r.Error)
}

// child serves an Authority on a folder over two pipes until it is killed, or
// until the parent is gone.
func child(dir string, lossy bool) int {
	if err := serveChild(dir, lossy, os.Stdin, os.NewFile(3, "replies")); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

func serveChild(dir string, lossy bool, in io.Reader, out io.Writer) error {
	ctx := context.Background()
	o := pebblestore.Options{Timeout: patience / 2}
	if lossy {
		o.FS = volatile{FS: vfs.Default, delay: 2 * time.Millisecond}
	}
	master, err := keys.LoadMaster(filepath.Join(dir, "master.key"))
	if err != nil {
		return err
	}
	keeper, err := keys.New(master, keys.Options{})
	if err != nil {
		return err
	}
	store, err := pebblestore.Open(filepath.Join(dir, "data"), o)
	if err != nil {
		return err
	}
	a, err := rescind.New(ctx, rescind.Config{
		Store: store, Keys: keeper, Issuer: issuer, AccessLifetime: rescind.MaxAccessLifetime, IdleTimeout: 20 * 24 * time.Hour,
		Retention: time.Second, WithoutUpkeep: true,
	})
	if err != nil {
		return err
	}
	for _, c := range clientsHere {
		if _, err := a.Client(ctx, c.ID); err == nil {
			continue
		}
		if err := c.SetSecret(rescind.NewSecret().Reveal()); err != nil {
			return err
		}
		if _, err := a.AddClient(ctx, c, false, ""); err != nil {
			return err
		}
	}

	var mu sync.Mutex
	answer := func(r *reply) {
		line, err := json.Marshal(r)
		if err == nil {
			mu.Lock()
			_, err = out.Write(append(line, '\n'))
			mu.Unlock()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "child: answer:", err)
			os.Exit(1)
		}
	}
	answer(&reply{})
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var do order
		if err := json.Unmarshal(lines.Bytes(), &do); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		go func() { answer(obey(ctx, a, &do)) }()
	}
	return lines.Err()
}

func obey(ctx context.Context, a *rescind.Authority, do *order) *reply {
	r := &reply{N: do.N}
	var err error
	switch {
	case do.Issue != nil:
		r.Grant, err = a.Issue(ctx, *do.Issue)
	case do.Check != nil:
		r.Access, err = a.Check(ctx, do.Check.Token, do.Check.Want)
	case do.Refresh != nil:
		r.Grant, err = a.Refresh(ctx, *do.Refresh)
	case do.Revoke != nil:
		r.Receipt, err = a.Revoke(ctx, *do.Revoke)
	case do.Logout != nil:
		r.Receipt, err = a.Logout(ctx, do.Logout.Token, do.Logout.All)
	case do.Rotate != "":
		err = a.RotateKey(ctx, do.Rotate, "")
	case do.Upkeep:
		_, err = a.Upkeep(ctx)
	}
	r.fail(err)
	return r
}
