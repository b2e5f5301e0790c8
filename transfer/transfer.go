// Package transfer copies a ledger from one store to another.
//
// First the source is fenced: a document says that it has been moved, and from
// then on no Authority answers from it, nor ends anything in it. Then documents,
// sessions and the audit log are copied. What has ended in the source, by its
// record or by a cutoff, is created as ended. Then everything is read again on
// both sides and compared. Only then is the copy in force; the fence stays. So at
// no moment do both answer, and nothing that was revoked comes back.
//
// A copy that was cut short goes on where it was when it is run again.
package transfer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rescind/rescind"
)

// DefaultSettle is more than any call that was in flight when the source was
// fenced can take.
const DefaultSettle = 7 * time.Second

// Options say how to copy.
type Options struct {
	To       string         // what the fence names as the new place; without secrets
	Settle   time.Duration  // how long calls in flight at the source may take; 0: nobody else has it
	Progress func(Progress) // called now and then, by one goroutine at a time; nil: by nobody
}

// Progress is how far a copy is.
type Progress struct {
	Phase string  // what is being done: settle, sessions, events or verify
	Done  int     // sessions or events so far, this time
	Part  float64 // of this phase, 0 to 1
}

// Result counts what a finished copy holds.
type Result struct {
	Documents int `json:"documents"`
	Sessions  int `json:"sessions"`
	Ended     int `json:"ended"` // of the sessions
	Events    int `json:"events"`
}

// fence is the document that puts the source out of force.
type fence struct {
	ID       string    `json:"id"` // random: one attempt to move
	To       string    `json:"to"`
	At       time.Time `json:"at"`
	Finished bool      `json:"finished,omitempty"`
}

// marker is the document that keeps an unfinished copy out of force.
type marker struct {
	Fence  string            `json:"fence"`
	Cursor rescind.SessionID `json:"cursor,omitzero"` // sessions up to this one are there
	Whole  bool              `json:"whole,omitempty"` // all sessions are there
	Events int               `json:"events"`          // oldest ones that are there
}

// run is one run of a copy.
type run struct {
	from, to rescind.Store
	o        Options
	fence    fence
	fenced   time.Time // when this run has put it; zero if an earlier one had
	marker   marker
	marked   []byte // the marker as the target has it; nil before there is one
}

// Run copies the ledger in from into to, which is empty or holds what an earlier
// run has left. ErrInvalid if they do not fit each other, [Difference] if the two
// differ in the end, ErrUnavailable if a store fails: then run it again.
func Run(ctx context.Context, from, to rescind.Store, o Options) (Result, error) {
	r := &run{from: from, to: to, o: o}
	if r.o.Progress == nil {
		r.o.Progress = func(Progress) {}
	}
	for _, step := range []func(context.Context) error{r.begin, r.settle, r.documents, r.sessions, r.events} {
		if err := step(ctx); err != nil {
			return Result{}, err
		}
	}
	result, err := r.verify(ctx)
	if err != nil {
		return result, err
	}
	return result, r.finish(ctx)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", rescind.ErrInvalid, fmt.Errorf(format, args...))
}

func find(cfg *rescind.StoreConfig, id string) []byte {
	for _, d := range cfg.Documents {
		if d.Kind == rescind.ServerDocument && d.ID == id {
			return d.Value
		}
	}
	return nil
}

func document(id string, v any) (rescind.Document, error) {
	value, err := json.Marshal(v)
	return rescind.Document{Kind: rescind.ServerDocument, ID: id, Value: value}, err
}

// begin fences the source and marks the target.
func (r *run) begin(ctx context.Context) error {
	source, err := r.from.Config(ctx)
	if err != nil {
		return err
	}
	target, err := r.to.Config(ctx)
	if err != nil {
		return err
	}
	fenced, marked := find(&source, rescind.MovedDocument), find(&target, rescind.CopyingDocument)
	if fenced != nil {
		if err := json.Unmarshal(fenced, &r.fence); err != nil {
			return err
		}
	}
	switch {
	case len(source.Documents) == 0:
		return invalid("there is no ledger in the source")
	case source.Epoch == target.Epoch:
		return invalid("source and target are one ledger")
	case find(&source, rescind.CopyingDocument) != nil:
		return invalid("the source is itself an unfinished copy")
	case fenced == nil && marked != nil:
		return invalid("the target holds an unfinished copy, and the source is in force: what was copied may be out of date. Empty the target first")
	case r.fence.Finished && marked == nil:
		return invalid("this ledger was moved to %s already", r.fence.To)
	case fenced != nil && r.fence.To != r.o.To:
		return invalid("the source is being moved to %s already: go on with that, or take it back by --abandon", r.fence.To)
	case marked == nil:
		if err := r.mustBeEmpty(ctx, &target); err != nil {
			return err
		}
	}
	if fenced == nil {
		if err := r.putFence(ctx, source.Version); err != nil {
			return err
		}
	}
	if marked == nil {
		r.marker = marker{Fence: r.fence.ID}
		return r.mark(ctx, r.marker, nil)
	}
	r.marked = marked
	if err := json.Unmarshal(marked, &r.marker); err != nil {
		return err
	}
	if r.marker.Fence != r.fence.ID {
		return invalid("the target holds an unfinished copy of an earlier time, or of another ledger. Empty it first")
	}
	return nil
}

func (r *run) mustBeEmpty(ctx context.Context, cfg *rescind.StoreConfig) error {
	page, err := r.to.List(ctx, rescind.ListQuery{Limit: 1})
	if err != nil {
		return err
	}
	if len(cfg.Documents)+len(page.Sessions) > 0 {
		return invalid("the target is not empty")
	}
	return nil
}

func (r *run) putFence(ctx context.Context, version uint64) error {
	id := rescind.NewSecret().Reveal() // merely random
	r.fence = fence{ID: id[:16], To: r.o.To, At: r.from.Now().UTC()}
	d, err := document(rescind.MovedDocument, r.fence)
	if err != nil {
		return err
	}
	_, err = r.from.Configure(ctx, rescind.Change{Expect: version, Documents: []rescind.Document{d}, Events: []rescind.Event{{
		At: r.from.Now(), Kind: rescind.EventLedgerMoved, Actor: rescind.ActorSelf, Detail: "to " + r.o.To,
	}}})
	r.fenced = time.Now()
	if errors.Is(err, rescind.ErrConflict) {
		return fmt.Errorf("%w: the source has changed in this moment; try again", rescind.ErrUnavailable)
	}
	return err
}

// mark writes the marker, and events in the same step.
func (r *run) mark(ctx context.Context, m marker, events []rescind.Event) error {
	cfg, err := r.target(ctx)
	if err != nil {
		return err
	}
	d, err := document(rescind.CopyingDocument, m)
	if err != nil {
		return err
	}
	if _, err := r.to.Configure(ctx, rescind.Change{Expect: cfg.Version, Documents: []rescind.Document{d}, Events: events}); err != nil {
		return err
	}
	r.marker, r.marked = m, d.Value
	return nil
}

// target reads the target's configuration, and makes sure that it is still this
// run's: another one may have finished the copy, which is in force then.
func (r *run) target(ctx context.Context) (rescind.StoreConfig, error) {
	cfg, err := r.to.Config(ctx)
	if err == nil && (!bytes.Equal(find(&cfg, rescind.CopyingDocument), r.marked) || r.marked == nil && len(cfg.Documents) > 0) {
		err = fmt.Errorf("%w: somebody else uses the target, or copies into it", rescind.ErrUnavailable)
	}
	return cfg, err
}

// settle waits until what was in flight when the fence was put is over.
func (r *run) settle(ctx context.Context) error {
	for {
		left := r.fence.At.Add(r.o.Settle).Sub(r.from.Now())
		if !r.fenced.IsZero() {
			left = r.o.Settle - time.Since(r.fenced) // the fence stands since then, and whatever the store's clock does
		}
		if left <= 0 || r.o.Settle == 0 {
			return nil
		}
		r.o.Progress(Progress{Phase: "settle", Part: 1 - float64(left)/float64(r.o.Settle)})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, time.Second)):
		}
	}
}

// content is what is copied of a configuration.
func content(cfg *rescind.StoreConfig) []rescind.Document {
	docs := slices.DeleteFunc(slices.Clone(cfg.Documents), func(d rescind.Document) bool {
		return d.Kind == rescind.ServerDocument && (d.ID == rescind.MovedDocument || d.ID == rescind.CopyingDocument)
	})
	slices.SortFunc(docs, func(a, b rescind.Document) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return docs
}

// documents are few: all of them are written each time.
func (r *run) documents(ctx context.Context) error {
	source, err := r.from.Config(ctx)
	if err != nil {
		return err
	}
	target, err := r.target(ctx)
	if err != nil {
		return err
	}
	_, err = r.to.Configure(ctx, rescind.Change{Expect: target.Version, Documents: content(&source)})
	return err
}

// maxBehind is how long a run waits for a target whose clock is behind.
const maxBehind = time.Minute

// catchUp waits until the target's time has passed the last that the source can
// have told: what had expired there must not live again.
func (r *run) catchUp(ctx context.Context) error {
	behind := r.fence.At.Add(r.o.Settle).Sub(r.to.Now())
	if behind > maxBehind {
		return fmt.Errorf("%w: the target's clock is %s behind the source's, and what has expired would live again", rescind.ErrUnavailable, behind.Round(time.Second))
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(behind): // at once, as a rule
		return nil
	}
}

// finish tells the source that it is over, and then puts the copy in force.
func (r *run) finish(ctx context.Context) error {
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	source, err := r.from.Config(ctx)
	if err != nil {
		return err
	}
	var stands fence
	if value := find(&source, rescind.MovedDocument); value == nil || json.Unmarshal(value, &stands) != nil || stands.ID != r.fence.ID {
		return invalid("the source was put back in force meanwhile: the copy is out of date")
	}
	r.fence.Finished = true
	d, err := document(rescind.MovedDocument, r.fence)
	if err != nil {
		return err
	}
	if _, err := r.from.Configure(ctx, rescind.Change{Expect: source.Version, Documents: []rescind.Document{d}}); err != nil {
		return err
	}
	target, err := r.target(ctx)
	if err != nil {
		return err
	}
	_, err = r.to.Configure(ctx, rescind.Change{
		Expect: target.Version, Documents: []rescind.Document{{Kind: rescind.ServerDocument, ID: rescind.CopyingDocument}},
		Events: []rescind.Event{{
			At: r.to.Now(), Kind: rescind.EventLedgerCopied, Actor: rescind.ActorSelf, Detail: "epoch of the source: " + hex.EncodeToString(source.Epoch[:]),
		}},
	})
	return err
}

// Abandon puts a source back in force whose copy was not finished; whatever was
// copied is out of date then. With force it takes the fence away from any ledger:
// if the copy has been in force, what was revoked there works again here.
func Abandon(ctx context.Context, from rescind.Store, force bool) error {
	cfg, err := from.Config(ctx)
	if err != nil {
		return err
	}
	value := find(&cfg, rescind.MovedDocument)
	if value == nil {
		return invalid("this ledger is not being moved")
	}
	var f fence
	if err := json.Unmarshal(value, &f); err != nil {
		return err
	}
	if f.Finished && !force {
		return invalid("this ledger was moved to %s, and what was revoked there since would work again here", f.To)
	}
	_, err = from.Configure(ctx, rescind.Change{Expect: cfg.Version, Documents: []rescind.Document{{Kind: rescind.ServerDocument, ID: rescind.MovedDocument}}})
	return err
}
