package report

import (
	"net/url"
	"slices"

	"github.com/rescind/rescind/probe"
)

// An experiment is the lives that one experiment watched, by artefact.
type experiment struct {
	Name   string
	Groups []group
}

// A group is the lives of one artefact: one for each route and instance, and each
// session that had one.
type group struct {
	Artefact string
	Lives    []probe.Life
}

// experimentsOf sorts lives by experiment and artefact, each in the order in which
// it came first. Those that were not to end are apart, by their session.
func experimentsOf(r *probe.Report) []experiment {
	var all []experiment
	for _, l := range r.Lives {
		i := 0
		for i < len(all) && all[i].Name != l.Experiment {
			i++
		}
		if i == len(all) {
			all = append(all, experiment{Name: l.Experiment})
		}
		name := l.Artefact
		if l.Ended.IsZero() {
			name += " of " + l.Session
		}
		groups, j := &all[i].Groups, 0
		for j < len(*groups) && (*groups)[j].Artefact != name {
			j++
		}
		if j == len(*groups) {
			*groups = append(*groups, group{Artefact: name})
		}
		(*groups)[j].Lives = append((*groups)[j].Lives, l)
	}
	// Which experiment ended first is chance; the plain logout is the one to read first.
	slices.SortStableFunc(all, func(a, b experiment) int { return rank(a) - rank(b) })
	return all
}

func rank(e experiment) int {
	if e.Name == "logout" {
		return 0
	}
	return 1
}

// place is where a life was watched: the instance without its scheme.
func place(l probe.Life) string {
	u, err := url.Parse(l.Instance)
	if err != nil || u.Host == "" {
		return l.Instance
	}
	return u.Host
}
