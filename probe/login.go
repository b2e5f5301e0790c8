package probe

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rescind/rescind/probe/target"
)

// Login logs the first user in once, says what the session then holds, with all
// values masked, and logs out again if the description says how. It is for looking
// whether a description is right before a run; only its users, login and logout
// count.
func Login(ctx context.Context, t *target.Target, o Options) ([]Field, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	r := newRun(t, o.withDefaults(t))
	defer r.end(ctx)
	s, err := r.tryLogin(ctx, 0, t.Instances[0])
	if err != nil {
		return nil, fmt.Errorf("%s", r.secrets.mask(err.Error()))
	}
	var held []Field
	for _, name := range slices.Sorted(maps.Keys(s.vars)) {
		if own(name) {
			held = append(held, Field{name, masked(s.vars[name].Reveal())})
		}
	}
	for _, c := range s.jar.cookies {
		held = append(held, Field{fmt.Sprintf("cookie %q", c.name), masked(c.value)})
	}
	return held, nil
}
