package redisstore

import (
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/storetest"
	"github.com/rescind/rescind/tests/redis"
)

func TestConformance(t *testing.T) {
	server := redis.Start(t)
	t.Run("1", func(t *testing.T) {
		storetest.Run(t, factory(server.URL()+"?shards=1", func() { server.Do("FLUSHALL") }))
	})
	shorten(t)
	t.Run("16", func(t *testing.T) { storetest.Run(t, factory(server.URL(), func() { server.Do("FLUSHALL") })) })
}

// steady keeps a cluster from taking a master that has to wait for the processor for
// one that is gone.
var steady = []string{"--cluster-node-timeout", "60000"}

func TestConformanceOfACluster(t *testing.T) {
	shorten(t)
	cluster := redis.StartCluster(t, steady...)
	storetest.Run(t, factory(cluster.URL(), func() {
		for _, s := range cluster.Masters {
			s.Do("FLUSHALL")
		}
	}))
}

// factory opens a store on servers that are emptied before.
func factory(url string, empty func()) storetest.Factory {
	return func(t testing.TB, _ func() time.Time) storetest.Instance {
		empty()
		var open *Store
		reopen := func() rescind.Store {
			if open != nil {
				if err := open.Close(); err != nil {
					t.Fatalf("Close: %v", err)
				}
			}
			var err error
			if open, err = Open(url, Options{Timeout: calm}); err != nil {
				t.Fatalf("Open: %v", err)
			}
			return open
		}
		t.Cleanup(func() {
			if err := open.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return storetest.Instance{Store: reopen(), Restart: reopen}
	}
}

// calm is a time-out that no call needs, however busy the machine is.
const calm = time.Minute

// open opens a store for what time has nothing to do with: no call is late.
func open(t testing.TB, url string) *Store {
	t.Helper()
	return openWith(t, url, calm)
}

func openWith(t testing.TB, url string, timeout time.Duration) *Store {
	t.Helper()
	s, err := Open(url, Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
