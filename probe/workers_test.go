package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rescind/rescind/probe/target"
)

const accessAlive = "access-token-alive-after-logout"

// Of six workers behind one address one does not read the list of what has ended.
// Each connection goes to the next one: whichever the first is, it is found.
func TestOneOfSixWorkersIsFound(t *testing.T) {
	const workers = 6
	for first := range workers {
		for _, protected := range []string{"[GET /me]", "[GET /me, GET /notes, GET /files]"} {
			l := newLab(labFlaws{alive: func(_ *lab, _ *labSession, at int, _ string) bool { return at == 0 }})
			var r *Report
			synctest.Test(t, func(t *testing.T) {
				described, o := l.start(t, Options{Only: mine[:10]}, "protected: "+protected)
				described.Refresh = nil // its connections would be among those that are counted
				var listeners []*pipeListener
				for i := range workers {
					listeners = append(listeners, servePipes(t, l.handler(i)))
				}
				var n atomic.Int32
				o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
					return listeners[(first+int(n.Add(1)))%workers].dial(ctx)
				}
				var err error
				if r, err = Run(t.Context(), described, o); err != nil {
					t.Fatal(err)
				}
			})
			if got := verdict(r, accessAlive); got != Finding {
				t.Errorf("%s, first %d: %s\n%s", protected, first, got, describeResults(r))
			}
			if got := found(r); slices.Contains(got, "death-is-late") || slices.Contains(got, "route-disagrees") {
				t.Errorf("%s, first %d: what is a matter of luck is said to be one of time, or of the route: %q\n%s", protected, first, got, describeResults(r))
			}
			// On one route one control goes on at a time, over a connection that is open: the
			// twelve are one after the other.
			if protected == "[GET /me]" && !strings.Contains(describeResults(r), "new connections at the same moment") {
				t.Errorf("%s, first %d: nothing is said of workers\n%s", protected, first, describeResults(r))
			}
		}
	}
}

// Over sockets: four workers, each of which knows of the logouts that it has answered
// itself.
func TestWorkersWithMemoriesOfTheirOwnAreFound(t *testing.T) {
	const workers = 4
	for name, test := range map[string]struct {
		alive func(*lab, *labSession, int, string) bool
		want  Verdict
	}{
		"broken": {func(_ *lab, s *labSession, at int, _ string) bool { return at != s.endedAt }, Finding},
		"sound":  {nil, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(labFlaws{alive: test.alive})
			var handlers []http.Handler
			for i := range workers {
				handlers = append(handlers, l.handler(i))
			}
			type key struct{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				handlers[q.Context().Value(key{}).(int)].ServeHTTP(w, q)
			}))
			var n atomic.Int32
			server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				return context.WithValue(ctx, key{}, int(n.Add(1))%workers)
			}
			server.Start()
			defer server.Close()
			described, err := target.Parse([]byte(l.describe([]string{"delays: [0s, 20ms, 200ms]"})), nil)
			if err != nil {
				t.Fatal(err)
			}
			described.Instances = []string{server.URL}
			r, err := Run(t.Context(), described, Options{Only: mine[:10]})
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(r, accessAlive); got != test.want || test.want == Pass && r.Verdict() != Pass {
				t.Errorf("%s\n%s", got, describeResults(r))
			}
		})
	}
}

// What is to go over a connection of its own does.
func TestEachReplayHasAConnectionOfItsOwn(t *testing.T) {
	var n atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		n.Add(1)
		return ctx
	}
	server.Start()
	defer server.Close()
	r := testRun(t, server.URL)
	q := get(t, server.URL)
	q.anew = true
	for range 3 {
		if a := r.client.do(t.Context(), q); a.err != nil {
			t.Fatal(a.err)
		}
	}
	if n.Load() != 3 {
		t.Errorf("%d connections for 3 requests", n.Load())
	}
}
