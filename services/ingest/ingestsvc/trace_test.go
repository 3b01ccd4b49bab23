package ingestsvc

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
)

// TestATraceBeginsAtThePublisher sends a traceparent and finds it in the stored arrival, and no personal
// data in any span.
func TestATraceBeginsAtThePublisher(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Tracer = provider })
	const id = "0af7651916cd43dd8448eb211c80319c"
	f.post("/v1/identify", `{"userId":"ann","traits":{"email":"ann@shop.example"}}`, "Traceparent", "00-"+id+"-b7ad6b7169203331-01")
	f.post("/u/"+f.token(nil), "List-Unsubscribe=One-Click", "Content-Type", "application/x-www-form-urlencoded")
	arrivals := &stagev1.Arrivals{}
	for _, data := range f.messages(log.Lane("live")) {
		if err := arrivals.UnmarshalVT(data); err != nil {
			t.Fatal(err)
		}
	}
	if got := arrivals.GetItems()[0].GetTraceparent(); !strings.HasPrefix(got, "00-"+id) || !strings.HasSuffix(got, "-01") {
		t.Errorf("traceparent %q", got)
	}
	if len(spans.GetSpans()) < 3 {
		t.Errorf("%d spans", len(spans.GetSpans()))
	}
	for _, s := range spans.GetSpans() {
		text := s.Name
		for _, a := range s.Attributes {
			text += " " + string(a.Key) + "=" + a.Value.String()
		}
		if strings.Contains(text, "ann") || strings.Contains(text, "/u/") {
			t.Errorf("personal data in a span: %s", text)
		}
	}
}

func TestWithoutTracingArrivalsCarryNone(t *testing.T) {
	f := newFixture(t)
	f.post("/v1/track", `{"userId":"u","event":"a"}`)
	arrivals := &stagev1.Arrivals{}
	if err := arrivals.UnmarshalVT(f.messages(log.Lane("live"))[0]); err != nil || arrivals.GetItems()[0].GetTraceparent() != "" {
		t.Errorf("got %v, %v", arrivals, err)
	}
}
