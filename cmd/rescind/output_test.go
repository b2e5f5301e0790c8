package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rescind/rescind"
)

func TestColourIsForTerminalsWhoseUserWantsIt(t *testing.T) {
	terminal, err := os.Open(os.DevNull) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !colours(terminal, environment()) {
		t.Error("none on a terminal")
	}
	if colours(terminal, environment("NO_COLOR", "1")) {
		t.Error("on a terminal with NO_COLOR")
	}
	if !colours(terminal, environment("NO_COLOR", "")) {
		t.Error("an empty NO_COLOR is none, says no-color.org")
	}
	if colours(terminal, environment("TERM", "dumb")) {
		t.Error("on a dumb terminal")
	}
	if colours(file, environment()) || colours(&bytes.Buffer{}, environment()) {
		t.Error("in a file")
	}
}

func TestATerminalObeysNothingThatSomebodyElseChose(t *testing.T) {
	var b bytes.Buffer
	o := output{w: &b}
	if err := o.table([]string{"A", "B"}, [][]string{{"\x1b]0;title\a\x1b[31mred", "\u202egnirts\r\nx\u009b31m\xff"}}, -1); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\a\r\u202e\u009b") || !utf8.Valid(b.Bytes()) || strings.Count(b.String(), "\n") != 2 {
		t.Fatalf("%q", b.String())
	}
}

func TestASecretIsNeverPrintedByAccident(t *testing.T) {
	c := config{masterKey: rescind.Secret("hunter2"), adminSecret: rescind.Secret("hunter3")}
	var b bytes.Buffer
	o := output{w: &b}
	if err := o.printf("%v %+v %#v %s", c, c, c.masterKey, c.adminSecret); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "hunter") {
		t.Fatal("it was")
	}
}

func TestAdminsLeaveNoSecretFileHalfWritten(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/keys/x.secret"
	first, err := obtainSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := obtainSecret(path)
	if err != nil || first != second {
		t.Fatalf("the secret changed: %v", err)
	}
	if err := writeSecret(path, "another"); err == nil {
		t.Fatal("a secret was overwritten")
	}
	for _, text := range []string{"", "\n", "one\ntwo\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := obtainSecret(path); err == nil {
			t.Errorf("%q was taken for a secret", text)
		}
	}
	left, err := os.ReadDir(dir + "/keys")
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
