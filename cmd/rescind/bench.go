package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
)

// ledger is what is measured: an Authority, or the client of a remote one.
type ledger interface {
	Issue(ctx context.Context, l rescind.Login) (rescind.Grant, error)
	Check(ctx context.Context, token string, want rescind.Want) (rescind.Access, error)
	Refresh(ctx context.Context, r rescind.Refresh) (rescind.Grant, error)
	Revoke(ctx context.Context, r rescind.Revocation) (rescind.Receipt, error)
}

// measured is what one kind of call took. Times are in microseconds.
type measured struct {
	What   string  `json:"what"`
	Calls  int     `json:"calls"`
	PerSec float64 `json:"per_second"`
	P50    float64 `json:"p50_us"`
	P95    float64 `json:"p95_us"`
	P99    float64 `json:"p99_us"`
	Max    float64 `json:"max_us"`
}

func (c *cli) benchCommand() *cobra.Command {
	var workers int
	var each time.Duration
	var disk string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure logins, checks, refreshes and revocations per second",
		Long: `Measure logins, checks, refreshes and revocations per second, with their latencies.

Without --server: the library over an embedded store in a new folder (--dir, else the system's place
for temporary files), which is removed again; every write is synced to that disk. With --server (or
RESCIND_SERVER): a running server, over HTTP; it leaves some ended sessions of subjects named bench-N
behind, and needs a client that may issue, introspect and revoke.

It is a quick look at this machine, with other work going on: the numbers of two runs differ. A
comparison with other software is in the folder bench of the repository.`,
		Example: `  rescind bench
  rescind bench --concurrency 256 --duration 5s
  rescind bench --server http://127.0.0.1:8470 --client-id app --client-secret-file rescind-data.keys/app.secret`,
		Args: exactly(),
	}
	to := remoteFlags(cmd)
	cmd.Flags().IntVar(&workers, "concurrency", 64, "calls at once, 1 to 4096")
	cmd.Flags().DurationVar(&each, "duration", 2*time.Second, "how long to measure each kind of call")
	cmd.Flags().StringVar(&disk, "dir", "", "folder in which to make the temporary store")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if workers < 1 || workers > 4096 || each <= 0 {
			return usagef("--concurrency is 1 to 4096, --duration more than 0")
		}
		b := bench{workers: workers, each: each, client: appID}
		where := "the library over an embedded store"
		if env, _ := c.env("RESCIND_SERVER"); to.server != "" || env != "" {
			if disk != "" {
				return usagef("--dir is for the embedded store: it does not go with --server")
			}
			dialled, err := c.dial(to)
			if err != nil {
				return err
			}
			b.ledger = dialled
			id, _ := c.env("RESCIND_CLIENT_ID")
			b.client = or(to.id, or(id, adminID)) // a token is refreshed by the client that it was issued to
			where = "the server, over HTTP"
		} else {
			authority, done, err := benchStore(cmd.Context(), disk)
			if err != nil {
				return err
			}
			defer done()
			b.ledger = authority
		}
		if !c.out.json {
			c.out.note("measuring %s: %d at once, %s each", where, workers, each)
		}
		results, err := b.run(cmd.Context())
		if err != nil {
			return c.explain(cmd.Context(), err)
		}
		if c.out.json {
			return c.out.emit(map[string]any{"target": where, "concurrency": workers, "seconds_each": each.Seconds(), "results": results})
		}
		rows := make([][]string, 0, len(results))
		for _, m := range results {
			rows = append(rows, []string{m.What, strconv.Itoa(m.Calls), fmt.Sprintf("%.0f", m.PerSec), micros(m.P50), micros(m.P95), micros(m.P99), micros(m.Max)})
		}
		return c.out.table([]string{"", "CALLS", "PER SECOND", "P50", "P95", "P99", "MAX"}, rows, -1)
	}
	return cmd
}

func micros(us float64) string {
	if us >= 1000 {
		return fmt.Sprintf("%.1f ms", us/1000)
	}
	return fmt.Sprintf("%.1f µs", us)
}

// benchStore makes an embedded store for one run, as a server would have it.
func benchStore(ctx context.Context, disk string) (*rescind.Authority, func(), error) {
	folder, err := os.MkdirTemp(disk, "rescind-bench-")
	if err != nil {
		return nil, nil, refusedf("bench: %w", err)
	}
	remove := func() { _ = os.RemoveAll(folder) } // its name says what is left
	conf := defaults()
	conf.Store = store.URL("pebble:" + filepath.Join(folder, "data"))
	if err := conf.complete(); err != nil {
		remove()
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	ledger, err := openStore(conf.Store, log)
	if err != nil {
		remove()
		return nil, nil, err
	}
	none := func(string) (string, bool) { return "", false }
	authority, _, err := conf.authority(ctx, ledger, log, none)
	if err != nil {
		err = errors.Join(err, ledger.Close())
		remove()
		return nil, nil, err
	}
	return authority, func() {
		authority.Close()
		_ = ledger.Close() // it is thrown away
		remove()
	}, nil
}

// bench is one run.
type bench struct {
	ledger  ledger
	client  string
	workers int
	each    time.Duration
}

// held is a session as a worker holds it.
type held struct {
	session rescind.SessionID
	access  string
	refresh string
}

func (b *bench) run(ctx context.Context) ([]measured, error) {
	sessions := make([][]held, b.workers)
	logins, err := b.measure(ctx, "login", func(w, _ int) (bool, error) {
		g, err := b.ledger.Issue(ctx, rescind.Login{Subject: "bench-" + strconv.Itoa(w), Client: b.client})
		if err == nil {
			sessions[w] = append(sessions[w], held{g.Session, g.AccessToken.Reveal(), g.RefreshToken.Reveal()})
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	checks, err := b.measure(ctx, "check", func(w, i int) (bool, error) {
		_, err := b.ledger.Check(ctx, sessions[w][i%len(sessions[w])].access, rescind.Want{})
		return true, err
	})
	if err != nil {
		return nil, err
	}
	refreshes, err := b.measure(ctx, "refresh", func(w, i int) (bool, error) {
		s := &sessions[w][i%len(sessions[w])]
		g, err := b.ledger.Refresh(ctx, rescind.Refresh{Client: b.client, Token: s.refresh})
		if err == nil {
			s.access, s.refresh = g.AccessToken.Reveal(), g.RefreshToken.Reveal()
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	// Each session ends once: ending what has ended costs less.
	ended := make([]int, b.workers)
	revocations, err := b.measure(ctx, "revoke", func(w, i int) (bool, error) {
		if i >= len(sessions[w]) {
			return false, nil
		}
		_, err := b.ledger.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: sessions[w][i].session}, Reason: "bench"})
		ended[w] = i + 1
		return true, err
	})
	if err != nil {
		return nil, err
	}
	for w := range sessions { // what was not measured is not left alive either
		if ended[w] == len(sessions[w]) {
			continue
		}
		r := rescind.Revocation{Selector: rescind.Selector{Subject: "bench-" + strconv.Itoa(w)}, Reason: "bench"}
		if _, err := b.ledger.Revoke(ctx, r); err != nil {
			return nil, err
		}
	}
	return []measured{logins, checks, refreshes, revocations}, nil
}

// measure calls from every worker for a time, but at least once, or until call says
// that there is nothing left to do. call gets the worker's number and the count of
// its calls.
func (b *bench) measure(ctx context.Context, what string, call func(w, i int) (bool, error)) (measured, error) {
	took := make([][]time.Duration, b.workers)
	errs := make([]error, b.workers)
	var all sync.WaitGroup
	start := time.Now()
	for w := range b.workers {
		all.Go(func() {
			for i := 0; (i == 0 || time.Since(start) < b.each) && ctx.Err() == nil; i++ {
				at := time.Now()
				did, err := call(w, i)
				if err != nil {
					errs[w] = fmt.Errorf("%s: %w", what, err)
					return
				}
				if !did {
					return
				}
				took[w] = append(took[w], time.Since(at))
			}
		})
	}
	all.Wait()
	total := time.Since(start)
	if err := errors.Join(firstError(errs), ctx.Err()); err != nil {
		return measured{}, err
	}
	return summarize(what, slices.Concat(took...), total), nil
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func summarize(what string, took []time.Duration, total time.Duration) measured {
	m := measured{What: what, Calls: len(took), PerSec: float64(len(took)) / total.Seconds()}
	if len(took) == 0 {
		return m
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1000
	}
	m.P50, m.P95, m.P99, m.Max = at(0.50), at(0.95), at(0.99), at(1)
	return m
}
