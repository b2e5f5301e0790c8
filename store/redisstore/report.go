package redisstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// Report says what a ledger lies on, and what holds there.
type Report struct {
	Server  string   // the software and its version
	Layout  string   // one server, a cluster, or one watched by Sentinel
	Shards  int      // of the feed
	Holds   []string // what holds, a sentence each
	Warning []string // what does not, a sentence each
}

// String is the report as lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d shards\n", r.Server, r.Layout, r.Shards)
	for _, line := range r.Holds {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	for _, line := range r.Warning {
		fmt.Fprintf(&b, "  WARNING: %s\n", line)
	}
	return b.String()
}

// reportOf judges the servers that a store was opened on.
func reportOf(mode rueidis.ClientMode, servers []*server, shards int, timeout time.Duration, o *Options) (Report, error) {
	r := Report{Shards: shards}
	masters, replicas := 0, 0
	lossless, memory := true, true
	for _, v := range servers {
		if v.replica {
			continue
		}
		if masters++; r.Server == "" {
			r.Server = v.name
		}
		replicas += v.replicas
		lossless = lossless && v.settings["appendonly"] == "yes" && v.settings["appendfsync"] == "always" && v.settings["no-appendfsync-on-rewrite"] == "no"
		memory = memory && v.settings["maxmemory-policy"] == "noeviction"
	}
	if masters == 0 {
		return r, fmt.Errorf("%w: %s is a replica, and takes no writes", rescind.ErrInvalid, servers[0].address)
	}
	failover := false
	switch mode {
	case rueidis.ClientModeCluster:
		r.Layout = fmt.Sprintf("a cluster of %d masters and %d replicas", masters, replicas)
		failover = replicas > 0
	case rueidis.ClientModeSentinel:
		r.Layout = fmt.Sprintf("a master with %d replicas, watched by Sentinel", replicas)
		failover = true
	default:
		r.Layout = "one server"
		if replicas > 0 {
			r.Layout = fmt.Sprintf("one server with %d replicas", replicas)
			r.Warning = append(r.Warning, "If somebody makes a replica the master, what was revoked last may come back: replicas are asynchronous. Use them for reading elsewhere, not for this.")
		}
	}
	if failover && !o.AcceptFailover {
		return r, fmt.Errorf("%w: %s can fail over, and a revocation that was acknowledged can be lost then. To run it all the same, add accept=failover", rescind.ErrInvalid, r.Layout)
	}
	switch {
	case servers[0].settings == nil:
		r.Warning = append(r.Warning, "The server does not tell its settings. Unless they are appendonly yes, appendfsync always and maxmemory-policy noeviction, what was revoked can come back.")
	case lossless:
		r.Holds = append(r.Holds, "A crash of the server loses nothing that was acknowledged or seen (appendfsync always).")
	default:
		r.Warning = append(r.Warning, "A crash of the server can lose the last revocations: what was revoked comes back (it has not appendonly yes, appendfsync always and no-appendfsync-on-rewrite no).")
	}
	if servers[0].settings != nil {
		if memory {
			r.Holds = append(r.Holds, "A full memory refuses logins; nothing is evicted, and revoking works as long as the machine has memory (maxmemory-policy noeviction).")
		} else {
			r.Warning = append(r.Warning, "A full memory evicts sessions, and cutoffs: what was revoked can come back (maxmemory-policy is not noeviction).")
		}
	}
	r.Holds = append(r.Holds, fmt.Sprintf("While a server does not answer, calls that need it end as \"unavailable\" within %s.", timeout))
	if failover {
		r.Warning = append(r.Warning, "A failover can lose acknowledged revocations, and a master that was superseded answers for a while as if it were not.")
	}
	return r, nil
}
