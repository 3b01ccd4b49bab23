package ingestsvc

import (
	"fmt"
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

const perBatch = 500

// BenchmarkGRPCBatch takes batches as gRPC brings them, onto a log in memory.
func BenchmarkGRPCBatch(b *testing.B) {
	f := newFixture(b)
	req := &eventv1.PublishEventsRequest{}
	for i := range perBatch {
		req.Events = append(req.Events, &eventv1.Event{
			Id: fmt.Sprint(i), Type: "order_placed", Kind: eventv1.Kind_KIND_TRACK,
			Identifiers: []*eventv1.Identifier{id("user_id", fmt.Sprint("u", i))},
			Properties:  []*eventv1.Property{prop("total", &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: 12}}), prop("sku", event.Text("abc"))},
		})
	}
	for b.Loop() {
		items, err := protoItems(req.CloneVT(), viaGRPC)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.door.take(b.Context(), submission{tenant: "default", via: viaGRPC, items: items}); err != nil {
			b.Fatal(err)
		}
		f.comesThrough()
	}
	b.ReportMetric(float64(b.N*perBatch)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkSegmentBatch parses and takes batches as the Segment libraries send them.
func BenchmarkSegmentBatch(b *testing.B) {
	f := newFixture(b)
	var items []string
	for i := range perBatch {
		items = append(items, fmt.Sprintf(`{"type":"track","messageId":"%d","userId":"u%d","event":"order_placed","timestamp":"2026-11-21T08:00:00Z","properties":{"total":12,"sku":"abc"}}`, i, i))
	}
	body := []byte(`{"batch":[` + strings.Join(items, ",") + `]}`)
	for b.Loop() {
		parsed, _, err := parseSegment("batch", body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.door.take(b.Context(), submission{tenant: "default", via: viaSegment, items: parsed}); err != nil {
			b.Fatal(err)
		}
		f.comesThrough()
	}
	b.ReportMetric(float64(b.N*perBatch)/b.Elapsed().Seconds(), "events/s")
}
