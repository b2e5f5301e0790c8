package redis

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Cluster is a Redis Cluster. The slots are shared evenly among its masters.
type Cluster struct {
	Masters  []*Server
	Replicas []*Server // one of each master, or none
}

const slots = 16384

// StartCluster starts three masters.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return startCluster(t, false, args)
}

// StartClusterWithReplicas starts three masters with one replica each.
func StartClusterWithReplicas(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return startCluster(t, true, args)
}

func startCluster(t testing.TB, replicas bool, args []string) *Cluster {
	t.Helper()
	const masters = 3
	c := &Cluster{}
	for i := range masters {
		s := start(t, true, args)
		s.Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/masters), fmt.Sprint((i+1)*slots/masters-1))
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		c.Masters = append(c.Masters, s)
	}
	all := c.Masters
	if replicas {
		for range masters {
			s := start(t, true, args)
			c.Replicas = append(c.Replicas, s)
			all = append(all[:len(all):len(all)], s)
		}
	}
	c.await(t, all, func(s *Server) bool {
		info := s.Do("CLUSTER", "INFO")
		if s != all[0] && strings.Contains(info, "cluster_known_nodes:1\r") {
			// Also later on: a busy machine may let a first meeting come to nothing.
			all[0].Do("CLUSTER", "MEET", "127.0.0.1", s.port, s.bus)
		}
		return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", len(all)))
	})
	for i, s := range c.Replicas {
		s.Do("CLUSTER", "REPLICATE", c.Masters[i].Do("CLUSTER", "MYID"))
	}
	c.await(t, c.Replicas, func(s *Server) bool { return strings.Contains(s.Do("INFO", "replication"), "master_link_status:up") })
	c.await(t, c.Masters, func(s *Server) bool { // the news of it travels
		known := s.Do("CLUSTER", "SLOTS")
		for _, r := range c.Replicas {
			if !strings.Contains(known, "\n"+r.port+"\n") {
				return false
			}
		}
		return true
	})
	return c
}

func (c *Cluster) await(t testing.TB, servers []*Server, ready func(*Server) bool) {
	t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := ""
		for _, s := range servers {
			if !ready(s) {
				left = s.Do("CLUSTER", "INFO")
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("the cluster does not form:\n%s", left)
		}
	}
}

// Await waits until every master sees the whole cluster, as after a restart.
func (c *Cluster) Await(t testing.TB) {
	t.Helper()
	c.await(t, c.Masters, func(s *Server) bool { return strings.Contains(s.Do("CLUSTER", "INFO"), "cluster_state:ok") })
}

// MasterOf is the master on which a key lies.
func (c *Cluster) MasterOf(key string) *Server {
	first := c.Masters[0]
	slot, err := strconv.Atoi(first.Do("CLUSTER", "KEYSLOT", key))
	if err != nil {
		first.t.Fatal(err)
	}
	return c.Masters[(slot*len(c.Masters)+len(c.Masters)-1)/slots]
}

// URL names all masters as redisstore wants them.
func (c *Cluster) URL() string {
	var hosts []string
	for _, s := range c.Masters {
		hosts = append(hosts, s.Addr())
	}
	return "redis://" + strings.Join(hosts, ",")
}
