package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
)

func nestjs() Framework {
	return Framework{
		Name: "nestjs", File: "main.ts", BrokenOnly: []string{"tokens.ts"},
		Processes: 1, Workers: 4,
		Passes: Passes{Access: true, Refresh: true, Device: true, Everywhere: true},
		Needs:  func(t testing.TB) { need.Commands(t, "NODE", "the examples for Node", "node", "npm") },
		Command: func(t testing.TB, tree, form string) *exec.Cmd {
			folder := filepath.Join(tree, "examples", "nestjs")
			installNode(t, tree, "nestjs")
			shared.once("tsc nestjs", func() {
				// Nest tells its exceptions by their class: a linked package would find,
				// from where it really lies, a Nest of its own or none.
				ours := filepath.Join(folder, "node_modules", "@rescind", "node")
				if err := os.Remove(ours); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(ours, os.DirFS(filepath.Join(tree, "sdk", "node"))); err != nil {
					t.Fatal(err)
				}
				npm.Run(t, folder, nil, "node", filepath.Join(folder, "node_modules", "typescript", "bin", "tsc"))
			})
			c := exec.Command("node", filepath.Join("dist", form, "main.js"))
			c.Dir = folder
			return c
		},
	}
}
