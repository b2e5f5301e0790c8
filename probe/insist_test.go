package probe

import (
	"context"
	"testing"
	"time"
)

// A target that refuses now and then is not believed at the first refusal of a
// session that was to live on.
func TestASessionThatIsTakenAgainWasNotEnded(t *testing.T) {
	live := &answer{class: Alive}
	for name, c := range map[string]struct {
		answers []answer
		want    Class
		refused int
	}{
		"taken":             {[]answer{{class: Alive}}, Alive, 0},
		"refused by chance": {[]answer{{class: Dead, backed: true}, {class: Alive}}, Alive, 1},
		"ended":             {[]answer{{class: Dead, backed: true}}, Dead, 1 + again},
		"an outage":         {[]answer{{class: Unclear}}, Unclear, 0},
		"refused once":      {[]answer{{class: Unclear}, {class: Unclear}, {class: Unclear}, {class: Dead, backed: true}}, Unclear, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRun(t, "http://127.0.0.1:1")
			r.options.Sleep = func(context.Context, time.Duration) error { return nil }
			n := 0
			last, refused, err := r.insist(t.Context(), func() (*answer, error) {
				a := c.answers[min(n, len(c.answers)-1)]
				a.backing = live
				n++
				return &a, nil
			})
			if err != nil || proves(last) != c.want || refused != c.refused {
				t.Errorf("%s after %d refusals, %v", proves(last), refused, err)
			}
		})
	}
}
