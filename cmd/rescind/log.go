package main

import (
	"io"
	"log/slog"
)

// handler returns where the server's log goes.
func (l logging) handler(w io.Writer) (slog.Handler, error) {
	var level slog.Level
	switch l.Level {
	case "debug":
		level = slog.LevelDebug
	case "info":
		level = slog.LevelInfo
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		return nil, usagef("log: level is debug, info, warn or error, not %q", l.Level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.Format {
	case "text":
		return slog.NewTextHandler(w, opts), nil
	case "json":
		return slog.NewJSONHandler(w, opts), nil
	}
	return nil, usagef("log: format is text or json, not %q", l.Format)
}
