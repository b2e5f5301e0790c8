// Package postgres starts PostgreSQL servers for tests: each on a free loopback port,
// with a data folder that is gone afterwards. They can be killed, stopped, frozen
// and started again.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/server"
)

// Need skips or fails the test where there is no PostgreSQL.
func Need(t testing.TB) {
	t.Helper()
	need.That(t, "POSTGRES", "PostgreSQL", func() string {
		for _, program := range []string{"initdb", "postgres"} {
			if _, err := find(program); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}

// find looks for a program of the server in PATH, and then where Debian keeps
// it, the newest version first.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%s is neither in PATH nor in /usr/lib/postgresql", program)
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	return found[0], nil
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // a folder that is no number comes last
	return n
}

// Server is one PostgreSQL server. Its methods fail the test when something does
// not work. They are not for concurrent use.
type Server struct {
	t       testing.TB
	dir     string
	addr    string
	account *syscall.Credential // nil: as we are
	run     *run
	frozen  []int
}

// run is one life of the server.
type run struct {
	cmd  *exec.Cmd
	over chan struct{} // closed when it has ended
}

// Option changes how a server is started.
type Option func(*options)

type options struct {
	disk     bool
	settings []string
}

// OnDisk keeps the data folder in the usual place for temporary files. Without it
// it may lie in memory: what a process loses when it is killed is the same, and
// tests are faster.
func OnDisk() Option { return func(o *options) { o.disk = true } }

// With sets a parameter of the server's configuration.
func With(name, value string) Option {
	return func(o *options) { o.settings = append(o.settings, name+" = '"+value+"'") }
}

// Start starts a server that ends with the test.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	Need(t)
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	s := &Server{t: t, addr: server.FreePort(t)}
	if os.Geteuid() == 0 { // the server refuses to run as root
		s.account = account(t)
	}
	s.dir = s.folder(o.disk)
	t.Cleanup(func() {
		s.Thaw()
		s.Stop(true) // and not Kill: it frees what the kernel keeps for it
		if err := os.RemoveAll(s.dir); err != nil {
			t.Errorf("data folder: %v", err)
		}
	})
	initdb := s.command("initdb", "--no-sync", "--auth=trust", "--username=rescind", "--no-locale", "--encoding=UTF8", "-D", s.data())
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	// In the folder, where it goes with it, also behind a Kill.
	s.configure(append([]string{"dynamic_shared_memory_type = 'mmap'"}, o.settings...))
	s.Restart()
	return s
}

func account(t testing.TB) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uerr, gerr); err != nil {
			t.Fatalf("account %s: %v", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("there is no account under which the server could run")
	return nil
}

func (s *Server) folder(disk bool) string {
	s.t.Helper()
	parent := ""
	if memory, err := os.Stat("/dev/shm"); !disk && err == nil && memory.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "rescind-pg-")
	if err != nil && parent != "" {
		dir, err = os.MkdirTemp("", "rescind-pg-")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if s.account != nil {
		if err := os.Chown(dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			s.t.Fatal(err)
		}
	}
	return dir
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	s.t.Helper()
	path, err := find(program)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Setpgid: true}
	endWithParent(cmd.SysProcAttr)
	return cmd
}

func (s *Server) configure(settings []string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = f.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// Set changes the configuration; it counts after a Restart or a Reload.
func (s *Server) Set(name, value string) {
	s.t.Helper()
	s.configure([]string{name + " = '" + value + "'"})
}

// Reload makes the server read its configuration again.
func (s *Server) Reload() {
	s.t.Helper()
	if err := s.run.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
}

// Write puts a file into the data folder, for the server's eyes only.
func (s *Server) Write(name string, content []byte) {
	s.t.Helper()
	path := filepath.Join(s.data(), name)
	err := os.WriteFile(path, content, 0o600)
	if err == nil && s.account != nil {
		err = os.Chown(path, int(s.account.Uid), int(s.account.Gid))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Folder is the data folder of the server.
func (s *Server) Folder() string { return s.data() }

// Addr is the host and port of the server, the same after each Restart.
func (s *Server) Addr() string { return s.addr }

// URL names the server's first database; query, if given, is appended.
func (s *Server) URL(query string) string {
	return "postgres://rescind@" + s.Addr() + "/postgres?sslmode=disable" + prefixed("&", query)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// Restart starts the server, which must not run, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	if s.start(); s.answers() {
		return
	}
	s.Kill()
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	s.t.Fatalf("PostgreSQL does not start (%v):\n%s", err, log)
}

// patience is how long a server may take to start or to end.
const patience = 2 * time.Minute

func (s *Server) start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command("postgres", "-D", s.data(), "-p", port, "-h", host, "-k", "")
	cmd.Stdout, cmd.Stderr = log, log
	r := &run{cmd: cmd, over: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The server is told to stop when the thread that began it ends, so that it
		// does not outlive this process; the thread must last as long as the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is each test's own business
		}
		close(r.over)
	}()
	if err := errors.Join(<-started, log.Close()); err != nil {
		s.t.Fatalf("postgres: %v", err)
	}
	s.run = r
}

// answers waits until the server takes connections; false if it ends before.
func (s *Server) answers() bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.run.over:
			return false
		default:
		}
		if s.ready() {
			return true
		}
	}
	return false
}

// ready speaks just enough of the protocol to learn whether the server has
// finished recovering: a start-up message, answered by a request for a password,
// by success ('R'), or by an error ('E').
func (s *Server) ready() bool {
	c, err := net.DialTimeout("tcp", s.Addr(), patience/4)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }() // nothing of it is needed
	body := "\x00\x03\x00\x00user\x00rescind\x00database\x00postgres\x00\x00"
	msg := append([]byte{0, 0, 0, byte(len(body) + 4)}, body...)
	if err := c.SetDeadline(time.Now().Add(patience / 4)); err != nil {
		return false
	}
	if _, err := c.Write(msg); err != nil {
		return false
	}
	var answer [1]byte
	_, err = c.Read(answer[:])
	return err == nil && answer[0] == 'R'
}

// processes are the server's first process and its children.
func (s *Server) processes() []int {
	first := s.run.cmd.Process.Pid
	all := []int{first}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended meanwhile
		}
		if fields := afterName(b); len(fields) > 1 && fields[1] == strconv.Itoa(first) {
			if pid, err := strconv.Atoi(strings.Split(stat, "/")[2]); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}

// afterName is what a stat file says behind "pid (name)": state, parent and more.
func afterName(stat []byte) []string {
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

// until waits until a process is in one of some states, or is gone.
func (s *Server) until(pid int, states string) {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return // it has ended
		}
		if fields := afterName(b); len(fields) > 0 && strings.Contains(states, fields[0]) {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("process %d is not in one of the states %s:\n%s", pid, states, b)
		}
	}
}

func (s *Server) over() bool {
	if s.run == nil {
		return true
	}
	select {
	case <-s.run.over:
		return true
	default:
		return false
	}
}

// Kill ends all processes of the server at once (SIGKILL), as a power failure
// would, but for what the kernel still writes to disk.
func (s *Server) Kill() {
	s.t.Helper()
	if s.over() {
		return
	}
	s.Freeze() // the first process must not see its children die, or it would start others
	for _, pid := range s.frozen {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended needs none
	}
	s.await()
	for _, pid := range s.frozen { // who still has the memory keeps the next server from starting
		s.until(pid, "ZX")
	}
	s.frozen = nil
}

// Stop ends the server: at once, without a checkpoint, so that the next start
// recovers as after a crash; or in order, with all connections cut.
func (s *Server) Stop(immediate bool) {
	s.t.Helper()
	if s.over() {
		return
	}
	how := syscall.SIGINT
	if immediate {
		how = syscall.SIGQUIT
	}
	if err := s.run.cmd.Process.Signal(how); err != nil {
		s.t.Fatal(err)
	}
	s.await()
}

func (s *Server) await() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-s.run.over:
	case <-ctx.Done():
		s.t.Fatal("PostgreSQL does not end")
	}
}

// Freeze stops all processes of the server in their tracks (SIGSTOP): connections
// stay open and nothing answers.
func (s *Server) Freeze() {
	s.t.Helper()
	s.frozen = nil
	for { // until a look finds no process that was not stopped yet
		more := false
		for _, pid := range s.processes() {
			if !slices.Contains(s.frozen, pid) {
				_ = syscall.Kill(pid, syscall.SIGSTOP) // one that has ended needs none
				s.until(pid, "TtZX")                   // only then it has no more children
				s.frozen = append(s.frozen, pid)
				more = true
			}
		}
		if !more {
			return
		}
	}
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() {
	s.t.Helper()
	for _, pid := range slices.Backward(s.frozen) {
		_ = syscall.Kill(pid, syscall.SIGCONT) // one that has ended needs none
	}
	s.frozen = nil
}
