package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
)

// A job is what an example of CI runs, in either language.
type job struct {
	commands []string // in order
	env      []string // of the probe: names that are given to it
	results  []string // files that are handed on afterwards
	always   bool     // they are, also when a command has failed
	tolerate int      // exit code that is a warning only; 0 for none
}

var secretName = regexp.MustCompile(`^\$\{\{ secrets\.([A-Z_]+) \}\}$`)

// github reads a workflow. Whatever the example does not use is an error, so that
// nothing in it goes unseen.
func github(t *testing.T, text []byte) job {
	t.Helper()
	var workflow struct {
		Name        string
		On          any
		Permissions map[string]string
		Jobs        map[string]struct {
			RunsOn         string `yaml:"runs-on"`
			TimeoutMinutes int    `yaml:"timeout-minutes"`
			Steps          []struct {
				Name, Uses, Run, If string
				With                map[string]any
				Env                 map[string]string
			}
		}
	}
	strict(t, text, &workflow)
	if workflow.Permissions["security-events"] != "write" || workflow.Permissions["contents"] != "read" || len(workflow.Jobs) != 1 {
		t.Errorf("permissions %v, %d jobs", workflow.Permissions, len(workflow.Jobs))
	}
	out := job{always: true}
	for _, j := range workflow.Jobs {
		for _, step := range j.Steps {
			if (step.Uses == "") == (step.Run == "") {
				t.Errorf("the step %+v does not do one thing", step)
			}
			if step.Uses != "" && !regexp.MustCompile(`^[\w-]+/[\w-]+(/[\w-]+)?@v[0-9]+$`).MatchString(step.Uses) {
				t.Errorf("%s has no version", step.Uses)
			}
			if step.Run != "" {
				out.commands = append(out.commands, step.Run)
			}
			for name, value := range step.Env {
				if match := secretName.FindStringSubmatch(value); match == nil || match[1] != name {
					t.Errorf("%s is %q", name, value)
				}
				out.env = append(out.env, name)
			}
			for _, key := range []string{"sarif_file", "path"} {
				if file, ok := step.With[key].(string); ok {
					out.results = append(out.results, file)
					out.always = out.always && strings.Contains(step.If, "!cancelled()")
				}
			}
		}
	}
	return out
}

// gitlab reads a configuration of one job.
func gitlab(t *testing.T, text []byte) job {
	t.Helper()
	var jobs map[string]struct {
		Stage, Image, Timeout string
		Variables             map[string]string
		Services              []struct{ Name, Alias string }
		Script                []string
		AllowFailure          struct {
			ExitCodes int `yaml:"exit_codes"`
		} `yaml:"allow_failure"`
		Artifacts struct {
			When    string
			Reports map[string]string
			Paths   []string
		}
	}
	strict(t, text, &jobs)
	out := job{env: []string{"ADA_PASSWORD", "ALAN_PASSWORD"}}
	for _, j := range jobs {
		out.commands, out.tolerate, out.always = j.Script, j.AllowFailure.ExitCodes, j.Artifacts.When == "always"
		out.results = append([]string{j.Artifacts.Reports["junit"]}, j.Artifacts.Paths...)
		for _, service := range j.Services {
			if !strings.Contains(j.Variables["NOTES_URL"], "//"+service.Alias+":") {
				t.Errorf("%v does not lead to the service %q", j.Variables, service.Alias)
			}
		}
	}
	return out
}

func strict(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions(text, into, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
}

// testCI runs the commands of the examples against an application whose logout
// works, one whose logout does not, and one that is down, and looks for what they
// hand on.
func testCI(t *testing.T, r *runner) {
	for file, read := range map[string]func(*testing.T, []byte) job{"github.yml": github, "gitlab.yml": gitlab} {
		text, err := os.ReadFile(filepath.Join(root, "examples", "ci", file))
		if err != nil {
			t.Fatal(err)
		}
		j := read(t, text)
		if len(j.commands) == 0 || len(j.results) < 2 || !j.always {
			t.Errorf("%s: %+v", file, j)
		}
		for state, want := range map[string]int{"cured": 0, "broken": 1, "down": 3} {
			t.Run(file+"/"+state, func(t *testing.T) {
				t.Parallel()
				code, dir := runJob(t, r, j, state)
				if code != want {
					t.Errorf("exit code %d, want %d", code, want)
				}
				if state == "down" && j.tolerate != 0 && j.tolerate != code {
					t.Errorf("%d is said to be inconclusive", j.tolerate)
				}
				for _, result := range j.results {
					if info, err := os.Stat(filepath.Join(dir, result)); err != nil || info.Size() < 500 {
						t.Errorf("%s is not there: %v", result, err)
					}
				}
			})
		}
	}
}

// runJob runs the commands of a job as a runner of CI does, the first failure being
// the last command, in a folder with a description. What installs and starts
// things there is replaced by what is there.
func runJob(t *testing.T, r *runner, j job, state string) (int, string) {
	t.Helper()
	dir, app := t.TempDir(), httptest.NewServer(notes(state))
	t.Cleanup(app.Close)
	stubs := filepath.Join(dir, "stubs")
	files := map[string]string{
		"probe.yaml": strings.Join([]string{
			`instances: ["${NOTES_URL}"]`,
			`users: [{name: ada, password: "${ADA_PASSWORD}"}, {name: alan, password: "${ALAN_PASSWORD}"}]`,
			`login: {request: POST /login, json: {user: "{{user.name}}", password: "{{user.password}}"}}`,
			"protected: [GET /api/me]", "logout: POST /logout", "delays: [0s, 50ms]",
		}, "\n"),
		"stubs/go":     "#!/bin/sh\n[ \"$*\" = 'install github.com/rescind/rescind/cmd/rescind@latest' ]\n",
		"stubs/docker": "#!/bin/sh\n[ \"$*\" = 'compose up --detach --wait' ]\n",
	}
	if err := os.Mkdir(stubs, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := environment("PATH="+strings.Join([]string{stubs, filepath.Join(r.dir, "bin"), os.Getenv("PATH")}, ":"), "CI=true", "NOTES_URL="+app.URL)
	for _, name := range j.env {
		env = append(env, name+"=pass-"+name)
	}
	for _, command := range j.commands {
		cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", command)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			t.Logf("%s\n%s", command, out)
			return exit.ExitCode(), dir
		case err != nil:
			t.Fatal(err)
		}
	}
	return 0, dir
}

// notes is an application with sessions in memory: its logout works, or does not,
// or it answers nothing but 503.
func notes(state string) http.Handler {
	var mu sync.Mutex
	sessions, issued := map[string]string{}, 0
	mux := http.NewServeMux()
	bearer := func(q *http.Request) string { return strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ") }
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, q *http.Request) {
		var in struct{ User, Password string }
		if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, 1<<10)).Decode(&in); err != nil || in.Password != "pass-"+strings.ToUpper(in.User)+"_PASSWORD" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		issued++
		token := fmt.Sprintf("token-of-nobody-else-%08d", issued)
		sessions[token] = in.User
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 300}) // who hung up does not need it
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if state == "cured" {
			delete(sessions, bearer(q))
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /api/me", func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Cache-Control", "no-store")
		user, ok := sessions[bearer(q)]
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"user": user}) // as above
	})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if state == "down" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, q)
	})
}
