package suppressionsvc

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/fault"
)

// metrics counts what callers were answered; labels are closed sets. Verdicts on proposals are counted by
// whoever reads VERDICTS: a fold has no side effects.
type metrics struct{ requests metric.Int64Counter }

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	requests, err := provider.Meter("refrain.dev/services/suppression").Int64Counter("refrain_suppression_requests_total",
		metric.WithDescription("Requests to the contact service by method and what was answered."))
	if err != nil {
		return nil, fmt.Errorf("create instrument: %w", err)
	}
	return &metrics{requests: requests}, nil
}

// asked counts one request; kind is unspecified for those that give no verdict.
func (m *metrics) asked(ctx context.Context, method string, kind contactv1.VerdictKind, err error) {
	result := "ok"
	switch {
	case err != nil:
		result = fault.Of(err).String()
	case kind != contactv1.VerdictKind_VERDICT_KIND_UNSPECIFIED:
		result = kind.String()
	}
	m.requests.Add(ctx, 1, metric.WithAttributes(attribute.String("method", method), attribute.String("result", result)))
}
