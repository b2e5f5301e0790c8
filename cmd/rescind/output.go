package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// output is where a command prints: text for people, with colour on a terminal
// only, or JSON for scripts.
type output struct {
	w      io.Writer
	err    io.Writer
	json   bool
	colour bool
}

// colours reports whether w is a terminal whose user has not asked for plain text
// (https://no-color.org).
func colours(w io.Writer, env func(string) (string, bool)) bool {
	if v, _ := env("NO_COLOR"); v != "" {
		return false
	}
	if v, _ := env("TERM"); v == "dumb" {
		return false
	}
	return isTerminal(w)
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Colours of the terminal.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

func (o *output) paint(colour, s string) string {
	if !o.colour || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// printf writes a line's text. Arguments that come from elsewhere pass through
// clean first, see there.
func (o *output) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(o.w, format, args...)
	return err
}

// note tells a person something that is not the result.
func (o *output) note(format string, args ...any) {
	// Losing a remark on stderr changes nothing about what was done.
	_, _ = fmt.Fprintf(o.err, format+"\n", args...)
}

// emit prints v as one line of JSON.
func (o *output) emit(v any) error {
	enc := json.NewEncoder(o.w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// clean makes text that somebody else chose, such as a browser's name, safe to
// print: a terminal must not obey it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

// table prints rows in columns. Cells are cleaned; state colours the cells of the
// column with that number, -1 none.
func (o *output) table(header []string, rows [][]string, state int) error {
	width := make([]int, len(header))
	for i, h := range header {
		width[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = clean(row[i])
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	w := bufio.NewWriter(o.w)
	line := func(row []string, paint func(i int, cell string) string) {
		for i, cell := range row {
			text := paint(i, cell)
			if i < len(row)-1 {
				text += strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
			}
			w.WriteString(text) // the error stays for Flush
		}
		w.WriteByte('\n')
	}
	line(header, func(_ int, cell string) string { return o.paint(bold, cell) })
	for _, row := range rows {
		line(row, func(i int, cell string) string {
			if i == state {
				return o.paint(stateColour(cell), cell)
			}
			return cell
		})
	}
	return w.Flush()
}

func stateColour(state string) string {
	switch state {
	case "active", "current":
		return green
	case "ended", "revoked":
		return red
	}
	return faint
}

// stamp prints a time as people and sort(1) read it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// errDeclined ends a command that its user did not confirm.
var errDeclined = refused(errors.New("nothing was done"))

// confirm asks on a terminal; elsewhere only yes, the flag, will do.
func (c *cli) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(c.stdin) {
		return usagef("%s Say so with --yes", question)
	}
	c.out.note("%s Type yes to go on:", question)
	line, err := bufio.NewReader(io.LimitReader(c.stdin, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return errDeclined
	}
	return nil
}
