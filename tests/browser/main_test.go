// Package browser runs the page of the examples in Chromium, with the Express
// example behind it: what the packages promise for cookies, as a browser sees it.
package browser

import (
	"context"
	"errors"
	"log"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// What the tests share because it takes seconds to make: the built packages, and
// the browser. Every test has its own profiles in it, and its own servers.
var shared struct {
	tree     func() (string, error)
	chromium func() (context.Context, error)
}

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rescind-browser-*")
	if err != nil {
		log.Print(err)
		return 1
	}
	tree, stop := filepath.Join(dir, "tree"), func() {}
	defer func() {
		stop()
		if err := os.RemoveAll(dir); err != nil {
			log.Print(err)
		}
	}()
	shared.tree = sync.OnceValues(func() (string, error) {
		return tree, errors.Join(os.Mkdir(tree, 0o700), plant(tree))
	})
	shared.chromium = sync.OnceValues(func() (context.Context, error) {
		ctx, cancel, err := launch(filepath.Join(dir, "profile"))
		if err == nil {
			stop = cancel
		}
		return ctx, err
	})
	return m.Run()
}
