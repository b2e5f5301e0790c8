package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/store"
)

// demoTime bounds the whole demonstration; it needs a few seconds of it.
const demoTime = 90 * time.Second

// story is one run of the demonstration.
type story struct {
	binary string // this program, to start the server with
	env    []string
	wrap   func(guard.Checker) guard.Checker // what a test plants; nil: nothing
	tell   func(step)

	store    store.URL      // empty: a fresh folder
	settings []string       // of the server
	secret   rescind.Secret // of the client app, on a shared store

	folder  string
	server  *child
	app     *application
	guarded *protected
	flawed  *protected
	steps   []step
}

// step is one thing that was done and what came of it.
type step struct {
	Number   int    `json:"number"`
	Chapter  string `json:"chapter"`
	Text     string `json:"text"`
	Request  string `json:"request"`
	Status   int    `json:"status"`
	Error    string `json:"error,omitempty"` // of OAuth, as in invalid_grant
	Promised int    `json:"promised"`
	Why      string `json:"why,omitempty"`
	Kept     bool   `json:"kept"`
}

func (c *cli) demoCommand() *cobra.Command {
	var on string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the flaw and its cure in one run, in a few seconds",
		Long: `Show the flaw and its cure in one run. It starts a real server on a fresh store and two small
APIs: one that only verifies the signature of a token, as most do, and one that asks Rescind. Then it
logs in, logs out, and tries the old tokens again, also after the server was killed and restarted.

It prints each step with its HTTP status, and exits with 0 only if every step came out as promised.
It needs no network, and nothing is left behind. With --store, or RESCIND_DEMO_STORE where the
URL holds a password, the ledger lies in an empty database of yours, and stays there.`,
		Example: "  rescind demo\n  rescind demo --json\n  rescind demo --store redis://127.0.0.1:6379/5",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return unavailablef("demo: %w", err)
			}
			if text, _ := c.env("RESCIND_DEMO_STORE"); !cmd.Flags().Changed("store") {
				on = text
			}
			return c.demo(cmd.Context(), &story{binary: binary, env: os.Environ(), store: store.URL(on)})
		},
	}
	cmd.Flags().StringVar(&on, "store", "", "keep the ledger there instead of in a fresh folder, as in postgres://… [RESCIND_DEMO_STORE]")
	return cmd
}

// demo runs a story and judges it.
func (c *cli) demo(ctx context.Context, s *story) error {
	if !c.out.json {
		if err := c.out.printf("%s\n", c.out.paint(bold, "Rescind: logout that really ends access.")); err != nil {
			return err
		}
		chapter := ""
		s.tell = func(st step) {
			if st.Chapter != chapter {
				chapter = st.Chapter
				_ = c.out.printf("\n%s\n", chapter) // a lost line shows in the count of steps
			}
			c.showStep(st)
		}
	}
	bounded, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	started := time.Now()
	err := s.run(bounded)
	broken := 0
	for _, st := range s.steps {
		if !st.Kept {
			broken++
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return refusedf("the demonstration could not be finished: %w", err)
	}
	if c.out.json {
		if err := c.out.emit(map[string]any{"kept": broken == 0, "broken": broken, "steps": s.steps}); err != nil {
			return err
		}
	}
	if broken > 0 {
		return refusedf("%d of %d steps did not come out as promised: see above", broken, len(s.steps))
	}
	if c.out.json {
		return nil
	}
	return c.out.printf("\n%s %d of %d steps came out as promised, in %.1f seconds. Nothing was left behind.\n",
		c.out.paint(green, "All good:"), len(s.steps), len(s.steps), time.Since(started).Seconds())
}

func (c *cli) showStep(st step) {
	mark, status := c.out.paint(green, "ok "), fmt.Sprint(st.Status)
	if st.Error != "" {
		status += " " + st.Error
	}
	if !st.Kept {
		mark = c.out.paint(red, "NO ")
		status += fmt.Sprintf(", but %d was promised", st.Promised)
	}
	// Printing is for the reader; whether promises were kept is counted elsewhere.
	_ = c.out.printf("%s%2d  %s\n        %s → %s\n", mark, st.Number, st.Text, c.out.paint(faint, st.Request), c.out.paint(bold, status))
	if st.Why != "" {
		for _, line := range wrap(st.Why, 88) {
			_ = c.out.printf("        %s\n", line)
		}
	}
}

// expect records a step.
func (s *story) expect(chapter, text string, got answer, promised int, why string) {
	st := step{
		Number: len(s.steps) + 1, Chapter: chapter, Text: text, Request: got.request, Status: got.status,
		Error: got.oauth, Promised: promised, Why: why, Kept: got.status == promised,
	}
	if promised == 400 { // a refused refresh says so in the words of the standard
		st.Kept = st.Kept && got.oauth == "invalid_grant"
	}
	s.steps = append(s.steps, st)
	if s.tell != nil {
		s.tell(st)
	}
}

// run tells the story. The error says what kept it from going on; promises that
// were not kept stand in the steps.
func (s *story) run(ctx context.Context) (err error) {
	if s.folder, err = os.MkdirTemp("", "rescind-demo-"); err != nil {
		return err
	}
	defer func() {
		if s.guarded != nil {
			s.guarded.close()
		}
		if s.flawed != nil {
			s.flawed.close()
		}
		if s.server != nil {
			s.server.kill()
		}
		err = errors.Join(err, os.RemoveAll(s.folder))
	}()
	s.settle()
	if err := s.begin(ctx); err != nil {
		return err
	}
	laptop, phone, err := s.logins(ctx)
	if err != nil {
		return err
	}
	if err := s.logout(ctx, laptop, phone); err != nil {
		return err
	}
	if err := s.theft(ctx, phone); err != nil {
		return err
	}
	return s.kill(ctx, laptop, phone)
}

func (s *story) start(ctx context.Context, listen string) error {
	var err error
	if s.server, err = startChild(ctx, s.binary, s.env, s.settings, listen); err != nil {
		return err
	}
	if s.secret != "" {
		s.server.secret = s.secret
	}
	return nil
}

// settle says how the server is to be started, each time the same.
func (s *story) settle() {
	if s.store == "" {
		s.settings = []string{"RESCIND_STORE=pebble:" + filepath.Join(s.folder, "data")}
		return
	}
	s.secret = rescind.NewSecret()
	s.settings = []string{
		"RESCIND_STORE=" + string(s.store), "RESCIND_WITNESS_FILE=" + filepath.Join(s.folder, "witness.json"),
		"RESCIND_MASTER_KEY=" + newMaster(), "RESCIND_ADMIN_SECRET=" + rescind.NewSecret().Reveal(), "RESCIND_APP_SECRET=" + s.secret.Reveal(),
	}
}

// newMaster returns a master key for a ledger that nobody needs afterwards.
func newMaster() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(key[:])
}

func (s *story) begin(ctx context.Context) error {
	if err := s.start(ctx, "127.0.0.1:0"); err != nil {
		return err
	}
	s.app = newApplication(s.server)
	checker, err := s.app.checker()
	if err != nil {
		return err
	}
	var asked guard.Checker = checker
	if s.wrap != nil {
		asked = s.wrap(asked)
	}
	if s.guarded, err = serveGuarded(ctx, asked); err != nil {
		return err
	}
	if s.flawed, err = s.app.serveFlawed(ctx); err != nil {
		return err
	}
	ready, err := s.app.get(ctx, s.app.server+"/readyz", "")
	if err != nil {
		return err
	}
	s.expect("The stage", "A Rescind server starts on a fresh store, and two small APIs beside it.", ready, 200,
		"Both APIs verify a token's signature, issuer, audience and expiry. API A stops there, as many do. API B is behind Rescind's guard, which also asks whether the token still stands.")
	return nil
}

// device is a session as its device holds it.
type device struct {
	name    string
	access  []string // oldest first
	refresh []string
}

func (d *device) latest() string { return d.access[len(d.access)-1] }

func (s *story) logins(ctx context.Context) (laptop, phone *device, err error) {
	const chapter = "Alice logs in twice"
	for _, name := range []string{"laptop", "phone"} {
		d := &device{name: name}
		got, err := s.app.login(ctx, d)
		if err != nil {
			return nil, nil, err
		}
		s.expect(chapter, "Alice logs in on her "+name+": one session, an access and a refresh token.", got, 201, "")
		if got.status != 201 {
			return nil, nil, errors.New("without a login there is nothing to show")
		}
		if name == "laptop" {
			laptop = d
		} else {
			phone = d
		}
	}
	if err := s.call(ctx, chapter, "Her laptop calls API A, which verifies signatures only.", s.flawed, laptop.latest(), 200, ""); err != nil {
		return nil, nil, err
	}
	if err := s.call(ctx, chapter, "Her laptop calls API B, which asks Rescind.", s.guarded, laptop.latest(), 200, ""); err != nil {
		return nil, nil, err
	}
	return laptop, phone, s.call(ctx, chapter, "Her phone calls API B.", s.guarded, phone.latest(), 200, "")
}

func (s *story) call(ctx context.Context, chapter, text string, api *protected, token string, promised int, why string) error {
	got, err := s.app.get(ctx, api.url+"/orders", token)
	if err != nil {
		return err
	}
	got.request = "GET " + api.name + "/orders"
	s.expect(chapter, text, got, promised, why)
	return nil
}

func (s *story) refresh(ctx context.Context, chapter, text, token string, promised int, why string) (tokens, error) {
	got, fresh, err := s.app.refresh(ctx, token)
	if err != nil {
		return fresh, err
	}
	s.expect(chapter, text, got, promised, why)
	return fresh, nil
}

func (s *story) logout(ctx context.Context, laptop, phone *device) error {
	chapter := "She logs out on the laptop"
	got, err := s.app.logout(ctx, laptop.latest())
	if err != nil {
		return err
	}
	s.expect(chapter, "Alice logs out on her laptop.", got, 200, "")
	chapter = "Somebody kept a copy of the laptop's tokens"
	if err := s.call(ctx, chapter, "The copied access token at API A.", s.flawed, laptop.latest(), 200,
		"This is the flaw: the signature is still good, so the token still works after logout."); err != nil {
		return err
	}
	if err := s.call(ctx, chapter, "The same token at API B.", s.guarded, laptop.latest(), 401,
		"This is the cure: the session has ended, and every check since then fails."); err != nil {
		return err
	}
	if _, err := s.refresh(ctx, chapter, "The laptop's refresh token, for a new access token.", laptop.refresh[0], 400,
		"A logout that left this one alive would be the same flaw again."); err != nil {
		return err
	}
	return s.call(ctx, chapter, "Alice's phone at API B: another session, and untouched.", s.guarded, phone.latest(), 200, "")
}

func (s *story) theft(ctx context.Context, phone *device) error {
	chapter := "Somebody steals a refresh token from the phone"
	for i, text := range []string{"The phone refreshes: new tokens, the old refresh token is spent.", "It refreshes once more."} {
		fresh, err := s.refresh(ctx, chapter, text, phone.refresh[i], 200, "")
		if err != nil {
			return err
		}
		if fresh.Access == "" {
			return errors.New("without new tokens the story cannot go on")
		}
		phone.access, phone.refresh = append(phone.access, fresh.Access.Reveal()), append(phone.refresh, fresh.Refresh.Reveal())
	}
	if err := s.call(ctx, chapter, "The phone's new access token at API B.", s.guarded, phone.latest(), 200, ""); err != nil {
		return err
	}
	if _, err := s.refresh(ctx, chapter, "A thief presents the phone's first refresh token.", phone.refresh[0], 400,
		"It was spent long ago, so two have it. Nobody knows which of them is Alice: the session ends."); err != nil {
		return err
	}
	if err := s.call(ctx, chapter, "The phone's newest access token at API B.", s.guarded, phone.latest(), 401,
		"Alice logs in again; the thief cannot."); err != nil {
		return err
	}
	_, err := s.refresh(ctx, chapter, "The phone's newest refresh token.", phone.refresh[2], 400, "")
	return err
}

func (s *story) kill(ctx context.Context, laptop, phone *device) error {
	chapter := "The server is killed in the middle of it (SIGKILL)"
	address := s.server.address
	s.server.kill()
	if err := s.call(ctx, chapter, "API B gets a token while the server is away.", s.guarded, phone.latest(), 503,
		"Neither yes, nor \"this token is bad\": nobody knows, so nobody gets in, and nobody has to log in again for it."); err != nil {
		return err
	}
	if err := s.start(ctx, address); err != nil {
		return err
	}
	chapter = "It starts again on the same data, and everything is tried once more"
	ready, err := s.app.get(ctx, s.app.server+"/readyz", "")
	if err != nil {
		return err
	}
	s.expect(chapter, "The server is back.", ready, 200, "")
	for _, d := range []*device{laptop, phone} {
		for i, token := range d.access {
			if err := s.call(ctx, chapter, fmt.Sprintf("Access token %d of the %s at API B.", i+1, d.name), s.guarded, token, 401, ""); err != nil {
				return err
			}
		}
		for i, token := range d.refresh {
			if _, err := s.refresh(ctx, chapter, fmt.Sprintf("Refresh token %d of the %s.", i+1, d.name), token, 400, ""); err != nil {
				return err
			}
		}
	}
	again := &device{name: "phone"}
	got, err := s.app.login(ctx, again)
	if err != nil {
		return err
	}
	s.expect(chapter, "Alice logs in again.", got, 201, "")
	if got.status != 201 {
		return nil // the step says it
	}
	return s.call(ctx, chapter, "Her new access token at API B.", s.guarded, again.latest(), 200, "What has ended stays ended; everything else goes on.")
}
