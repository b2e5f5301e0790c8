package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind/tests/need"
)

// flask runs under gunicorn, which makes the workers.
func flask() Framework {
	return Framework{
		Name: "flask", File: "app.py", BrokenOnly: []string{"tokens.py"},
		Processes: 1, Workers: 4,
		Passes: Passes{Access: true, Refresh: true, Device: true, Everywhere: true},
		Needs:  func(t testing.TB) { need.That(t, "PYTHON", "the examples for Flask", absentPython) },
		Command: func(t testing.TB, tree, form string) *exec.Cmd {
			c := exec.Command(python(), "-m", "gunicorn", "app:app")
			c.Dir = filepath.Join(tree, "examples", "flask", form)
			c.Env = []string{
				"PYTHONPATH=" + filepath.Join(tree, "sdk", "python", "src"), "PYTHONDONTWRITEBYTECODE=1",
				"GUNICORN_CMD_ARGS=--config ../gunicorn.conf.py",
			}
			return c
		},
	}
}

// python is the interpreter that tests/sdk takes too.
func python() string {
	if p := os.Getenv("RESCIND_PYTHON"); p != "" {
		return p
	}
	return "/usr/bin/python3"
}

func absentPython() string {
	const find = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
	var absent []string
	for _, module := range []string{"flask", "flask_jwt_extended", "gunicorn"} {
		if exec.Command(python(), "-c", find, module).Run() != nil {
			absent = append(absent, "the module "+module)
		}
	}
	return strings.Join(absent, ", ")
}
