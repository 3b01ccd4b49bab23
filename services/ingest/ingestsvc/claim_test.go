package ingestsvc

import (
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// TestATimeNeverCountsAsLaterThanTheArrival publishes at noon through every entrance what claims another time.
func TestATimeNeverCountsAsLaterThanTheArrival(t *testing.T) {
	segment := func(times string) func(*fixture) {
		return func(f *fixture) { f.post("/v1/track", `{"userId":"u1","event":"a",`+times+`}`) }
	}
	cloudEvent := func(headers ...string) func(*fixture) {
		all := []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a", "ce-userid", "u1"}
		return func(f *fixture) { f.post("/cloudevents", "", append(all, headers...)...) }
	}
	published := func(at time.Time) func(*fixture) {
		return func(f *fixture) {
			e := &eventv1.Event{
				Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, At: timestamppb.New(at), Identifiers: []*eventv1.Identifier{id("user_id", "u1")},
				ClaimedAt: timestamppb.New(noon.AddDate(1, 0, 0)), // not for publishers to say
			}
			if _, err := f.door.take(f.t.Context(), submission{tenant: "default", via: viaGRPC, items: []*item{{event: e}}}); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	const hour = time.Hour
	for name, c := range map[string]struct {
		publish     func(*fixture)
		at, claimed time.Duration // from noon; claimed 0: none
	}{
		"segment, ahead":                {segment(`"timestamp":"2026-11-21T13:00:00Z"`), 0, hour},
		"segment, five years ahead":     {segment(`"originalTimestamp":"2031-11-21T12:00:00Z"`), 0, noon.AddDate(5, 0, 0).Sub(noon)},
		"segment, behind":               {segment(`"timestamp":"2026-11-21T11:00:00Z"`), -hour, 0},
		"segment, a clock that is told": {segment(`"timestamp":"2026-11-21T12:50:00Z","sentAt":"2026-11-21T13:00:00Z"`), -10 * time.Minute, 50 * time.Minute},
		"segment, sent before it was":   {segment(`"timestamp":"2026-11-21T11:50:00Z","sentAt":"2026-11-21T11:40:00Z"`), 0, -10 * time.Minute},
		"cloudevents, ahead":            {cloudEvent("ce-time", "2026-11-21T13:00:00Z"), 0, hour},
		"cloudevents, behind":           {cloudEvent("ce-time", "2026-11-21T11:00:00Z"), -hour, 0},
		"cloudevents, without a time":   {cloudEvent(), 0, 0},
		"cloudevents, a clock that is told": {
			cloudEvent("ce-time", "2026-11-21T10:50:00Z", "ce-sentat", "2026-11-21T11:00:00Z"), -10 * time.Minute, -70 * time.Minute,
		},
		"cloudevents, sent at no time": {cloudEvent("ce-time", "2026-11-21T11:00:00Z", "ce-sentat", "soon"), -hour, 0},
		"grpc, ahead":                  {published(noon.Add(hour)), 0, hour},
		"grpc, behind":                 {published(noon.Add(-hour)), -hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c.publish(f)
			got := f.one("live")
			if at := got.GetAt().AsTime().Sub(noon); at != c.at {
				t.Errorf("it counts as at noon + %s, want + %s", at, c.at)
			}
			if claimed := got.GetClaimedAt(); (claimed != nil) != (c.claimed != 0) || claimed != nil && claimed.AsTime().Sub(noon) != c.claimed {
				t.Errorf("claimed at %v, want noon + %s", claimed, c.claimed)
			}
		})
	}
}

func TestATimeThatIsToldInAStructuredCloudEventIsCorrected(t *testing.T) {
	e := order()
	e.SetExtension("sentat", noon.Add(-50*time.Minute))
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.post("/cloudevents", string(data), "Content-Type", ce.ApplicationCloudEventsJSON)
	if at := f.one("live").GetAt().AsTime(); !at.Equal(noon.Add(-10 * time.Minute)) {
		t.Errorf("it counts as at %s, want ten minutes before noon", at)
	}
}
