package linear

import (
	"math"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestTheJudgeKnowsTheLaws gives it histories whose verdict is known.
func TestTheJudgeKnowsTheLaws(t *testing.T) {
	// did is an operation on session 0 from one moment to another.
	did := func(do doing, generation int, is verdict, tokens uint64, from, to int64) porcupine.Operation {
		return porcupine.Operation{
			Input: input{do: do, generation: generation, other: -1}, Output: output{is: is, tokens: tokens}, Call: from, Return: to,
		}
	}
	never := int64(math.MaxInt64)
	opened := did(login, 0, yes, 1, 0, 1)
	for name, c := range map[string]struct {
		history history
		law     string // "": nothing is wrong
	}{
		"a check after a logout":  {history{opened, did(end, 0, yes, 0, 2, 3), did(check, 0, yes, 0, 4, 5)}, "law 1"},
		"a check beside a logout": {history{opened, did(end, 0, yes, 0, 2, 5), did(check, 0, yes, 0, 3, 4), did(check, 0, no, 0, 6, 7)}, ""},
		"a logout without an answer, done at last": {history{
			opened, did(end, 0, unknown, 0, 2, never), did(check, 0, yes, 0, 3, 4), did(check, 0, no, 0, 5, 6)}, ""},
		"a logout without an answer, done and undone": {history{
			opened, did(end, 0, unknown, 0, 2, never), did(check, 0, no, 0, 3, 4), did(check, 0, yes, 0, 5, 6)}, "law 3"},
		"a token that nobody ended is called bad": {history{opened, did(check, 0, no, 0, 2, 3)}, "law 4"},
		"a token that was not handed out yet":     {history{opened, did(check, 1, yes, 0, 2, 3)}, "law 2"},
		"two successors":                          {history{opened, did(refresh, 0, yes, 2, 2, 5), did(refresh, 0, yes, 3, 3, 4)}, "law 5"},
		"the same successor twice":                {history{opened, did(refresh, 0, yes, 2, 2, 5), did(refresh, 0, yes, 2, 3, 4)}, ""},
		"reuse": {history{
			opened, did(refresh, 0, yes, 2, 2, 3), did(refresh, 1, yes, 3, 4, 5), did(refresh, 0, no, 0, 6, 7), did(check, 2, no, 0, 8, 9)}, ""},
		"reuse that ends nothing": {history{
			opened, did(refresh, 0, yes, 2, 2, 3), did(refresh, 1, yes, 3, 4, 5), did(refresh, 0, no, 0, 6, 7), did(check, 2, yes, 0, 8, 9)}, "law 3"},
		"a session that is not there": {history{opened, did(end, 0, no, 0, 2, 3)}, "durability"},
	} {
		t.Run(name, func(t *testing.T) {
			if says := c.history.judge(); (c.law == "") != (says == "") || !strings.HasPrefix(says, c.law) {
				t.Errorf("want %q, got %q", c.law, says)
			}
		})
	}
}
