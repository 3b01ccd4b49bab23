package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Config says who reports and how.
type Config struct {
	// Service is the service's name; OTEL_SERVICE_NAME wins over it.
	Service string
	// Replica names this process.
	Replica string
	// Getenv reads the environment; the exporters read their own details from the real one.
	Getenv func(name string) string
	// Prometheus serves metrics under Telemetry.Metrics.
	Prometheus bool
}

// Telemetry is what a process reports with. Stop flushes it.
type Telemetry struct {
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// Metrics serves the Prometheus text format; nil if it was not asked for.
	Metrics http.Handler

	stops []func(context.Context) error
}

// Off returns telemetry that does nothing.
func Off() *Telemetry {
	return &Telemetry{Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider()}
}

// Start builds the providers. Traces are exported if OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says where to, metrics likewise; OTEL_SDK_DISABLED turns both off.
func Start(ctx context.Context, cfg Config) (*Telemetry, error) {
	t := Off()
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", cfg.Service), attribute.String("service.instance.id", cfg.Replica)),
		resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describe this process: %w", err)
	}
	if err := t.startTraces(ctx, cfg, res); err != nil {
		return nil, errors.Join(err, t.Stop(ctx))
	}
	if err := t.startMetrics(ctx, cfg, res); err != nil {
		return nil, errors.Join(err, t.Stop(ctx))
	}
	return t, nil
}

// wanted says whether a signal ("TRACES", "METRICS") is configured.
func wanted(cfg Config, signal string) bool {
	if cfg.Getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	if exporter := cfg.Getenv("OTEL_" + signal + "_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return cfg.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || cfg.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

func (t *Telemetry) startTraces(ctx context.Context, cfg Config, res *resource.Resource) error {
	if !wanted(cfg, "TRACES") {
		return nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return fmt.Errorf("start the trace exporter: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(16384), sdktrace.WithMaxExportBatchSize(2048)),
	)
	t.Tracer, t.stops = provider, append(t.stops, provider.Shutdown)
	return nil
}

func (t *Telemetry) startMetrics(ctx context.Context, cfg Config, res *resource.Resource) error {
	var readers []sdkmetric.Option
	if wanted(cfg, "METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return fmt.Errorf("start the metric exporter: %w", err)
		}
		readers = append(readers, sdkmetric.WithReader(reader))
	}
	if cfg.Prometheus {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
		if err != nil {
			return fmt.Errorf("start the Prometheus exporter: %w", err)
		}
		readers = append(readers, sdkmetric.WithReader(reader))
		t.Metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	}
	if len(readers) == 0 {
		return nil
	}
	provider := sdkmetric.NewMeterProvider(append(readers, sdkmetric.WithResource(res))...)
	t.Meter, t.stops = provider, append(t.stops, provider.Shutdown)
	return nil
}

// Stop flushes and ends what Start began; later calls do nothing.
func (t *Telemetry) Stop(ctx context.Context) error {
	var errs []error
	for _, stop := range t.stops {
		errs = append(errs, stop(ctx))
	}
	t.stops = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("flush telemetry: %w", err)
	}
	return nil
}

// Enabled says whether anything is recorded by the given providers; where it is not, instrumentation
// need not be installed.
func Enabled(tracer trace.TracerProvider, meter metric.MeterProvider) bool {
	_, noTraces := tracer.(tracenoop.TracerProvider)
	_, noMetrics := meter.(metricnoop.MeterProvider)
	return (tracer != nil && !noTraces) || (meter != nil && !noMetrics)
}
