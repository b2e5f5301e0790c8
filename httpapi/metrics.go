package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rescind/rescind"
)

// metrics are what the server counts. Labels have few values, none of which a
// caller can choose.
type metrics struct {
	requests       *prometheus.CounterVec
	durations      *prometheus.HistogramVec
	checks         [2]map[string]prometheus.Counter
	sessions       *prometheus.CounterVec
	refreshes      *prometheus.CounterVec
	revocations    *prometheus.CounterVec
	refusedClients prometheus.Counter
	rateLimited    prometheus.Counter
	unavailable    prometheus.Counter
	handler        http.Handler

	routes sync.Map // *route → *routeMetrics
}

// routeMetrics spares the hot path the search by label.
type routeMetrics struct {
	duration prometheus.Observer
	statuses sync.Map // int → prometheus.Counter
}

// Where a check came from.
const (
	byIntrospection = iota
	byForwardAuth
)

func newMetrics(reg *prometheus.Registry, version string) (*metrics, error) {
	var all []prometheus.Collector
	if reg == nil {
		reg = prometheus.NewRegistry()
		all = append(all, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	m := &metrics{
		requests: counter("rescind_http_requests_total", "Requests by route and status.", "route", "status"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rescind_http_request_duration_seconds", Help: "Time from the header of a request to the end of its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		sessions:       counter("rescind_sessions_created_total", "Logins by result.", "result"),
		refreshes:      counter("rescind_refreshes_total", "Refreshes by result; reuse ended a session.", "result"),
		revocations:    counter("rescind_revocations_total", "Revocations by kind and result.", "kind", "result"),
		refusedClients: counter("rescind_client_failures_total", "Clients that failed to authenticate.").WithLabelValues(),
		rateLimited:    counter("rescind_rate_limited_total", "Failures that were answered 429.").WithLabelValues(),
		unavailable:    counter("rescind_unavailable_total", "Answers of 503 because the state could not be known.").WithLabelValues(),
	}
	checks := counter("rescind_checks_total", "Checks of tokens by way and result.", "by", "result")
	for by, name := range []string{"introspection", "forward_auth"} {
		m.checks[by] = map[string]prometheus.Counter{}
		for _, result := range []string{"active", "inactive", "insufficient_scope", "unavailable", "error"} {
			m.checks[by][result] = checks.WithLabelValues(name, result)
		}
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rescind_build_info", Help: "Always 1; its labels say what is running.",
		ConstLabels: prometheus.Labels{"version": cmp.Or(version, "unknown"), "go_version": runtime.Version()},
	})
	build.Set(1)
	for _, c := range append(all, m.durations, build) {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	m.handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	return m, nil
}

func (m *metrics) request(r *route, status int, took time.Duration) {
	v, ok := m.routes.Load(r)
	if !ok {
		v, _ = m.routes.LoadOrStore(r, &routeMetrics{duration: m.durations.WithLabelValues(r.name)})
	}
	rm := v.(*routeMetrics)
	rm.duration.Observe(took.Seconds())
	n, ok := rm.statuses.Load(status)
	if !ok {
		n, _ = rm.statuses.LoadOrStore(status, m.requests.WithLabelValues(r.name, strconv.Itoa(status)))
	}
	n.(prometheus.Counter).Inc()
}

func (m *metrics) checked(by int, err error) {
	n := m.checks[by][result(err, "active")]
	if n == nil { // nothing else can come out of a check
		n = m.checks[by]["error"]
	}
	n.Inc()
}

func (m *metrics) issued(err error)    { m.sessions.WithLabelValues(result(err, "ok")).Inc() }
func (m *metrics) refreshed(err error) { m.refreshes.WithLabelValues(result(err, "ok")).Inc() }

func (m *metrics) revoked(kind string, err error) {
	m.revocations.WithLabelValues(kind, result(err, "ok")).Inc()
}

// result is an error in one word.
func result(err error, ok string) string {
	switch {
	case err == nil:
		return ok
	case errors.Is(err, rescind.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, rescind.ErrReuse):
		return "reuse"
	case errors.Is(err, rescind.ErrInactive):
		return "inactive"
	case errors.Is(err, rescind.ErrScope):
		return "insufficient_scope"
	case errors.Is(err, rescind.ErrForeign), errors.Is(err, rescind.ErrForbidden), errors.Is(err, rescind.ErrNotFound),
		errors.Is(err, rescind.ErrInvalid), errors.Is(err, rescind.ErrLimit), errors.Is(err, rescind.ErrConflict):
		return "refused"
	}
	return "error"
}
