package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// tracing returns what records traces, or nil where nothing is configured: then
// no request pays for it. The standard OTEL_* variables hold, as far as the
// configuration does not say otherwise.
func (t telemetry) tracing(ctx context.Context, env func(string) (string, bool), log *slog.Logger) (*sdktrace.TracerProvider, error) {
	set := func(name string) bool { v, _ := env(name); return v != "" }
	off, _ := env("OTEL_SDK_DISABLED")
	exporters, _ := env("OTEL_TRACES_EXPORTER")
	if strings.EqualFold(off, "true") || exporters == "none" {
		return nil, nil
	}
	var opts []otlptracehttp.Option
	switch {
	case t.Endpoint != "":
		opts = append(opts, otlptracehttp.WithEndpointURL(strings.TrimSuffix(t.Endpoint, "/")+"/v1/traces"))
	case !set("OTEL_EXPORTER_OTLP_ENDPOINT") && !set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, usagef("otel: %w", err)
	}
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "rescind"), attribute.String("service.version", readBuild().Version)),
		resource.WithFromEnv(), // last, so that OTEL_SERVICE_NAME wins
	)
	if err != nil {
		return nil, usagef("otel: %w", err)
	}
	providerOpts := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(exporter), sdktrace.WithResource(res)}
	if !set("OTEL_TRACES_SAMPLER") { // the SDK reads that variable itself
		providerOpts = append(providerOpts, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.Ratio))))
	}
	// What fails in the background goes to the log of everything else.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "error", err) }))
	log.Info("sending traces by OTLP/HTTP")
	return sdktrace.NewTracerProvider(providerOpts...), nil
}

// flushTraces sends what is left, for a short while: traces are worth no delay.
func flushTraces(p *sdktrace.TracerProvider, log *slog.Logger) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		log.Warn("the last traces were not delivered", "error", err)
	}
}
