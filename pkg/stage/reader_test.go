package stage

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// What comes back from the dead letters did not arrive when it came back: a permission would otherwise lift what was
// withdrawn in between.
func TestWhatComesBackDidNotArriveNow(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 30, 25, 0, time.UTC)
	in := func(a *stagev1.Arrival) *Input {
		t.Helper()
		a.ReceivedAt, a.At = timestamppb.New(now), timestamppb.New(now)
		data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{a}}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{source: FromRedrive, name: "redrive.profile"}
		items, err := r.decodeArrivals(log.Message{Sequence: 7, Time: now, Data: data})
		if err != nil || len(items) != 1 || items[0].input == nil {
			t.Fatalf("got %v, %v", items, err)
		}
		return items[0].input
	}
	first := in(&stagev1.Arrival{Item: &stagev1.Arrival_Payload{Payload: []byte("event")}})
	if !first.ReceivedAt.Equal(now) || !first.StoredAt.Equal(now) {
		t.Errorf("what arrives: received at %s, stored at %s; want %s", first.ReceivedAt, first.StoredAt, now)
	}
	again := in(&stagev1.Arrival{Item: &stagev1.Arrival_Redrive{Redrive: &stagev1.Redrive{Id: "dl-1", Payload: []byte("event"), Input: "evt.control"}}})
	if !again.ReceivedAt.IsZero() || !again.StoredAt.IsZero() {
		t.Errorf("what comes back: received at %s, stored at %s; want neither", again.ReceivedAt, again.StoredAt)
	}
}
