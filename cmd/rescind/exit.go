package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/rescind/rescind"
)

// The exit codes of every command.
const (
	exitDone        = 0
	exitRefused     = 1 // found or refused
	exitUsage       = 2 // of the command line or the configuration
	exitUnavailable = 3 // nothing is known: try again
)

// coded is an error that knows its exit code.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &coded{exitUsage, fmt.Errorf(format, args...)}
}

func refused(err error) error { return &coded{exitRefused, err} }

func refusedf(format string, args ...any) error {
	return &coded{exitRefused, fmt.Errorf(format, args...)}
}

func unavailablef(format string, args ...any) error {
	return &coded{exitUnavailable, fmt.Errorf(format, args...)}
}

// exitCode maps an error of a command that ran to its exit code. What has no
// code of its own is refused: it was neither done nor is it worth repeating.
func exitCode(err error) int {
	var c *coded
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, rescind.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	case errors.Is(err, rescind.ErrInvalid):
		return exitUsage
	}
	return exitRefused
}
