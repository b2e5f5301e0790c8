package httpapi

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/rescind/rescind"
)

type health struct {
	Status string `json:"status"`
}

func (c *call) healthy() error { return c.json(http.StatusOK, health{"ok"}) }

// readyTimeout is shorter than a prober's patience usually is.
const readyTimeout = 2 * time.Second

func (c *call) ready() error {
	ctx, cancel := context.WithTimeout(c.context(), readyTimeout)
	defer cancel()
	if err := c.authority.Ready(ctx); err != nil {
		return err
	}
	return c.json(http.StatusOK, health{"ready"})
}

func (c *call) showMetrics() error {
	if addr, known := c.sender(); !known || !contains(c.metricsFrom, addr) {
		if err := c.authenticate(); err != nil {
			return err
		}
		if !c.is(rescind.RoleAdmin) {
			return rescind.ErrForbidden
		}
	}
	h := c.w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	c.status = http.StatusOK
	c.metrics.handler.ServeHTTP(c.w, c.r)
	return nil
}

func (c *call) openapi() error { return c.answer(http.StatusOK, typeJSON, c.server.openapi) }

// trace begins a span and returns how to end it. A span names the route and never
// the path, the query or a header: those can hold what must not be kept.
func (c *call) trace() func() {
	ctx := propagation.TraceContext{}.Extract(c.r.Context(), propagation.HeaderCarrier(c.r.Header))
	ctx, span := c.tracer.Start(ctx, c.route.name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.route", c.route.path)))
	c.r = c.r.WithContext(ctx)
	return func() {
		span.SetAttributes(attribute.Int("http.response.status_code", c.status))
		if c.status >= http.StatusInternalServerError || c.status == 0 {
			span.SetStatus(codes.Error, http.StatusText(c.status))
		}
		span.End()
	}
}
