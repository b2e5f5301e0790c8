package redisstore

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// shorten makes the races of a test shorter, unless RESCIND_SLOW says otherwise.
func shorten(t *testing.T) {
	t.Helper()
	if os.Getenv("RESCIND_SLOW") != "" || testing.Short() {
		return
	}
	set := func(short string) {
		if err := flag.Set("test.short", short); err != nil {
			t.Fatal(err)
		}
	}
	set("true")
	t.Cleanup(func() { set("false") })
}

// TestMain makes the random walks shorter than their hundred, unless RESCIND_SLOW or a flag
// says otherwise: each of their steps is many commands.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given && os.Getenv("RESCIND_SLOW") == "" {
		if err := flag.Set("rapid.checks", "12"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}
