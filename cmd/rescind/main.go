// Command rescind is the token-state server and everything that is needed to
// work with it: the server itself, a demonstration, and commands that talk to a
// running one.
//
// Exit codes, of every command: 0 done; 1 found or refused (a demonstration that
// did not come out as promised, a session that is not there, a server that could
// not start on what it found); 2 bad usage (of the command line or the
// configuration); 3 unavailable (the server or its store gave no answer: nothing
// is known, try again).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go orderly(signals, func() { signal.Stop(signals) }, end)
	return execute(ctx, process{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.LookupEnv})
}

// orderly asks for an orderly end at the first signal. A second one ends the
// process at once: restore brings the default behaviour back before the end
// begins, for whoever sees it begin may send it.
func orderly(signals <-chan os.Signal, restore, end func()) {
	<-signals
	restore()
	select {
	case second := <-signals: // it came before that
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Signal(second) // where processes cannot do that, the end is orderly
		}
	default:
	}
	end()
}
