package ingestsvc

import (
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// takeAll puts parsed items through the door: whatever a parser lets through is stored or refused, never
// more, never less.
func takeAll(t *testing.T, f *fixture, items []*item) {
	t.Helper()
	r, err := f.door.take(t.Context(), submission{tenant: "default", via: viaSegment, items: items})
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	for i, res := range r.results {
		if (res.position == nil) == (len(res.refused) == 0) {
			t.Fatalf("item %d is neither stored nor refused, or both: %+v", i, res)
		}
		if res.position != nil && items[i].event.GetIdentifiers()[0].GetKind() == "profile" && items[i].partition == nil {
			t.Fatalf("item %d addresses a profile without a token", i)
		}
	}
}

func FuzzSegment(f *testing.F) {
	fix := newFixture(f)
	for _, call := range []string{"track", "identify", "alias", "group", "batch"} {
		f.Add(call, []byte(`{"userId":"u","event":"a","properties":{"x":[1,2.5,null,{"y":"z"}]},"timestamp":"2026-11-21T08:00:00Z"}`))
		f.Add(call, []byte(`{"batch":[{"type":"track","event":"click","properties":{"token":"x"}},7,null,{"type":"identify","traits":{"email":"a@b.example"}}],"sentAt":"x"}`))
	}
	f.Fuzz(func(t *testing.T, call string, body []byte) {
		items, _, err := parseSegment(call, body)
		if err == nil {
			takeAll(t, fix, items)
		}
	})
}

func FuzzCloudEvents(f *testing.F) {
	fix := newFixture(f)
	f.Add("application/cloudevents+json", "", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u","data":{"a":1}}`))
	f.Add("application/cloudevents-batch+json", "", []byte(`[{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u","data_base64":"AA=="}]`))
	f.Add("application/json", "u", []byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, media, user string, body []byte) {
		header := http.Header{"Content-Type": {media}}
		if user != "" {
			for name, value := range map[string]string{"Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "a", "Ce-Specversion": "1.0", "Ce-Userid": user} {
				header.Set(name, value)
			}
		}
		items, err := parseCloudEvents(t.Context(), header, body)
		if err == nil {
			takeAll(t, fix, items)
		}
	})
}

func FuzzToken(f *testing.F) {
	fix := newFixture(f)
	good := fix.token(nil)
	known := map[string]bool{good: true}
	f.Add(good)
	f.Add(good[1:])
	other := fix.token(func(t *decisionv1.Token) { t.Tenant = "bank" })
	known[other] = true
	f.Add(other)
	f.Fuzz(func(t *testing.T, text string) {
		token, why := fix.door.verify(text, "", noon)
		if (token == nil) == (why == "") {
			t.Fatalf("token %v, why %q", token, why)
		}
		if token != nil && !known[text] && fix.token(func(x *decisionv1.Token) { x.Reset(); mergeToken(x, token) }) != text {
			t.Fatalf("a token passes that was never signed: %q", text)
		}
	})
}

func mergeToken(into, from *decisionv1.Token) {
	data, _ := from.MarshalVT()
	_ = into.UnmarshalVT(data)
}

func FuzzNATS(f *testing.F) {
	fix := newFixture(f)
	req, _ := (&eventv1.PublishEventsRequest{Events: []*eventv1.Event{
		{Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: "u"}}},
	}}).MarshalVT()
	f.Add("application/protobuf", req)
	f.Add("application/json", []byte(`{"type":"track","userId":"u","event":"a"}`))
	f.Add("", []byte(`{"batch":[{"type":"page","anonymousId":"a"}]}`))
	f.Fuzz(func(t *testing.T, media string, data []byte) {
		items, err := parseNATS(t.Context(), nats.Header{"Content-Type": {media}}, data)
		if err == nil {
			takeAll(t, fix, items)
		}
	})
}
