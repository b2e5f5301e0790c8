package targets

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind/tests/redis"
)

// TestPlantedFlawsShowByHand is the proof that each flaw is there, and that its twin has
// none: both work as long as nobody logs out.
func TestPlantedFlawsShowByHand(t *testing.T) {
	names := map[string]bool{}
	for _, p := range Plants() {
		if names[p.Name] || len(p.Finds)+len(p.Notes) == 0 {
			t.Errorf("%q is planted twice, or nobody finds it", p.Name)
		}
		names[p.Name] = true
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			for _, form := range []struct {
				name    string
				options Options
				shows   bool
			}{{"broken", p.Broken(), true}, {"twin", p.Sound, false}} {
				t.Run(form.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						form.options.Pipes = true
						a := Start(t, form.options)
						if p.Sound.Access == 0 {
							works(t, a)
						}
						if got := p.Shows(t, a); got != form.shows {
							t.Errorf("the flaw shows: %v, want %v", got, form.shows)
						}
					})
				})
			}
		})
	}
}

// works expects that users get in, and nobody else.
func works(t *testing.T, a *Notes) {
	t.Helper()
	ada, alan := a.Login(t, "ada"), a.Login(t, "alan")
	if !ada.Everywhere(t) || !alan.Everywhere(t) {
		t.Error("who has logged in is not in")
	}
	if (Visit{User: "ada", notes: a}).In(t) {
		t.Error("nobody is in")
	}
	ada.User = "alan"
	if ada.In(t) && !a.Answers.Empty {
		t.Error("ada is alan")
	}
}

// TestABlocklistInRedisFailsOpenOrClosed is the proof of the flaws that take a Redis.
func TestABlocklistInRedisFailsOpenOrClosed(t *testing.T) {
	for name, down := range map[string]func(*redis.Server){"killed": (*redis.Server).Kill, "frozen": (*redis.Server).Freeze} {
		for form, open := range map[string]bool{"broken": true, "twin": false} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				server := redis.Start(t)
				b := &Blocklist{Open: open}
				if err := b.Connect(server.Addr()); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(b.Redis.Close)
				a := Start(t, Options{Blocklist: b})
				works(t, a)
				before, v := a.Login(t, "ada"), a.Login(t, "ada")
				before.Logout(t)
				if before.In(t) {
					t.Error("it is not even read")
				}
				down(server)
				b.Silent.Store(true)
				if got := before.In(t); got != open {
					t.Errorf("who has logged out is in: %v, want %v", got, open)
				}
				said := v.Call(t, "POST", "/logout", nil)
				if got := said.Status == 204 && v.In(t); got != open {
					t.Errorf("%d; who logs out is in: %v, want %v", said.Status, got, open)
				}
				if name == "frozen" {
					server.Thaw()
					b.Silent.Store(false)
					for deadline := time.Now().Add(time.Minute); before.In(t); time.Sleep(10 * time.Millisecond) {
						if time.Now().After(deadline) {
							t.Fatal("it does not come back")
						}
					}
				}
			})
		}
	}
}
