package suppressionsvc

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/telemetry"
)

// metrics are the instruments of the service; labels are closed sets.
type metrics struct {
	requests metric.Int64Counter
	verdicts metric.Int64Counter
	reasons  metric.Int64Counter
}

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	meter := provider.Meter("refrain.dev/services/suppression")
	m := &metrics{}
	for _, c := range []struct {
		into       *metric.Int64Counter
		name, what string
	}{
		{&m.requests, "refrain_suppression_requests_total", "Requests to the contact service by method and what was answered."},
		{&m.verdicts, "refrain_suppression_verdicts_total", "Verdicts on proposals by kind. One that is decided again after a lost append counts again."},
		{&m.reasons, "refrain_suppression_reasons_total", "Why proposals were deferred or suppressed, by kind and reason."},
	} {
		counter, err := meter.Int64Counter(c.name, metric.WithDescription(c.what))
		if err != nil {
			return nil, fmt.Errorf("make counter %s: %w", c.name, err)
		}
		*c.into = counter
	}
	return m, nil
}

// asked counts one request; kind is unspecified for those that give no verdict.
func (m *metrics) asked(ctx context.Context, method string, kind contactv1.VerdictKind, err error) {
	result := "ok"
	switch {
	case err != nil:
		result = fault.Of(err).String()
	case kind != contactv1.VerdictKind_VERDICT_KIND_UNSPECIFIED:
		result = label(kind)
	}
	m.requests.Add(ctx, 1, metric.WithAttributes(attribute.String("method", method), attribute.String("result", result)))
}

// judged counts the verdicts among facts.
func (m *metrics) judged(ctx context.Context, facts []*contactv1.Fact) {
	for _, f := range facts {
		v := f.GetVerdictGiven()
		if v == nil {
			continue
		}
		kind := attribute.String("kind", label(v.GetKind()))
		m.verdicts.Add(ctx, 1, metric.WithAttributes(kind))
		for _, r := range v.GetReasons() {
			m.reasons.Add(ctx, 1, metric.WithAttributes(kind, attribute.String(telemetry.KeyReason, r.GetCode().String())))
		}
	}
}

func label(kind contactv1.VerdictKind) string {
	return strings.ToLower(strings.TrimPrefix(kind.String(), "VERDICT_KIND_"))
}

// counted is the fold with its verdicts counted; what it decides is the fold's alone.
type counted struct {
	*fold

	judged func([]*contactv1.Fact)
}

// Decide implements stage.Fold.
func (c counted) Decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	out, facts, err := c.decide(in, rows, env)
	c.judged(facts)
	return out, err
}

var _ stage.Fold = counted{}
