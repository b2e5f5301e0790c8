package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// maxWaiting bounds the commands that wait for a server that does not answer.
const maxWaiting = 1 << 15

var errOverload = fmt.Errorf("%w: too many calls wait for the server", rescind.ErrUnavailable)

// errDial marks what has not reached a server, and so has changed nothing.
var errDial = errors.New("no connection")

type answer struct {
	m   rueidis.RedisMessage
	err error
}

// read runs a command that changes nothing. It is tried again while there is time.
func (s *Store) read(ctx context.Context, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	return s.call(ctx, true, func() rueidis.RedisResult { return s.client.Do(context.Background(), build(s.client.B())) })
}

// write runs a command that changes something.
func (s *Store) write(ctx context.Context, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	return s.call(ctx, false, func() rueidis.RedisResult { return s.client.Do(context.Background(), build(s.client.B())) })
}

// run runs a script. None of keys and args may change afterwards.
func (s *Store) run(ctx context.Context, sc *script, keys []string, args ...string) (rueidis.RedisMessage, error) {
	return s.call(ctx, sc.reads, func() rueidis.RedisResult { return sc.lua.Exec(context.Background(), s.client, keys, args) })
}

// call waits for a command only as long as ctx allows. The client library cannot be
// left to it: on a connection that is frozen its queue fills up, and who waits for
// a place there, or for a connection that somebody else is opening, has no deadline.
func (s *Store) call(ctx context.Context, reads bool, do func() rueidis.RedisResult) (rueidis.RedisMessage, error) {
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		return rueidis.RedisMessage{}, errOverload
	}
	ch := make(chan answer, 1)
	go func() {
		defer s.waiting.Add(-1)
		m, err := s.attempt(ctx, reads, do)
		ch <- answer{m, err}
	}()
	select {
	case a := <-ch:
		if a.err != nil {
			return a.m, s.failure(a.err)
		}
		// An answer counts only if every connection there is was looked at: the
		// server may have come back with other settings.
		return a.m, s.trusted(ctx)
	case <-ctx.Done():
		return rueidis.RedisMessage{}, unavailable("no answer in time", context.Cause(ctx))
	case <-s.closed:
		return rueidis.RedisMessage{}, errClosed
	}
}

const (
	firstPause = 2 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// attempt tries again, as long as there is time, what has surely not been done.
func (s *Store) attempt(ctx context.Context, reads bool, do func() rueidis.RedisResult) (rueidis.RedisMessage, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		m, err := do().ToMessage()
		if err == nil || rueidis.IsRedisNil(err) {
			return m, nil
		}
		if !again(err, reads) || ctx.Err() != nil {
			return m, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return m, err
		case <-s.closed:
			return m, err
		}
	}
}

// again reports whether a command that failed may be repeated.
func again(err error, reads bool) bool {
	if refusal, ok := rueidis.IsRedisErr(err); ok {
		// The server says that it has not begun. BUSY is another client's script.
		for _, word := range [...]string{"LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "BUSY", "NOREPLICAS"} {
			if strings.HasPrefix(refusal.Error(), word+" ") {
				return true
			}
		}
		return false
	}
	return reads && !errors.Is(err, rueidis.ErrClosing) || errors.Is(err, errDial)
}

// failure tells callers what an error of the server means.
func (s *Store) failure(err error) error {
	if refusal, ok := rueidis.IsRedisErr(err); ok {
		text := refusal.Error()
		switch {
		case strings.Contains(text, "RESCIND GONE"):
			return s.fail(errGone)
		case strings.Contains(text, "RESCIND "):
			return damaged(text)
		}
	}
	return unavailable("redis", err)
}

// script is one step. Its text is its name on the server, so nodes of two versions
// can work side by side.
type script struct {
	lua   *rueidis.Lua
	reads bool
}

//go:embed steps.lua
var stepsText string

// steps are the parts of steps.lua.
var steps = func() map[string]*script {
	common, rest, _ := strings.Cut(stepsText, "--== ")
	all := map[string]*script{}
	for part := range strings.SplitSeq(rest, "--== ") {
		title, body, _ := strings.Cut(part, "\n")
		name, _, _ := strings.Cut(title, " ")
		sc := &script{}
		flags := ""
		switch name {
		case "time", "clients", "feed", "entries", "ids", "buckets", "config":
			sc.reads, flags = true, " flags=no-writes"
		case "finish", "cut", "sweep", "forget", "trim", "uncut", "unsweep", "configure", "spread", "settle":
			// Ending and forgetting must work on a server whose memory is full, and so
			// must a change that has begun: it may end a key, and look-ups wait for it.
			flags = " flags=allow-oom"
		}
		text := "#!lua" + flags + "\n" + common + body
		if sc.reads {
			sc.lua = rueidis.NewLuaScriptReadOnly(text)
		} else {
			sc.lua = rueidis.NewLuaScript(text)
		}
		all[name] = sc
	}
	return all
}()
