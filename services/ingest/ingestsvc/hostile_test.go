package ingestsvc

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/log"
)

// TestHostileBodiesGetAClearError sends to every HTTP entrance what must neither crash nor be stored.
func TestHostileBodiesGetAClearError(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000)
	bomb := zip(`{"userId":"u","event":"` + strings.Repeat("a", 20<<20) + `"}`)
	binary := []string{"Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Ce-Specversion", "1.0", "Ce-Userid", "u", "Content-Type", "application/json"}
	for name, c := range map[string]struct {
		path, body string
		headers    []string
		status     int
		says       string
	}{
		"no JSON":               {path: "/v1/track", body: "hello", status: 400, says: "not JSON"},
		"nothing":               {path: "/v1/track", status: 400, says: "JSON"},
		"half":                  {path: "/v1/batch", body: `{"batch":[`, status: 400, says: "JSON"},
		"two values":            {path: "/v1/batch", body: `{"batch":[{}]} {}`, status: 400, says: "more after"},
		"batch of another type": {path: "/v1/batch", body: `{"batch":{}}`, status: 400, says: "batch"},
		"empty batch":           {path: "/v1/batch", body: `{"batch":[]}`, status: 400, says: "batch"},
		"too many":              {path: "/v1/batch", body: `{"batch":[` + strings.Repeat("1,", 2500) + `1]}`, status: 400, says: "2500"},
		"large event":           {path: "/v1/track", body: `{"event":"` + strings.Repeat("a", 33<<10) + `"}`, status: 413, says: "too large"},
		"large batch":           {path: "/v1/batch", body: `{"batch":["` + strings.Repeat("a", 501<<10) + `"]}`, status: 413, says: "too large"},
		"gzip bomb":             {path: "/v1/batch", body: bomb, headers: []string{"Content-Encoding", "gzip"}, status: 413, says: "too large"},
		"no gzip":               {path: "/v1/batch", body: "hello", headers: []string{"Content-Encoding", "gzip"}, status: 400, says: "gzip"},
		"cut gzip":              {path: "/v1/batch", body: zip(`{"batch":[]}`)[:12], headers: []string{"Content-Encoding", "gzip"}, status: 400, says: "end"},
		"unknown encoding":      {path: "/v1/batch", body: "x", headers: []string{"Content-Encoding", "br"}, status: 400, says: "gzip"},
		"CloudEvent: nothing":   {path: "/cloudevents", status: 400, says: "CloudEvent"},
		"CloudEvent: no JSON":   {path: "/cloudevents", body: "{", headers: []string{"Content-Type", "application/cloudevents+json"}, status: 400, says: "CloudEvent"},
		"CloudEvent: bomb":      {path: "/cloudevents", body: bomb, headers: append([]string{"Content-Encoding", "gzip"}, binary...), status: 413, says: "too large"},
		"receipt: no token":     {path: "/v1/receipts/email", body: `{"kind":"delivered"}`, status: 400, says: "token"},
		"receipt: wrong type":   {path: "/v1/receipts/email", body: `{"token":7}`, status: 400, says: "token"},
		"receipt: deep":         {path: "/v1/receipts/email", body: deep[:30<<10], status: 400, says: "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			code, a, _ := f.post(c.path, c.body, c.headers...)
			if code != c.status || a.Success || !strings.Contains(a.Error, c.says) {
				t.Errorf("got %d %.200q, want %d with %q", code, a.Error, c.status, c.says)
			}
			if n := len(f.stored("live")) + len(f.stored("control")) + len(f.stored("bulk")); n != 0 {
				t.Errorf("%d events are stored", n)
			}
		})
	}
}

// TestHostileItemsAreRefusedAlone puts each wrong item beside a good one.
func TestHostileItemsAreRefusedAlone(t *testing.T) {
	for name, item := range map[string]string{
		"large":               `{"type":"track","userId":"u","event":"` + strings.Repeat("a", 33<<10) + `"}`,
		"userId an object":    `{"type":"track","userId":{},"event":"a"}`,
		"userId too long":     `{"type":"track","userId":"` + strings.Repeat("u", 600) + `","event":"a"}`,
		"no event":            `{"type":"track","userId":"u"}`,
		"no one":              `{"type":"track","event":"a"}`,
		"group of nothing":    `{"type":"group","userId":"u"}`,
		"alias of one":        `{"type":"alias","userId":"u"}`,
		"profile smuggled in": `{"type":"track","event":"a","context":{"externalIds":[{"type":"profile","id":"07070707070707070707070707070707"}]}}`,
		"header injection":    `{"type":"identify","traits":{"email":"a@b.example\r\nBcc: c@d.example"}}`,
		"null":                `null`,
		"list":                `[]`,
		"forged token":        `{"type":"track","userId":"u","event":"click","properties":{"token":"AAAA"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			code, a, _ := f.post("/v1/batch", `{"batch":[{"type":"track","userId":"good","event":"a"},`+item+`]}`)
			if code != http.StatusOK || len(a.Refused) != 1 || a.Refused[0].Index != 1 || a.Refused[0].Why == "" {
				t.Fatalf("got %d %+v", code, a)
			}
			if f.one("live").GetIdentifiers()[0].GetValue() != "good" || len(f.letters()) != 1 {
				t.Error("the good one is not stored, or the bad one not kept")
			}
		})
	}
}

func TestHostileNATSPayloadsGetAClearError(t *testing.T) {
	proto := nats.Header{"content-type": {"application/protobuf"}}
	for name, c := range map[string]struct {
		tenant string
		msg    nats.Msg
	}{
		"nothing":      {tenant: "default"},
		"no JSON":      {tenant: "default", msg: nats.Msg{Data: []byte("\xff{")}},
		"deep":         {tenant: "default", msg: nats.Msg{Data: []byte(strings.Repeat("[", 100_000))}},
		"large":        {tenant: "default", msg: nats.Msg{Data: make([]byte, maxBatch+1)}},
		"wrong tenant": {tenant: "A*", msg: nats.Msg{Data: []byte(`{"type":"track","userId":"u","event":"a"}`)}},
		"broken proto": {tenant: "default", msg: nats.Msg{Header: proto, Data: []byte{0xff, 0xff}}},
		"empty proto":  {tenant: "default", msg: nats.Msg{Header: proto}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c.msg.Subject = log.PublishSubject + "." + c.tenant
			reply := string(newNATSEntrance(f.door).handle(t.Context(), nil, &c.msg, nats.Header{}))
			if !strings.Contains(reply, `"success":false,"error":"`) {
				t.Errorf("reply %s", reply)
			}
		})
	}
}

// TestProtobufIsCheckedAsWellAsJSON sends what only protobuf can carry.
func TestProtobufIsCheckedAsWellAsJSON(t *testing.T) {
	good := func() *eventv1.Event {
		return &eventv1.Event{Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{id("user_id", "u")}}
	}
	for name, change := range map[string]func(*eventv1.Event){
		"bytes in a text":    func(e *eventv1.Event) { e.Type = "\xff" },
		"bytes in an id":     func(e *eventv1.Event) { e.Identifiers[0].Value = "\xff" },
		"unknown kind":       func(e *eventv1.Event) { e.Kind = 77 },
		"no kind":            func(e *eventv1.Event) { e.Kind = 0 },
		"unknown identifier": func(e *eventv1.Event) { e.Identifiers[0].Kind = "shoe" },
		"direct addressing":  func(e *eventv1.Event) { e.Identifiers[0].Kind = "profile" },
		"another tenant":     func(e *eventv1.Event) { e.Tenant = "bank" },
		"nil identifier":     func(e *eventv1.Event) { e.Identifiers[0] = nil },
		"consent unsaid":     func(e *eventv1.Event) { e.Kind = eventv1.Kind_KIND_CONSENT },
		"outcome unsaid":     func(e *eventv1.Event) { e.Kind = eventv1.Kind_KIND_OUTCOME },
		"outcome forged": func(e *eventv1.Event) {
			e.Kind, e.Outcome = eventv1.Kind_KIND_OUTCOME, &eventv1.Outcome{Kind: 2, Token: "x"}
		},
		"consent smuggled in": func(e *eventv1.Event) { e.Consent = &eventv1.Consent{State: 1, Channel: "*", Topic: "*"} },
	} {
		t.Run(name, func(t *testing.T) {
			f, bad := newFixture(t), good()
			change(bad)
			items, err := protoItems(&eventv1.PublishEventsRequest{Events: []*eventv1.Event{good(), bad, nil}}, viaGRPC)
			if err != nil {
				t.Fatal(err)
			}
			r, err := f.door.take(t.Context(), submission{tenant: "default", via: viaGRPC, items: items})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.results[0].refused) != 0 || len(r.results[1].refused) == 0 || len(r.results[2].refused) == 0 {
				t.Fatalf("results %+v", r.results)
			}
			if len(f.stored("live")) != 1 || len(f.letters()) != 2 {
				t.Error("the good one is not stored, or the bad ones not kept")
			}
		})
	}
}

func TestOnlyIANAZonesAreZones(t *testing.T) {
	for _, good := range []string{"UTC", "Europe/London", "Asia/Tokyo"} {
		if !validZone(good) {
			t.Errorf("%q does not pass", good)
		}
	}
	for _, bad := range []string{"", "Local", "../../etc/passwd", "/etc/passwd", strings.Repeat("a/", 50), "Mars/Base"} {
		if validZone(bad) {
			t.Errorf("%q passes for a zone", bad)
		}
	}
}
