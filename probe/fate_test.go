package probe

import (
	"slices"
	"testing"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// A fate is what the proven answers say, in their order.
func TestFateIsTheSequenceOfWhatWasProven(t *testing.T) {
	alive, dead, unbacked, unclear := answer{class: Alive}, answer{class: Dead, backed: true}, answer{class: Dead}, answer{class: Unclear}
	for name, test := range map[string]struct {
		answers []answer
		want    fate
	}{
		"nothing":                                    {nil, unknown},
		"always refused":                             {[]answer{dead, dead, dead}, refused},
		"refused, with a doubt":                      {[]answer{dead, unclear, dead}, refused},
		"refused, mostly in doubt":                   {[]answer{unbacked, unclear, dead}, unknown},
		"refused, and then nothing is known":         {[]answer{dead, dead, dead, unclear}, unknown},
		"refused, and nobody else was answered":      {[]answer{unbacked, unbacked, unbacked}, unknown},
		"no answers":                                 {[]answer{unclear, unclear}, unknown},
		"always alive":                               {[]answer{alive, alive}, survived},
		"alive, and then nothing is known":           {[]answer{alive, unclear, unclear}, survived},
		"alive, then refused":                        {[]answer{alive, alive, dead}, late},
		"alive, then refused without backing":        {[]answer{alive, unbacked}, survived},
		"refused, then alive":                        {[]answer{dead, dead, alive}, revived},
		"refused without backing, then alive":        {[]answer{unbacked, alive}, survived},
		"back and forth":                             {[]answer{alive, dead, alive}, flapping},
		"back and forth, ending with a refusal":      {[]answer{dead, alive, dead}, flapping},
		"alive at the beginning, doubt, and refused": {[]answer{alive, unclear, dead}, late},
	} {
		t.Run(name, func(t *testing.T) {
			l := &life{route: newRoute(&target.Request{Line: "GET /me"}, "http://a.test"), ended: time.Now()}
			for i, a := range test.answers {
				a.began = l.ended.Add(time.Duration(i) * time.Second)
				l.answers = append(l.answers, &a)
			}
			if got := l.fate(); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
			if l.route.pulse.asked.Add(4); test.want == refused {
				l.route.pulse.failed.Add(1)
				if l.fate() != unknown {
					t.Error("refused on a route that fails one control in four")
				}
			}
		})
	}
}

// An artefact that one route refuses and takes again is not dead late on another one,
// where luck would have it so; nor do the routes disagree. One on its own is.
func TestLuckIsNoLateDeath(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1")
	ended := time.Now()
	made := func(line string, classes ...Class) *life {
		l := &life{route: newRoute(&target.Request{Line: target.Template(line)}, "http://a.test"), ended: ended}
		l.artefact.name, l.artefact.session, l.artefact.kind = "access token", "ada#1", AccessToken
		for i, class := range classes {
			l.answers = append(l.answers, &answer{request: request{url: l.route.base()}, class: class, backed: true, began: ended.Add(time.Duration(i) * time.Second)})
		}
		return l
	}
	late, flaps, dead := made("GET /a", Alive, Dead), made("GET /b", Alive, Dead, Alive), made("GET /c", Dead, Dead)
	for name, test := range map[string]struct {
		lives       []*life
		late, route Verdict
		alive       Verdict
	}{
		"late":                {[]*life{late, dead}, Finding, Pass, Pass},
		"luck":                {[]*life{late, flaps}, Pass, NotApplicable, Finding},
		"luck, and a refusal": {[]*life{dead, flaps}, Pass, NotApplicable, Finding},
	} {
		o := &observation{run: r, lives: test.lives}
		if got := o.lateness(); got.Verdict != test.late {
			t.Errorf("%s: late: %s, %s", name, got.Verdict, got.Says)
		}
		if got := o.alive("access-token-alive-after-logout", "access token", test.lives); got.Verdict != test.alive {
			t.Errorf("%s: alive: %s, %s%s", name, got.Verdict, got.Says, got.Reason)
		}
		for _, got := range o.patterns() {
			if got.Check == "route-disagrees" && got.Verdict != test.route {
				t.Errorf("%s: routes: %s, %s%s", name, got.Verdict, got.Says, got.Reason)
			}
		}
	}
}

// The times of a life in a report: only what was begun after the end counts, and
// only refusals that are backed.
func TestTimesOfALife(t *testing.T) {
	at := func(seconds int, class Class, backed bool) Answer {
		return Answer{After: time.Duration(seconds) * time.Second, Class: class, Backed: backed}
	}
	life := Life{Answers: []Answer{at(-1, Alive, false), at(0, Alive, false), at(1, Dead, false), at(2, Dead, true), at(5, Dead, true)}}
	if last, is := life.LastAlive(); !is || last != 0 {
		t.Errorf("last alive at %s, %t", last, is)
	}
	if first, is := life.FirstDead(); !is || first != 2*time.Second {
		t.Errorf("first dead at %s, %t", first, is)
	}
	if life.Revived() {
		t.Error("it did not revive")
	}
	life.Answers = append(life.Answers, at(9, Alive, false))
	if _, is := life.FirstDead(); is || !life.Revived() {
		t.Error("it revived")
	}
	life.Answers = life.Answers[:1]
	if _, is := life.LastAlive(); is {
		t.Error("a control before the end counts")
	}
}

// What has expired, or is about to, is not looked at: its refusal would prove
// nothing.
func TestExpiredArtefactsAreNotLookedAt(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1")
	ended := time.Now()
	for name, test := range map[string]struct {
		left    time.Duration // from the end to its expiry
		patient bool
		want    []time.Duration
	}{
		"long ago":                {left: -time.Hour},
		"long ago, with patience": {left: -time.Hour, patient: true},
		"now":                     {left: 0, patient: true},
		"soon":                    {left: 4 * time.Second, want: []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}},
		"soon, with patience":     {left: 4 * time.Second, patient: true, want: []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 2 * time.Second}},
		"later":                   {left: time.Hour, want: []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}},
		"beyond, with patience":   {left: 48 * time.Hour, patient: true, want: []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second}},
		"a minute, with patience": {left: 22 * time.Second, patient: true, want: []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &life{ended: ended}
			l.artefact.born, l.artefact.expires = ended.Add(-time.Hour), ended.Add(test.left)
			r.options.Patient = test.patient
			if got := r.schedule(l, nil, 30*time.Second); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
