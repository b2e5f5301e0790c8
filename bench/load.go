package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// The load generator. It is a process of its own, on one thread, and does as
// little as it can: it writes requests that were made beforehand and looks at no
// more of an answer than it must to know that it is the right one. What it costs
// it takes from every target alike.

// loadResult is what one run of it prints.
type loadResult struct {
	Requests int           `json:"requests"` // answered while it counted
	All      int           `json:"all"`      // answered from the beginning on
	Seconds  float64       `json:"seconds"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Busy     time.Duration `json:"busy"` // processor time of the generator
}

const (
	loadWarm = 300 * time.Millisecond
	loadFor  = 2 * time.Second
)

func loadMain(args []string) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	addr := f.String("addr", "", "address of the target")
	path := f.String("requests", "", "file of requests, each after its length")
	connections := f.Int("connections", 64, "connections, each with one request under way")
	want := f.String("want", "", "what every body must hold")
	if err := f.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	b, err := os.ReadFile(*path)
	if err != nil {
		return err
	}
	requests, err := parseRequests(b)
	if err != nil {
		return err
	}
	r, err := load(*addr, requests, *connections, []byte(*want))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func load(addr string, requests [][]byte, connections int, want []byte) (r loadResult, err error) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	for range connections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return r, err
		}
		open = append(open, c)
	}
	from := time.Now().Add(loadWarm)
	until := from.Add(loadFor)
	took, sent := make([][]time.Duration, connections), make([]int, connections)
	failed := make([]error, connections)
	before, _ := processTime()
	var all sync.WaitGroup
	for i, c := range open {
		all.Go(func() {
			took[i], sent[i], failed[i] = drive(c, requests, i*len(requests)/connections, from, until, want)
		})
	}
	all.Wait()
	after, _ := processTime() // nothing where the system does not tell
	if err := errors.Join(failed...); err != nil {
		return r, err
	}
	var every []time.Duration
	for i, t := range took {
		every = append(every, t...)
		r.All += sent[i]
	}
	return loadResult{
		Requests: len(every), All: r.All, Seconds: loadFor.Seconds(),
		P50: percentile(every, 0.5), P99: percentile(every, 0.99), Busy: after - before,
	}, nil
}

// drive sends one request after another over a connection. It returns how long
// those took that were answered between two moments, and how many there were in
// all.
func drive(c net.Conn, requests [][]byte, next int, from, until time.Time, want []byte) (took []time.Duration, sent int, err error) {
	if err := c.SetDeadline(until.Add(5 * time.Second)); err != nil {
		return nil, 0, err
	}
	took = make([]time.Duration, 0, 1<<12)
	buf := make([]byte, 64<<10)
	for begin := time.Now(); begin.Before(until); sent++ {
		if _, err := c.Write(requests[(next+sent)%len(requests)]); err != nil {
			return nil, 0, err
		}
		if err := readAnswer(c, buf, want); err != nil {
			return nil, 0, err
		}
		end := time.Now()
		if !end.Before(from) && end.Before(until) {
			took = append(took, end.Sub(begin))
		}
		begin = end
	}
	return took, sent, nil
}

var (
	answerOK     = []byte("HTTP/1.1 200 OK\r\n")
	answerLength = []byte("\r\nContent-Length: ")
	answerEmpty  = []byte("\r\n\r\n")
)

// readAnswer reads one answer, which must be 200, of a stated length, and hold
// want in its body.
func readAnswer(r io.Reader, buf, want []byte) error {
	n, head, size := 0, -1, 0
	for head < 0 || n < head+size {
		if n == len(buf) {
			return errors.New("the answer is too long")
		}
		m, err := r.Read(buf[n:])
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
		n += m
		if head >= 0 {
			continue
		}
		if head = bytes.Index(buf[:n], answerEmpty); head < 0 {
			continue
		}
		if !bytes.HasPrefix(buf, answerOK) {
			return fmt.Errorf("answer: %q", buf[:n])
		}
		at := bytes.Index(buf[:head], answerLength)
		if at < 0 {
			return fmt.Errorf("an answer without its length: %q", buf[:n])
		}
		digits, _, _ := bytes.Cut(buf[at+len(answerLength):head+2], answerEmpty[:2])
		if size, err = strconv.Atoi(string(digits)); err != nil || size < 0 {
			return fmt.Errorf("an answer of length %q", digits)
		}
		head += len(answerEmpty)
	}
	if n > head+size {
		return errors.New("more than one answer")
	}
	if !bytes.Contains(buf[head:n], want) {
		return fmt.Errorf("the wrong answer: %q", buf[head:n])
	}
	return nil
}

// appendRequest appends a request to the contents of a file that load reads.
func appendRequest(b, request []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(request))), request...)
}

func parseRequests(b []byte) ([][]byte, error) {
	var all [][]byte
	for len(b) > 0 {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
			return nil, errors.New("the file of requests is cut short")
		}
		n := int(binary.BigEndian.Uint32(b))
		all = append(all, b[4:4+n])
		b = b[4+n:]
	}
	if len(all) == 0 {
		return nil, errors.New("no requests")
	}
	return all, nil
}
