package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
)

// sdkTokens is how many sessions there are, and recipes' tokens: they are shown in
// turn.
const sdkTokens = 500

// rig is everything that runs while the packages are measured.
type rig struct {
	dir          string
	applications []application
	software     []string

	running []*exec.Cmd
	secret  string // of our clients and of the recipes
	python  string
	tokens  map[string][]string
	dead    map[string]string // a token of each kind that has been logged out
	url     string
	redis   string // its port
}

// start builds and starts everything. Stop is due whatever it returns.
func (r *rig) start(ctx context.Context) error {
	r.secret = rand.Text() + rand.Text()
	r.python = "/usr/bin/python3" // which has the packages that apt-get installs
	if p := os.Getenv("RESCIND_PYTHON"); p != "" {
		r.python = p
	}
	r.tokens, r.dead = map[string][]string{"": {""}}, map[string]string{}
	r.applications = slices.Clone(applications)
	for _, step := range []func(context.Context) error{r.build, r.describe, r.startRescind, r.startRedis, r.signClassic} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for i := range r.applications {
		if err := r.startApplication(ctx, &r.applications[i]); err != nil {
			return fmt.Errorf("%s, %s: %w", r.applications[i].Framework, r.applications[i].Name, err)
		}
	}
	return nil
}

// stop ends what start has started, the last first.
func (r *rig) stop() error {
	var errs []error
	for _, c := range slices.Backward(r.running) {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		var code *exec.ExitError
		if err := c.Wait(); err != nil && !errors.As(err, &code) { // it was told to end
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// build makes the server as it ships, and the package for Node from its sources.
func (r *rig) build(ctx context.Context) error {
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(r.dir, "rescind"), "./cmd/rescind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	steps := []*exec.Cmd{build}
	node := filepath.Join("sdk", "node")
	if _, err := os.Stat(filepath.Join(node, "node_modules")); err != nil {
		install := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		install.Dir = node
		steps = append(steps, install)
	}
	steps = append(steps, exec.CommandContext(ctx, "node", filepath.Join(node, "build.mjs")))
	for _, c := range steps {
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", c, err, out)
		}
	}
	return nil
}

// describe asks for versions.
func (r *rig) describe(ctx context.Context) error {
	const python = "import sys; from importlib.metadata import version as v; " +
		"print('Python', sys.version.split()[0] + ', Flask', v('flask') + ', gunicorn', v('gunicorn') + ', flask-jwt-extended', v('flask-jwt-extended'))"
	const node = "const v = n => JSON.parse(require('fs').readFileSync('sdk/node/node_modules/' + n + '/package.json')).version; " +
		"console.log('Node', process.version + ', Express', v('express') + ', express-jwt', v('express-jwt') + ', ioredis', v('ioredis'))"
	for _, c := range []*exec.Cmd{
		exec.CommandContext(ctx, "node", "-e", node), exec.CommandContext(ctx, r.python, "-c", python), exec.CommandContext(ctx, "redis-server", "--version"),
	} {
		out, err := c.Output()
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		line := string(bytes.TrimSpace(out))
		if rest, ok := strings.CutPrefix(line, "Redis server v="); ok {
			line = "Redis " + strings.Fields(rest)[0]
		}
		r.software = append(r.software, line)
	}
	return nil
}

// startRescind starts the server with two clients, whose access tokens are JWTs
// and opaque ones, and logs everybody in.
func (r *rig) startRescind(ctx context.Context) error {
	const configuration = "listen: 127.0.0.1:0\nstore: pebble:./ledger\nlog: {level: error}\nlifetimes: {access_token: 1h}\nclients:\n" +
		"  - {id: jwt, roles: [issue, introspect], secret_env: BENCH_SECRET}\n" +
		"  - {id: opaque, roles: [issue, introspect], secret_env: BENCH_SECRET, access_token_format: opaque}\n"
	if err := os.WriteFile(filepath.Join(r.dir, "rescind.yaml"), []byte(configuration), 0o600); err != nil {
		return err
	}
	c := exec.Command(filepath.Join(r.dir, "rescind"), "serve", "--config", "rescind.yaml")
	c.Dir, c.Env = r.dir, append(os.Environ(), "BENCH_SECRET="+r.secret)
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.run(c); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); r.url == "" && lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), "rescind is ready at "); ok {
			r.url = url
		}
	}
	if r.url == "" {
		return fmt.Errorf("rescind does not start: %s", problems.String())
	}
	for _, id := range []string{"jwt", "opaque"} {
		ours, err := client.New(client.Options{Server: r.url, ID: id, Secret: rescind.Secret(r.secret)})
		if err != nil {
			return err
		}
		for n := range sdkTokens {
			grant, err := ours.Issue(ctx, rescind.Login{Subject: "user" + strconv.Itoa(n)})
			if err != nil {
				return err
			}
			r.tokens[id] = append(r.tokens[id], grant.AccessToken.Reveal())
		}
		grant, err := ours.Issue(ctx, rescind.Login{Subject: "nobody"})
		if err != nil {
			return err
		}
		if _, err := ours.Logout(ctx, grant.AccessToken.Reveal(), false); err != nil {
			return err
		}
		r.dead[id] = grant.AccessToken.Reveal()
	}
	return nil
}

// startRedis starts one that writes nothing to the disk: what it answers it has in
// memory, and nobody writes.
func (r *rig) startRedis(context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	r.redis = port
	c := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	c.Dir = r.dir
	if err := r.run(c); err != nil {
		return err
	}
	return answering("127.0.0.1:" + port)
}

// signClassic makes tokens as both recipes do, and puts the id of one more onto
// their list.
func (r *rig) signClassic(context.Context) error {
	now := time.Now()
	var last string
	for n := range sdkTokens + 1 {
		last = rand.Text()
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "user" + strconv.Itoa(n), "jti": last, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			"type": "access", "fresh": false, // for flask-jwt-extended
		}).SignedString([]byte(r.secret))
		if err != nil {
			return err
		}
		r.tokens["hs256"] = append(r.tokens["hs256"], token)
	}
	r.dead["hs256"], r.tokens["hs256"] = r.tokens["hs256"][sdkTokens], r.tokens["hs256"][:sdkTokens]
	c, err := net.Dial("tcp", "127.0.0.1:"+r.redis)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "SET revoked:%s 1\r\n", last); err != nil {
		return err
	}
	if said, err := bufio.NewReader(c).ReadString('\n'); err != nil || said != "+OK\r\n" {
		return fmt.Errorf("redis: %q %v", said, err)
	}
	return nil
}

// works reports an error unless an application lets those in who are logged in,
// and nobody else: what is measured does what it is measured for.
func (r *rig) works(a *application) error {
	good := r.tokens[a.token][0]
	cases := map[string]int{good: http.StatusOK}
	if a.token != "" {
		cases[""], cases[r.dead[a.token]], cases[good+"x"] = http.StatusUnauthorized, http.StatusUnauthorized, http.StatusUnauthorized
	}
	if a.kind == "recipe" {
		cases[good+"x"] = http.StatusUnprocessableEntity // that library's word for it
	}
	for token, want := range cases {
		q, err := http.NewRequest("GET", "http://"+a.addr+"/", nil)
		if err != nil {
			return err
		}
		q.Close = true
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		if err := answer.Body.Close(); err != nil {
			return err
		}
		if answer.StatusCode != want {
			return fmt.Errorf("it answers %d, and should %d", answer.StatusCode, want)
		}
	}
	return nil
}

// startApplication starts one, and writes down what it is asked.
func (r *rig) startApplication(_ context.Context, a *application) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	a.addr = "127.0.0.1:" + port
	var c *exec.Cmd
	switch a.Framework {
	case "Express":
		c = exec.Command("node", "bench.mjs")
		c.Dir = filepath.Join("sdk", "node")
	case "Flask":
		c = exec.Command(r.python, "-m", "gunicorn", "--workers", "2", "--threads", "8", "--log-level", "error", "--bind", a.addr, "bench:app")
		c.Dir = filepath.Join("sdk", "python")
	}
	c.Env = append(os.Environ(), "APPLICATION="+a.kind, "PORT="+port, "NODE_ENV=production", "PYTHONPATH=src", "PYTHONDONTWRITEBYTECODE=1",
		"JWT_SECRET="+r.secret, "REDIS_PORT="+r.redis, "RESCIND_URL="+r.url, "RESCIND_CLIENT_ID="+a.token, "RESCIND_CLIENT_SECRET="+r.secret)
	log, err := os.Create(filepath.Join(r.dir, "log-"+port)) // express-jwt reports everybody whom it refuses
	if err != nil {
		return err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := r.run(c); err != nil {
		return err
	}
	a.pid = c.Process.Pid
	switch a.token {
	case "jwt", "opaque":
		a.asks = r.running[0].Process.Pid
	case "hs256":
		a.asks = r.running[1].Process.Pid
	}
	var file []byte
	for _, token := range r.tokens[a.token] {
		header := ""
		if token != "" {
			header = "Authorization: Bearer " + token + "\r\n"
		}
		file = appendRequest(file, fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", a.addr, header))
	}
	a.requests = filepath.Join(r.dir, "requests-"+port)
	if err := os.WriteFile(a.requests, file, 0o600); err != nil {
		return err
	}
	if err = answering(a.addr); err == nil {
		err = r.works(a)
	}
	if err != nil {
		said, readErr := os.ReadFile(log.Name())
		return errors.Join(fmt.Errorf("%w\n%s", err, said), readErr)
	}
	return nil
}

func (r *rig) run(c *exec.Cmd) error {
	if err := c.Start(); err != nil {
		return err
	}
	r.running = append(r.running, c)
	return nil
}

// answering returns when somebody accepts connections.
func answering(addr string) error {
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var c net.Conn
		if c, err = net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
	}
	return err
}

func freePort() (port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
