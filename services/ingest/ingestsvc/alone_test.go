package ingestsvc

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
)

// hopeless are items of which nothing can be read, and what is said about them.
func hopeless() map[string]string {
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	return map[string]string{
		"{\"type\":\"track\",\"userId\":\"\xff\xfe\",\"event\":\"a\",\"specversion\":\"1.0\"}": "not valid UTF-8",
		nested(33):     "nested deeper than 32",
		nested(50_000): "nested deeper than 32",
	}
}

// TestAHopelessItemLosesNoOther puts what cannot be read between two good items, at every entrance that takes several.
func TestAHopelessItemLosesNoOther(t *testing.T) {
	const one, two = `{"type":"track","userId":"u","event":"a"}`, `{"type":"track","userId":"u","event":"]}\"b"}`
	const ceOne, ceTwo = `{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u"}`, `{"specversion":"1.0","id":"2","source":"/s","type":"b","subject":"u"}`
	for bad, says := range hopeless() {
		for _, batch := range []struct{ path, body, media string }{
			{"/v1/batch", `{"sentAt":"2026-11-21T12:00:00Z", "batch": [` + one + ` , ` + bad + ",\n" + two + `]}`, "application/json"},
			{"/cloudevents", `[` + ceOne + `,` + bad + `, ` + ceTwo + `]`, "application/cloudevents-batch+json"},
		} {
			f := newFixture(t)
			code, a, _ := f.post(batch.path, batch.body, "Content-Type", batch.media)
			if code != http.StatusOK || len(a.Refused) != 1 || a.Refused[0].Index != 1 || !strings.Contains(a.Refused[0].Why, says) {
				t.Fatalf("%s %.40q: got %d %+v, want 200 and that %s", batch.path, bad, code, a, says)
			}
			if letters := f.letters(); len(letters) != 1 || string(letters[0].GetPayload()) != bad || len(f.stored("live")) != 2 {
				t.Errorf("%s %.40q: %d are stored, and %d dead letters", batch.path, bad, len(f.stored("live")), len(letters))
			}
		}
	}
}

// TestAHopelessItemIsKept sends such an item alone.
func TestAHopelessItemIsKept(t *testing.T) {
	for bad, says := range hopeless() {
		for _, c := range []struct{ path, media string }{{"/v1/track", "application/json"}, {"/cloudevents", "application/cloudevents+json"}} {
			if c.path == "/v1/track" && len(bad) > maxEvent {
				continue
			}
			f := newFixture(t)
			code, a, _ := f.post(c.path, bad, "Content-Type", c.media)
			if code != http.StatusOK || len(a.Refused) != 1 || !strings.Contains(a.Refused[0].Why, says) || len(f.letters()) != 1 || string(f.letters()[0].GetPayload()) != bad {
				t.Errorf("%s %.40q: got %d %+v", c.path, bad, code, a)
			}
		}
		f := newFixture(t)
		m := &nats.Msg{Subject: log.PublishSubject + ".default", Data: []byte(`{"batch":[` + bad + `,{"type":"track","userId":"u","event":"a"}]}`)}
		reply := string(newNATSEntrance(f.door).handle(t.Context(), nil, m, nats.Header{}))
		if !strings.Contains(reply, says) || len(f.stored("live")) != 1 || len(f.letters()) != 1 {
			t.Errorf("%.40q: reply %s", bad, reply)
		}
	}
	f := newFixture(t)
	deep := strings.Repeat(`[`, 40) + strings.Repeat("]", 40)
	_, a, _ := f.post("/v1/batch", `{"context":{"x":`+deep+`},"batch":[{"type":"track","userId":"u","event":"a"}]}`)
	if len(a.Refused) > 0 || len(a.Remarks) != 1 || a.Remarks[0].Field != "batch.context" || len(f.stored("live")) != 1 {
		t.Errorf("a deep context: got %+v", a)
	}
	_, a, _ = f.post("/cloudevents", deep, "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Ce-Specversion", "1.0", "Ce-Userid", "u", "Content-Type", "application/json")
	if len(a.Refused) != 1 || !strings.Contains(a.Refused[0].Why, "deeper") {
		t.Errorf("deep data: got %+v", a)
	}
}

// TestAReceiptIsNotLostForAFieldThatCanBeMissed has what providers write where a text is expected.
func TestAReceiptIsNotLostForAFieldThatCanBeMissed(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for body, want := range map[string]struct{ reason, remarks string }{
		`"reason":550`:               {"550", ""},
		`"id":17`:                    {"", ""},
		`"reason":null,"id":null`:    {"", ""},
		`"reason":{"code":550}`:      {"", "reason"},
		`"id":[1]`:                   {"", "id"},
		"\"reason\":\"gr\xfc\xdfe\"": {"gr?e", ""},
		`"raw":` + deep:              {"", ""},
		`"reason":` + deep:           {"", "reason"},
		`"at":{},"machine":7`:        {"", "at"},
	} {
		f := newFixture(t)
		code, a, _ := f.post("/v1/receipts/email", `{"token":"`+f.token(nil)+`","kind":"complained",`+body+`}`)
		if code != http.StatusOK || len(a.Refused) > 0 {
			t.Fatalf("%s: got %d %+v", body, code, a)
		}
		var fields []string
		for _, r := range a.Remarks {
			fields = append(fields, r.Field)
		}
		e := f.one("control")
		if e.GetOutcome().GetReason() != want.reason || strings.Join(fields, " ") != want.remarks || len(e.GetRemarks()) != len(fields) {
			t.Errorf("%s: stored %v, remarks on %v", body, e, fields)
		}
	}
	f := newFixture(t)
	for _, id := range []string{"17", `"17"`, "18"} {
		f.post("/v1/receipts/email", `{"token":"`+f.token(nil)+`","kind":"complained","id":`+id+`}`)
	}
	if all := f.stored("control"); len(all) != 3 || all[0].GetId() != all[1].GetId() || all[1].GetId() == all[2].GetId() {
		t.Errorf("a number is not the id that it writes: %v", all)
	}
}

// TestAnOutcomesValueIsReadOrRemarked covers what apps send as a value and reason.
func TestAnOutcomesValueIsReadOrRemarked(t *testing.T) {
	for body, want := range map[string]struct {
		value   float64
		reason  string
		remarks string
	}{
		`"value":"19.99"`:                     {value: 19.99},
		`"value":" 12 "`:                      {value: 12},
		`"value":19.99`:                       {value: 19.99},
		`"value":null`:                        {},
		`"value":""`:                          {},
		`"value":true`:                        {remarks: "properties.value"},
		`"value":"a lot"`:                     {remarks: "properties.value"},
		`"value":[1]`:                         {remarks: "properties.value"},
		`"value":"0x10"`:                      {remarks: "properties.value"},
		`"value":"1e999"`:                     {remarks: "properties.value"},
		`"value":"1e-999"`:                    {remarks: "properties.value"},
		`"value":9007199254740993`:            {value: 9007199254740992, remarks: "properties.value"},
		`"value":"42.0000000000000000001"`:    {value: 42, remarks: "properties.value"},
		`"reason":7`:                          {reason: "7"},
		`"reason":" already_done "`:           {reason: "already_done"},
		`"reason":["already_done"],"value":1`: {value: 1, remarks: "properties.reason"},
	} {
		f := newFixture(t)
		e, remarks := f.accepted("/v1/track", `{"userId":"u","event":"convert","properties":{"token":"`+f.token(nil)+`",`+body+`}}`)
		o := e.GetOutcome()
		if e.GetKind() != eventv1.Kind_KIND_OUTCOME || o.GetValue() != want.value || o.GetReason() != want.reason || strings.Join(remarks, " ") != want.remarks {
			t.Errorf("%s: got %v, remarks on %v", body, o, remarks)
		}
	}
}

// TestAZoneThatIsNoneIsRemarked holds each entrance to it.
func TestAZoneThatIsNoneIsRemarked(t *testing.T) {
	f := newFixture(t)
	if e, remarks := f.accepted("/cloudevents", `{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u","timezone":"Mars/Base"}`, "Content-Type", "application/cloudevents+json"); len(remarks) != 1 || remarks[0] != "timezone" || e.GetContext().GetTimeZone() != "" {
		t.Errorf("event %v, remarks on %v", e, remarks)
	}
	in := &eventv1.Event{Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{id("user_id", "u")}, Properties: []*eventv1.Property{prop("x", event.Integer(1))}, Context: &eventv1.Context{TimeZone: "Mars/Base"}}
	if it := protoItem(in, viaGRPC); len(it.remarks) != 1 || it.remarks[0].Field != "context.time_zone" || it.event.GetContext().GetTimeZone() != "" {
		t.Errorf("item %+v", it)
	}
}
