package pebblestore

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// logger passes on what Pebble has to say. Pebble takes it that Fatalf does not
// return, and here it does not: the goroutine stays where it is, with whatever
// it holds, so that nothing is done to the files on top of a state that Pebble
// holds to be unsound. The process lives on, and the store says "unavailable".
type logger struct {
	log    *slog.Logger
	dir    string
	fatal  chan error // who opens the database listens here
	failed atomic.Pointer[func(error)]
}

// hand gives later failures to the store.
func (l *logger) hand(fail func(error)) { l.failed.Store(&fail) }

func (l *logger) Infof(format string, args ...any) {
	l.log.Debug("database", "folder", l.dir, "info", fmt.Sprintf(format, args...))
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Error("database", "folder", l.dir, "error", fmt.Sprintf(format, args...))
}

func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("database: "+format, args...)
	if fail := l.failed.Load(); fail != nil {
		(*fail)(err)
	}
	select {
	case l.fatal <- err:
	default:
	}
	select {}
}
