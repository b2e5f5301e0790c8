package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// machine is where the figures come from. What a system does not tell is empty.
type machine struct {
	CPU    string        `json:"cpu"`
	Cores  int           `json:"cores"`
	System string        `json:"system"`
	Go     string        `json:"go"`
	Pebble string        `json:"pebble"`
	Load   string        `json:"load_average"` // before the run
	Sync   time.Duration `json:"fsync_ns"`     // median of one small append and sync
}

func describe(dir string) (machine, error) {
	m := machine{Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + string(bytes.TrimSpace(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, model, _ := strings.Cut(string(b), "model name")
		model, _, _ = strings.Cut(model, "\n")
		m.CPU = strings.Trim(model, " \t:")
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/cockroachdb/pebble/v2" {
				m.Pebble = d.Version
			}
		}
	}
	var err error
	m.Sync, err = syncTime(dir)
	return m, err
}

func (m machine) String() string {
	text := fmt.Sprintf("%d × %s, %s, %s, pebble %s, one append and sync %.0f µs, load average before %s",
		m.Cores, m.CPU, m.System, m.Go, m.Pebble, float64(m.Sync.Nanoseconds())/1e3, m.Load)
	if !m.calm() {
		text += "\nOTHERS WERE AT WORK ON THIS MACHINE: the ratios are unsure. Measure again when it is calm."
	}
	return text
}

// calm reports whether the machine had at most half a core to do before the run.
func (m machine) calm() bool {
	last, _, _ := strings.Cut(m.Load, " ")
	load, err := strconv.ParseFloat(last, 64)
	return err != nil || load <= 0.5 // where the system does not say, nothing can be said
}

// syncTime is the median time of a small append and its sync.
func syncTime(dir string) (took time.Duration, err error) {
	path := filepath.Join(dir, "sync")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, e := range []error{f.Close(), os.Remove(path)} {
			if err == nil {
				err = e
			}
		}
	}()
	var all []time.Duration
	for range 100 {
		begin := time.Now()
		if _, err := f.Write(make([]byte, 128)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begin))
	}
	return percentile(all, 0.5), nil
}

// processTime is the processor time that this process has used, in steps of
// 10 ms. Only Linux tells it here.
func processTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may hold anything; user and system time are the
	// 12th and 13th fields behind it, in hundredths of a second.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/self/stat has %d fields", len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/self/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// resident reads a line of /proc/self/status in bytes: VmRSS is what is resident
// now, VmHWM the most that ever was.
func resident(name string) (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", name)
}
