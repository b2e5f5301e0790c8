package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// counted is a store that counts its calls, whatever method they are of.
func counted(t *testing.T) (rescind.Store, *int) {
	k, n := newClock(), new(int)
	o := newOracle(k.now)
	t.Cleanup(func() { _ = o.Close() })
	inner := NewFaulty(o, func(string, int) Fault { *n++; return NoFault })
	return inner, n
}

// call calls a method of a store by its name, with arguments that are zero, and
// returns its error.
func call(ctx context.Context, s rescind.Store, method string) error {
	m := reflect.ValueOf(s).MethodByName(method)
	args := make([]reflect.Value, m.Type().NumIn())
	for i := range args {
		if args[i] = reflect.Zero(m.Type().In(i)); args[i].Type() == reflect.TypeFor[context.Context]() {
			args[i] = reflect.ValueOf(ctx)
		}
	}
	out := m.Call(args)
	err, _ := out[len(out)-1].Interface().(error)
	return err
}

// TestEveryMethodHasFaults goes through the methods of the interface, so that a
// method which is added cannot be forgotten.
func TestEveryMethodHasFaults(t *testing.T) {
	methods := Methods()
	if n := reflect.TypeFor[rescind.Store]().NumMethod(); len(methods) != n-1 || slices.Contains(methods, "Now") {
		t.Fatalf("of the %d methods of a store all but Now return an error; Methods has %q", n, methods)
	}
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			s, reached := counted(t)
			f := NewFaulty(s, nil)
			if err := call(t.Context(), f, method); errors.Is(err, rescind.ErrUnavailable) || *reached != 1 {
				t.Fatalf("without a fault the store got %d calls and returned %v", *reached, err)
			}
			for fault, want := range map[Fault]int{FailBefore: 0, FailAfter: 1, Hang: 0, HangAfter: 1} {
				*reached = 0
				f.Follow(Always(method, fault))
				ctx, end := context.WithTimeout(t.Context(), 5*time.Millisecond)
				err := call(ctx, f, method)
				end()
				if !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrConflict) {
					t.Errorf("fault %d: error %v", fault, err)
				}
				if *reached != want || f.Calls(method) != 1 {
					t.Errorf("fault %d: the store got %d calls, want %d", fault, *reached, want)
				}
			}
			for _, other := range methods {
				if other != method {
					*reached = 0
					f.Follow(Always(other, FailBefore))
					_ = call(t.Context(), f, method) // what it returns is the store's affair
					if *reached != 1 {
						t.Errorf("a fault of %s befell %s", other, method)
					}
				}
			}
			f.Follow(Nth(method, 1, FailBefore))
			*reached = 0
			for range 3 {
				_ = call(t.Context(), f, method) // counted below
			}
			if *reached != 2 || f.Calls(method) != 3 {
				t.Errorf("with a fault of the second call only, the store got %d of 3 calls", *reached)
			}
		})
	}
}

// TestFaultsLeaveWhatTheySay: a step that failed after it was taken is there,
// and repeating an ending is harmless.
func TestFaultsLeaveWhatTheySay(t *testing.T) {
	k := newClock()
	f := NewFaulty(newOracle(k.now), nil)
	c := newTrial(t, k, Instance{Store: f})
	s := c.created("ann", "web")
	for fault, over := range map[Fault]bool{FailBefore: false, FailAfter: true} {
		s := c.created("ann", "web")
		f.Follow(Nth("End", 0, fault))
		if _, err := f.End(t.Context(), c.ending(s)); !errors.Is(err, rescind.ErrUnavailable) {
			t.Fatalf("End with fault %d: %v", fault, err)
		}
		if got := !stands(c.lookup(s.ID)); got != over {
			t.Fatalf("after fault %d the session is over: %t", fault, got)
		}
		if got := c.end(s); got.Changed == over {
			t.Fatalf("after fault %d the repeated End changed something: %t", fault, got.Changed)
		}
		c.mustBeOver("after the repeated End", s.ID)
	}
	c.mustStand("another session", s.ID)
}

// TestSuitePassesThroughFaulty: without a fault it is the store that it wraps.
func TestSuitePassesThroughFaulty(t *testing.T) {
	Run(t, func(_ testing.TB, now func() time.Time) Instance {
		x := NewOracle(now)
		restart := x.Restart
		x.Store = NewFaulty(x.Store, nil)
		x.Restart = func() rescind.Store { return NewFaulty(restart(), nil) }
		return x
	})
}
