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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end; a second one finds the default
	// behaviour again and ends the process at once.
	context.AfterFunc(ctx, stop)
	return execute(ctx, process{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.LookupEnv})
}
