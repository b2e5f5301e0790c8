package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
)

// followEvery is how often --follow asks for new events.
const followEvery = time.Second

func (c *cli) eventsCommand() *cobra.Command {
	var q rescind.EventQuery
	var kind, since, until string
	var follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Read the audit log: who did what, why and when; newest first",
		Example: `  rescind events --subject alice
  rescind events --kind session.ended --since 24h
  rescind events --since 2026-01-31T00:00:00Z --until 2026-02-01T00:00:00Z --limit 1000 --json
  rescind events --follow --json`,
		Args: exactly(),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Subject, "subject", "", "only events of this subject")
	flags.StringVar(&q.Session, "session", "", "only events of this session")
	flags.StringVar(&q.Client, "client", "", "only events of this client")
	flags.StringVar(&kind, "kind", "", "only events of this kind, as in session.ended")
	flags.StringVar(&since, "since", "", "only events since then: a time by RFC 3339, or a duration before now, as in 24h")
	flags.StringVar(&until, "until", "", "only events before then")
	flags.StringVar(&q.After, "after", "", "start behind this cursor, which the page before has named")
	flags.IntVar(&q.Limit, "limit", 0, "how many at most, 1 to 1000 (default 100)")
	flags.BoolVar(&follow, "follow", false, "wait for new events and print them as they come, oldest first")
	c.complete(cmd, "kind", eventKinds...)
	c.overServer(cmd, brief, func(r *remoteCall) (err error) {
		q.Kind = rescind.EventKind(kind)
		if q.Since, err = moment("since", since, time.Now()); err != nil {
			return err
		}
		if q.Until, err = moment("until", until, time.Now()); err != nil {
			return err
		}
		if follow {
			if until != "" || q.After != "" {
				return usagef("--follow goes on from now: neither --until nor --after goes with it")
			}
			return c.follow(cmd.Context(), r, q)
		}
		page, err := r.client.Events(r.ctx, q)
		if err != nil {
			return err
		}
		if c.out.json {
			return c.out.emit(page)
		}
		if len(page.Events) == 0 && page.Next == "" {
			c.out.note("no events")
			return nil
		}
		rows := make([][]string, 0, len(page.Events))
		for i := range page.Events {
			rows = append(rows, eventRow(&page.Events[i]))
		}
		if err := c.out.table([]string{"TIME", "EVENT", "ACTOR", "ABOUT", "WHY"}, rows, -1); err != nil {
			return err
		}
		if page.Next != "" {
			c.out.note("there may be more: --after %s", page.Next)
		}
		return nil
	})
	return cmd
}

var eventKinds = []string{
	string(rescind.EventSessionCreated), string(rescind.EventSessionRefreshed), string(rescind.EventSessionEnded),
	string(rescind.EventTokenDropped), string(rescind.EventSubjectEnded), string(rescind.EventSubjectErased),
	string(rescind.EventClientEnded), string(rescind.EventAllEnded), string(rescind.EventClientAdded),
	string(rescind.EventClientRemoved), string(rescind.EventKeyCreated), string(rescind.EventKeyRotated),
	string(rescind.EventKeyRevoked), string(rescind.EventBackupOpened),
}

// moment reads a time, absolute or before now.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usagef("--%s is a time, as in 2026-01-31T09:30:00Z, or a duration before now, as in 24h, not %q", flag, text)
	}
	return t, nil
}

func eventRow(e *rescind.Event) []string {
	about, why := "", e.Reason
	for _, s := range []string{e.Subject, e.Session, or(e.Client, ""), e.Key} {
		if s != "" && s != e.Actor {
			about += " " + s
		}
	}
	if e.Detail != "" {
		if why != "" {
			why += ": "
		}
		why += e.Detail
	}
	return []string{stamp(e.At), string(e.Kind), e.Actor, about[min(1, len(about)):], why}
}

// follow prints events as they come until ctx ends, which is no error. An
// unavailable server is asked again.
func (c *cli) follow(ctx context.Context, r *remoteCall, q rescind.EventQuery) error {
	last := "" // id of the newest event that was printed or was there before
	if q.Since.IsZero() {
		newest := q
		newest.Limit = 1
		page, err := r.client.Events(r.ctx, newest)
		if err != nil {
			return err
		}
		if len(page.Events) > 0 {
			last = page.Events[0].ID
			// What shares its moment is asked for again and told apart by its id.
			q.Since = page.Events[0].At
		}
	}
	q.Limit = 1000
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		fresh, err := newEvents(ctx, r, q, last)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if exitCode(err) != exitUnavailable {
				return err
			}
			c.out.note("rescind: %s; trying again", clean(err.Error()))
		}
		for i := range fresh {
			if err := c.printEvent(&fresh[i]); err != nil {
				return err
			}
			last, q.Since = fresh[i].ID, fresh[i].At
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// newEvents returns what is newer than the event with the id last, oldest first.
func newEvents(ctx context.Context, r *remoteCall, q rescind.EventQuery, last string) ([]rescind.Event, error) {
	var fresh []rescind.Event
	for {
		page, err := r.client.Events(ctx, q)
		if err != nil {
			return nil, err // none rather than some: the next round has them all
		}
		for _, e := range page.Events {
			if e.ID == last {
				page.Next = ""
				break
			}
			fresh = append(fresh, e)
		}
		if page.Next == "" {
			slices.Reverse(fresh)
			return fresh, nil
		}
		q.After = page.Next
	}
}

func (c *cli) printEvent(e *rescind.Event) error {
	if c.out.json {
		return c.out.emit(e)
	}
	row := eventRow(e)
	for i := range row {
		row[i] = clean(row[i])
	}
	return c.out.printf("%s  %-17s %s  %s  %s\n", row[0], row[1], row[2], row[3], row[4])
}
