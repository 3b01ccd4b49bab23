package stage

import (
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
)

// An event's trace goes on in the stage; what a timer starts later is a trace of its own with a link to it.
func TestTimersBeginTracesWithLinks(t *testing.T) {
	m := newMesh(t, 1, 8)
	spans := tracetest.NewSpanRecorder()
	s := m.stage("profile", m.broker, clock.Wall{})
	s.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	stop := m.run(s)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m.raw(m.broker, "evt.live.0", &stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: timestamppb.Now(), At: timestamppb.Now(), Traceparent: parent,
		Item: &stagev1.Arrival_Payload{Payload: mustJSON(entry{Customer: "ann", Add: 2, Later: 20 * time.Millisecond})},
	}}})
	eventually(t, "the timer has run", func() bool { return m.row("profile", "ann").Sum == 4 })
	stop()
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("got %d spans, want the event's and the timer's", len(ended))
	}
	first, second := ended[0], ended[1]
	if got := first.SpanContext().TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the event's span is in trace %s", got)
	}
	if second.SpanContext().TraceID() == first.SpanContext().TraceID() || second.Parent().IsValid() {
		t.Error("the timer's span is not a new trace")
	}
	if len(second.Links()) != 1 || second.Links()[0].SpanContext.SpanID() != first.SpanContext().SpanID() {
		t.Errorf("links: got %v, want one to the event's span", second.Links())
	}
}
