package ingestsvc

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

func order() ce.Event {
	e := ce.New()
	e.SetID("7")
	e.SetSource("/shop")
	e.SetType("order_placed")
	e.SetSubject("subject-is-second")
	e.SetTime(noon.Add(-time.Hour))
	e.SetExtension("userid", "ü1")
	e.SetExtension("email", "Ann@Shop.Example")
	e.SetExtension("timezone", "Asia/Tokyo")
	_ = e.SetData(ce.ApplicationJSON, map[string]any{"total": 12, "paid": true})
	return e
}

func wantOrder() *eventv1.Event {
	return &eventv1.Event{
		Id: "/shop#7", Tenant: "default", Type: "order_placed", Kind: eventv1.Kind_KIND_TRACK,
		At: timestamppb.New(noon.Add(-time.Hour)), ReceivedAt: timestamppb.New(noon),
		Identifiers: []*eventv1.Identifier{id("user_id", "ü1"), {Kind: "email", Value: "ann@shop.example", Written: "Ann@shop.example"}},
		Properties:  []*eventv1.Property{prop("paid", event.Flag(true)), prop("total", event.Integer(12))},
		Context:     &eventv1.Context{Via: "cloudevents", Source: "/shop", TimeZone: "Asia/Tokyo"},
	}
}

// TestCloudEventsInAllModes publishes as the official SDK writes each mode.
func TestCloudEventsInAllModes(t *testing.T) {
	e := order()
	binary, err := cehttp.NewHTTPRequestFromEvent(t.Context(), "/cloudevents", e)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := cehttp.NewHTTPRequestFromEvents(t.Context(), "/cloudevents", []ce.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	structured := httptest.NewRequest(http.MethodPost, "/cloudevents", bytes.NewReader(data))
	structured.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	for mode, req := range map[string]*http.Request{"binary": binary, "structured": structured, "batch": batch} {
		t.Run(mode, func(t *testing.T) {
			f := newFixture(t)
			rec := httptest.NewRecorder()
			f.handler.ServeHTTP(rec, req)
			if rec.Code != http.StatusOK {
				t.Fatalf("got %d %s", rec.Code, rec.Body)
			}
			if diff := cmp.Diff(wantOrder(), f.one("live"), protocmp.Transform()); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheSubjectIsAUserWhenNobodyElseIsNamed(t *testing.T) {
	f := newFixture(t)
	f.post("/cloudevents", `{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u9","data":[1]}`, "Content-Type", "application/cloudevents+json")
	got := f.one("live")
	if ids := got.GetIdentifiers(); len(ids) != 1 || ids[0].GetKind() != "user_id" || ids[0].GetValue() != "u9" {
		t.Errorf("identifiers %v", ids)
	}
	if event.Property(got.GetProperties(), "data").GetList() == nil {
		t.Errorf("data that is no object is lost: %v", got.GetProperties())
	}
}

func TestACloudEventBatchIsTakenItemByItem(t *testing.T) {
	f := newFixture(t)
	code, a, _ := f.post("/cloudevents", `[
		{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u"},
		{"specversion":"1.0","id":"2","source":"/s","subject":"u"},
		{"specversion":"9.9"}, 7,
		{"specversion":"1.0","id":"3","source":"/s","type":"a"},
		{"specversion":"1.0","id":"4","source":"/s","type":"a","subject":"u","datacontenttype":"text/xml","data":"<a/>"},
		{"specversion":"1.0","id":"5","source":"/s","type":"consent_withdrawn","subject":"u","data":{"channel":"email"}}]`,
		"Content-Type", "application/cloudevents-batch+json")
	var refused []int
	for _, r := range a.Refused {
		refused = append(refused, r.Index)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5}, refused); code != http.StatusOK || diff != "" {
		t.Fatalf("got %d, refused (-want +got):\n%s", code, diff)
	}
	if f.one("live").GetId() != "/s#1" || f.one("control").GetConsent().GetChannel() != "email" {
		t.Error("the good ones are not stored as they should")
	}
}

// What is wrong with a CloudEvent is said in the words of this program, with what to write; the SDK's words say neither.
func TestCloudEventRefusalsSayWhatToWrite(t *testing.T) {
	f := newFixture(t)
	for name, tc := range map[string]struct {
		body    string
		headers []string
		want    string
	}{
		"no id":          {`{"specversion":"1.0","source":"/s","type":"a","subject":"u"}`, nil, "id: is missing: give each event of a source an id of its own"},
		"no type":        {`{"specversion":"1.0","id":"1","source":"/s","subject":"u"}`, nil, "type: is missing: write what happened, such as order_placed"},
		"no source":      {`{"specversion":"1.0","id":"1","type":"a","subject":"u"}`, nil, "source: is missing or is no URI reference: write who published it, such as /shop"},
		"source":         {`{"specversion":"1.0","id":"1","type":"a","source":"%zz","subject":"u"}`, nil, "source: is missing or is no URI reference"},
		"no specversion": {`{"id":"1","source":"/s","type":"a","subject":"u"}`, nil, "specversion: is missing or not known: write 1.0"},
		"specversion":    {`{"specversion":"9.9","id":"1","source":"/s","type":"a","subject":"u"}`, nil, "specversion: is missing or not known: write 1.0"},
		"base64":         {`{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u","data_base64":"%"}`, nil, "data_base64: is not base64"},
		"header":         {`{}`, []string{"Ce-Id", "1", "Ce-Type", "a"}, "ce-specversion is missing: write 1.0"},
		"old header":     {`{}`, []string{"Ce-Id", "1", "Ce-Specversion", "7"}, `ce-specversion "7" is not known: write 1.0`},
		"no header":      {`{}`, []string{"Content-Type", "application/json"}, "send ce- headers, or JSON with Content-Type application/cloudevents+json"},
		"binary":         {`{}`, []string{"Ce-Id", "1", "Ce-Specversion", "1.0", "Ce-Type", "a"}, "source: is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			headers := tc.headers
			if headers == nil {
				headers = []string{"Content-Type", "application/cloudevents+json"}
			}
			_, a, _ := f.post("/cloudevents", tc.body, headers...)
			said := a.Error
			for _, r := range a.Refused {
				said += r.Field + ": " + r.Why
			}
			if !strings.Contains(said, tc.want) || strings.Contains(said, "MUST") || strings.Contains(said, "REQUIRED") {
				t.Errorf("got %q; want %q", said, tc.want)
			}
		})
	}
	// An attribute that it can do without never loses the event.
	e, remarks := f.accepted("/cloudevents", `{"specversion":"1.0","id":"9","source":"/s","type":"a","subject":"u","dataschema":"no schema"}`, "Content-Type", "application/cloudevents+json")
	if e.GetId() != "/s#9" || !slices.Equal(remarks, []string{"dataschema"}) {
		t.Errorf("got %v, remarks %v", e, remarks)
	}
}
