package ingestsvc

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/run"
)

func id(kind, value string) *eventv1.Identifier { return &eventv1.Identifier{Kind: kind, Value: value} }

func prop(name string, v *eventv1.Value) *eventv1.Property {
	return &eventv1.Property{Name: name, Value: v}
}

func TestEverySegmentCallBecomesItsEvent(t *testing.T) {
	at := timestamppb.New(noon.Add(-time.Hour))
	for _, c := range []struct {
		call, body string
		want       *eventv1.Event
	}{
		{"track", `{"userId":"u1","event":"order_placed","properties":{"total":12,"rate":0.5,"items":[{"sku":"a"}]},"context":{"timezone":"Asia/Tokyo","locale":"ja-JP","library":{"name":"x","version":"1"}},`,
			&eventv1.Event{Type: "order_placed", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{id("user_id", "u1")},
				Properties: []*eventv1.Property{
					prop("items", must(event.FromAny([]any{map[string]any{"sku": "a"}}))), prop("rate", event.Number(0.5)), prop("total", event.Integer(12)),
				},
				Context: &eventv1.Context{TimeZone: "Asia/Tokyo", Locale: "ja-JP", Source: "x/1", Via: "segment"}}},
		{"identify", `{"anonymousId":"a1","userId":"u1","traits":{"email":" Ann@Shop.Example ","phone":"+44 20 7946-0000"},`,
			&eventv1.Event{Type: "identify", Kind: eventv1.Kind_KIND_IDENTIFY,
				Identifiers: []*eventv1.Identifier{id("user_id", "u1"), {Kind: "email", Value: "ann@shop.example", Written: "Ann@shop.example"}, id("phone", "+442079460000"), id("anonymous_id", "a1")},
				Traits:      []*eventv1.Property{prop("email", event.Text(" Ann@Shop.Example ")), prop("phone", event.Text("+44 20 7946-0000"))}}},
		{"page", `{"anonymousId":"a1","name":"Home","category":"top","properties":{"url":"/"},`,
			&eventv1.Event{Type: "page", Kind: eventv1.Kind_KIND_PAGE, Identifiers: []*eventv1.Identifier{id("anonymous_id", "a1")},
				Properties: []*eventv1.Property{prop("url", event.Text("/")), prop("category", event.Text("top")), prop("name", event.Text("Home"))}}},
		{"screen", `{"userId":17,"name":"Home",`,
			&eventv1.Event{Type: "screen", Kind: eventv1.Kind_KIND_SCREEN, Identifiers: []*eventv1.Identifier{id("user_id", "17")},
				Properties: []*eventv1.Property{prop("name", event.Text("Home"))}}},
		{"group", `{"userId":"u1","groupId":"g1","traits":{"plan":"pro"},`,
			&eventv1.Event{Type: "group", Kind: eventv1.Kind_KIND_GROUP, Identifiers: []*eventv1.Identifier{id("user_id", "u1")},
				Account: id("account_id", "g1"), Traits: []*eventv1.Property{prop("plan", event.Text("pro"))}}},
		{"alias", `{"userId":"u1","previousId":"a1",`,
			&eventv1.Event{Type: "alias", Kind: eventv1.Kind_KIND_ALIAS, Previous: id("anonymous_id", "a1"),
				Identifiers: []*eventv1.Identifier{id("user_id", "u1"), id("anonymous_id", "a1")}}},
		{"alias", `{"userId":"u1","previousId":"a1","anonymousId":"a1",`, // the browser's library: it is said to be a device's
			&eventv1.Event{Type: "alias", Kind: eventv1.Kind_KIND_ALIAS, Identifiers: []*eventv1.Identifier{id("user_id", "u1"), id("anonymous_id", "a1")}}},
	} {
		t.Run(c.call, func(t *testing.T) {
			f := newFixture(t)
			code, a, header := f.post("/v1/"+c.call, c.body+`"messageId":"m1","timestamp":"2026-11-21T11:00:00Z"}`)
			if code != http.StatusOK || !a.Success || len(a.Refused) > 0 || len(a.Positions) != 1 {
				t.Fatalf("got %d %+v", code, a)
			}
			if want := fmt.Sprintf("live/%d/%d", a.Positions[0].Partition, a.Positions[0].Sequence); header.Get(positionHeader) != want {
				t.Errorf("position header %q, want %q", header.Get(positionHeader), want)
			}
			c.want.Id, c.want.Tenant, c.want.At, c.want.ReceivedAt = "m1", "default", at, timestamppb.New(noon)
			if c.want.Context == nil {
				c.want.Context = &eventv1.Context{Via: "segment"}
			}
			got := f.one("live")
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Fatalf("event (-want +got):\n%s", diff)
			}
			if home := f.hasher.Home("default", got.GetIdentifiers()[0]); uint32(home) != a.Positions[0].Partition { //nolint:gosec // small
				t.Errorf("stored in partition %d, home is %d", a.Positions[0].Partition, home)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestABatchIsTakenItemByItem(t *testing.T) {
	f := newFixture(t)
	code, a, _ := f.post("/v1/batch", `{"sentAt":"2026-11-21T12:10:00Z","context":{"timezone":"Europe/London"},"batch":[
		{"type":"track","event":"a","userId":"u1","messageId":"m1","timestamp":"2026-11-21T12:09:00Z"},
		{"type":"identify","traits":{"email":"not an address"}},
		{"type":"track","event":"b","userId":"u3","context":{"timezone":"Asia/Tokyo"}},
		{"type":"nonsense","userId":"u3"},
		7,
		{"type":"track","event":"c","userId":"null","anonymousId":"a1","messageId":"m6"},
		{"type":"track","event":"c","userId":"undefined"},
		{"type":"track","userId":"u1"}]}`)
	if code != http.StatusOK || !a.Success {
		t.Fatalf("got %d %+v", code, a)
	}
	var refused []string
	for _, r := range a.Refused {
		refused = append(refused, fmt.Sprintf("%d %s", r.Index, r.Field))
		if r.DeadLetter == "" || r.Why == "" {
			t.Errorf("refusal %+v says too little", r)
		}
	}
	if diff := cmp.Diff([]string{"1 traits.email", "3 type", "4 ", "6 userId", "7 event"}, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if len(a.IDs) != 1 || a.IDs[0].Index != 2 || a.IDs[0].ID == "" {
		t.Errorf("made ids %+v", a.IDs)
	}
	if n := len(f.letters()); n != 5 {
		t.Errorf("%d dead letters, want 5", n)
	}
	byType := map[string]*eventv1.Event{}
	for _, e := range f.stored("live") {
		byType[e.GetType()] = e
	}
	if len(byType) != 3 {
		t.Fatalf("stored %v", byType)
	}
	if got := byType["a"].GetAt().AsTime(); !got.Equal(noon.Add(-time.Minute)) {
		t.Errorf("time %s is not corrected for the publisher's clock", got)
	}
	if z := byType["a"].GetContext().GetTimeZone() + " " + byType["b"].GetContext().GetTimeZone(); z != "Europe/London Asia/Tokyo" {
		t.Errorf("zones %s", z)
	}
	if ids := byType["c"].GetIdentifiers(); len(ids) != 1 || ids[0].GetKind() != "anonymous_id" {
		t.Errorf("a blocked value is kept: %v", ids)
	}
}

func TestAMadeIDSurvivesARetryIfTheContentHasATime(t *testing.T) {
	f := newFixture(t)
	body := `{"userId":"u1","event":"a","timestamp":"2026-11-21T11:00:00Z"}`
	_, first, _ := f.post("/v1/track", body)
	_, second, _ := f.post("/v1/track", body)
	if first.IDs[0].ID != second.IDs[0].ID {
		t.Errorf("ids %s and %s", first.IDs[0].ID, second.IDs[0].ID)
	}
}

func TestARefusedItemHasOneDeadLetterHoweverOftenItComes(t *testing.T) {
	f := newFixture(t)
	_, first, _ := f.post("/v1/track", `{"event":"a"}`)
	_, second, _ := f.post("/v1/track", `{"event":"a"}`)
	if first.Refused[0].DeadLetter != second.Refused[0].DeadLetter {
		t.Errorf("letters %+v and %+v", first, second)
	}
	letter := f.letters()[0]
	if letter.GetStage() != "ingest" || letter.GetCode() != "REFUSED" || letter.GetTenant() != "default" ||
		string(letter.GetPayload()) != `{"event":"a"}` || !strings.Contains(letter.GetWhy(), "identifiers") {
		t.Errorf("dead letter %v", letter)
	}
}

func TestWriteKeysBelongToTenants(t *testing.T) {
	keyed := func(c *Config, _ *run.Deps) {
		c.WriteKeys = map[string]config.Secret{"shop": "k1 k2", "bank": "k3"}
	}
	body := `{"userId":"u1","event":"a","messageId":"m"%s}`
	basic := func(key string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":")) }
	for name, c := range map[string]struct {
		auth, body, tenant string
	}{
		"basic":       {auth: basic("k1"), tenant: "shop"},
		"second key":  {auth: basic("k2"), tenant: "shop"},
		"bearer":      {auth: "Bearer k3", tenant: "bank"},
		"in the body": {body: `,"writeKey":"k3"`, tenant: "bank"},
		"unknown":     {auth: basic("k9")},
		"none":        {},
		"no base64":   {auth: "Basic %%%"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, keyed)
			code, _, _ := f.post("/v1/track", fmt.Sprintf(body, c.body), "Authorization", c.auth)
			if c.tenant == "" {
				if code != http.StatusUnauthorized || len(f.stored("live")) != 0 {
					t.Fatalf("got %d", code)
				}
				return
			}
			if got := f.one("live").GetTenant(); code != http.StatusOK || got != c.tenant {
				t.Fatalf("got %d, tenant %s", code, got)
			}
		})
	}
}

func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func TestGzipIsInflated(t *testing.T) {
	f := newFixture(t)
	code, _, _ := f.post("/v1/track", zip(`{"userId":"u1","event":"a"}`), "Content-Encoding", "gzip")
	if code != http.StatusOK || f.one("live").GetType() != "a" {
		t.Fatalf("got %d", code)
	}
}

func TestBrowsersMayPublish(t *testing.T) {
	f := newFixture(t)
	code, _, header := f.do(http.MethodOptions, "/v1/track", nil)
	if code != http.StatusNoContent || header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Fatalf("preflight: %d %v", code, header)
	}
	if code, _, header := f.do(http.MethodGet, "/v1/track", nil); code != http.StatusMethodNotAllowed || header.Get("Allow") == "" {
		t.Fatalf("GET: %d", code)
	}
}

func TestConsentTravelsInTheControlLane(t *testing.T) {
	f := newFixture(t)
	_, a, _ := f.post("/v1/track", `{"userId":"u1","event":"consent_withdrawn","properties":{"channel":"email","basis":"express","evidence":"form-7"}}`, laneHeader, "bulk")
	got := f.one("control")
	want := &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*", Basis: "express", Evidence: "form-7"}
	if diff := cmp.Diff(want, got.GetConsent(), protocmp.Transform()); diff != "" || got.GetKind() != eventv1.Kind_KIND_CONSENT || a.Positions[0].Lane != "control" {
		t.Fatalf("kind %v, position %+v, consent (-want +got):\n%s", got.GetKind(), a.Positions, diff)
	}
	_, a, _ = f.post("/v1/track", `{"userId":"u1","event":"consent_given","properties":{"channel":"email"}}`)
	if len(a.Refused) != 1 || a.Refused[0].Field != "properties.topic" {
		t.Fatalf("consent without a topic: %+v", a)
	}
}

func TestBulkIsOnlyForThoseWhoAsk(t *testing.T) {
	f := newFixture(t)
	f.post("/v1/track", `{"userId":"u1","event":"a"}`, laneHeader, "bulk")
	f.post("/v1/track", `{"userId":"u1","event":"b"}`, laneHeader, "control")
	if f.one("bulk").GetType() != "a" || f.one("live").GetType() != "b" || len(f.stored("control")) != 0 {
		t.Error("lanes are mixed up")
	}
}

func TestReplayedTimesAreTakenAsTheyAre(t *testing.T) {
	st := &replayStamper{}
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Stamper = st })
	f.post("/v1/track", `{"userId":"u1","event":"a","timestamp":"2011-01-04T10:00:00Z","sentAt":"2026-11-21T12:00:00Z"}`)
	got := f.one("live")
	want := time.Date(2011, 1, 4, 10, 0, 0, 0, time.UTC)
	if !got.GetAt().AsTime().Equal(want) || !got.GetReceivedAt().AsTime().Equal(want.Add(time.Hour)) || st.done != 1 {
		t.Errorf("at %s, received %s, done %d times", got.GetAt().AsTime(), got.GetReceivedAt().AsTime(), st.done)
	}
	f.post("/v1/track", `{"event":"a","timestamp":"2012-01-04T10:00:00Z"}`)
	if st.done != 1 {
		t.Error("a refused item moved the clock")
	}
}

type replayStamper struct{ done int }

func (s *replayStamper) Arrive(at []time.Time) (received []time.Time, done func()) {
	for _, t := range at {
		received = append(received, t.Add(time.Hour))
	}
	return received, func() { s.done++ }
}

func (*replayStamper) Skew() bool { return false }
