package main

import (
	"bytes"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadAnswer(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nDate: now\r\n\r\n{\"active\":on}"
	for name, c := range map[string]struct {
		answer, want string
		ok           bool
	}{
		"good":             {good, `"active":on`, true},
		"last header":      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "", true},
		"empty body":       {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
		"wrong body":       {strings.Replace(good, ":on}", ":no}", 1), `"active":on`, false},
		"want in a header": {"HTTP/1.1 200 OK\r\nX: ok\r\nContent-Length: 2\r\n\r\nno", "ok", false},
		"another status":   {strings.Replace(good, "200 OK", "401 Unauthorized", 1), "", false},
		"no length":        {"HTTP/1.1 200 OK\r\n\r\nok", "", false},
		"chunked":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "", false},
		"bad length":       {"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", "", false},
		"cut short":        {good[:len(good)-1], "", false},
		"two answers":      {good + good, "", false},
		"too long":         {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n", "", false},
	} {
		buf := make([]byte, 1024)
		if err := readAnswer(strings.NewReader(c.answer), buf, []byte(c.want)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err := readAnswer(iotest.OneByteReader(strings.NewReader(c.answer)), buf, []byte(c.want)); (err == nil) != c.ok && name != "two answers" {
			t.Errorf("%s, byte by byte: %v", name, err)
		}
	}
}

func TestRequestsSurviveTheirFile(t *testing.T) {
	file := appendRequest(appendRequest(nil, []byte("GET / HTTP/1.1\r\n\r\n")), []byte("x"))
	got, err := parseRequests(file)
	if err != nil || len(got) != 2 || !bytes.Equal(got[1], []byte("x")) {
		t.Fatalf("%q, %v", got, err)
	}
	for _, bad := range [][]byte{nil, file[:len(file)-1], file[:2]} {
		if _, err := parseRequests(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

// The generator must notice a target that answers something else, or it would
// measure how fast errors are.
func TestLoadRefusesWrongAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "busy", http.StatusServiceUnavailable)
	})}
	go func() { _ = s.Serve(l) }() // ends with an error by design
	defer s.Close()
	if _, err := load(l.Addr().String(), [][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}, 2, nil); err == nil {
		t.Error("503 counts as an answer")
	}
}
