// Package telemetry builds what a process reports itself with: a tracer and a meter provider configured
// by the standard OTEL_* environment variables, a logger whose lines name the trace they belong to, and
// a Prometheus endpoint. What is not configured does nothing and costs nothing.
//
// It also carries trace context as text: events and facts take it along inside batches.
package telemetry
