package ingestsvc

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// zonedKinds are the default kinds in a workspace with a zone.
type zonedKinds struct{ defaultKinds }

func (zonedKinds) Zone(string) *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}

// accepted posts one call and returns the event and the fields that were remarked on.
func (f *fixture) accepted(path, body string, headers ...string) (*eventv1.Event, []string) {
	f.t.Helper()
	before := len(f.stored("live")) + len(f.stored("control"))
	code, a, _ := f.post(path, body, headers...)
	if code != http.StatusOK || !a.Success || len(a.Refused) > 0 {
		f.t.Fatalf("got %d %+v", code, a)
	}
	all := append(f.stored("live"), f.stored("control")...)
	if len(all) != before+1 {
		f.t.Fatalf("%d events more, want one", len(all)-before)
	}
	e := all[len(all)-1]
	var fields []string
	for i, r := range a.Remarks {
		fields = append(fields, r.Field)
		if kept := e.GetRemarks()[i]; kept.GetField() != r.Field || kept.GetWhy() != r.Why || r.Why == "" {
			f.t.Errorf("answered %+v, stored %v", r, kept)
		}
	}
	if len(e.GetRemarks()) != len(a.Remarks) {
		f.t.Errorf("answered %v, stored %v", a.Remarks, e.GetRemarks())
	}
	return e, fields
}

func TestOneUnusableOptionalFieldNeverLosesTheEvent(t *testing.T) {
	deep := strings.Repeat("[", 20) + strings.Repeat("]", 20)
	for name, c := range map[string]struct {
		call, body string
		remarks    string
	}{
		"PHP's empty maps":         {call: "track", body: `"properties":[],"context":[]`},
		"PHP's empty traits":       {call: "identify", body: `"traits":[],"context":[]`},
		"properties a list":        {call: "track", body: `"properties":[1]`, remarks: "properties"},
		"properties a text":        {call: "track", body: `"properties":"x"`, remarks: "properties"},
		"traits a number":          {call: "identify", body: `"traits":7`, remarks: "traits"},
		"context a text":           {call: "track", body: `"context":"x"`, remarks: "context"},
		"context with odd members": {call: "track", body: `"context":{"timezone":7,"locale":[],"library":"x","groupId":{},"externalIds":{}}`, remarks: "context.timezone context.locale context.library context.groupId context.externalIds"},
		"a zone that is none":      {call: "track", body: `"context":{"timezone":"Mars/Base"}`, remarks: "context.timezone"},
		"a locale too long":        {call: "track", body: `"context":{"locale":"` + strings.Repeat("x", 65) + `"}`, remarks: "context.locale"},
		"an external id of none":   {call: "track", body: `"context":{"externalIds":[{"type":"email"}]}`, remarks: "context.externalIds[0]"},
		"sentAt a word":            {call: "track", body: `"sentAt":"soon"`, remarks: "sentAt"},
		"sentAt an object":         {call: "track", body: `"sentAt":{}`, remarks: "sentAt"},
		"timestamp a word":         {call: "track", body: `"timestamp":"yesterday"`, remarks: "timestamp"},
		"timestamp far away":       {call: "track", body: `"timestamp":"9999-01-01T00:00:00Z"`, remarks: "timestamp"},
		"timestamp a small number": {call: "track", body: `"timestamp":12`, remarks: "timestamp"},
		"timestamp a list":         {call: "track", body: `"timestamp":[]`, remarks: "timestamp"},
		"timestamp empty":          {call: "track", body: `"timestamp":"","sentAt":null`},
		"anonymousId an object":    {call: "track", body: `"anonymousId":{}`, remarks: "anonymousId"},
		"anonymousId null as text": {call: "track", body: `"anonymousId":"null"`, remarks: "anonymousId"},
		"anonymousId too long":     {call: "track", body: `"anonymousId":"` + strings.Repeat("x", 600) + `"`, remarks: "anonymousId"},
		"a bad address":            {call: "identify", body: `"traits":{"email":"not an address","name":"Ann"}`, remarks: "traits.email"},
		"a bad phone":              {call: "identify", body: `"traits":{"phone":"call me"}`, remarks: "traits.phone"},
		"both bad":                 {call: "identify", body: `"traits":{"phone":true,"email":{}}`, remarks: "traits.email traits.phone"},
		"an unknown identifier":    {call: "track", body: `"context":{"externalIds":[{"type":"idfa","id":"x"}]}`, remarks: "context.externalIds[0]"},
		"a bad group":              {call: "track", body: `"context":{"groupId":"` + strings.Repeat("x", 600) + `"}`, remarks: "account"},
		"messageId too long":       {call: "track", body: `"messageId":"` + strings.Repeat("x", 101) + `"`, remarks: "messageId"},
		"messageId an object":      {call: "track", body: `"messageId":{}`, remarks: "messageId"},
		"nested values":            {call: "track", body: `"properties":{"x":` + deep + `,"y":1}`, remarks: "properties.x" + strings.Repeat("[0]", 16)},
		"huge number":              {call: "track", body: `"properties":{"x":1e999,"y":1}`, remarks: "properties.x"},
		"huge number inside":       {call: "identify", body: `"traits":{"x":[{"z":1e999}],"y":1}`, remarks: "traits.x"},
		"empty name":               {call: "track", body: `"properties":{"":1,"y":1}`, remarks: "properties[0].name"},
		"withdrawn, oddly":         {call: "track", body: `"event":"consent_withdrawn","properties":{"expires_at":"soon"},"timestamp":"x"`, remarks: "timestamp properties.expires_at"},
		"page without a text name": {call: "page", body: `"name":{}`, remarks: "name"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			body := `{"userId":"u1",` + c.body + `}`
			if c.call == "track" && !strings.Contains(body, `"event"`) {
				body = `{"event":"a",` + body[1:]
			}
			e, got := f.accepted("/v1/"+c.call, body)
			if strings.Join(got, " ") != c.remarks {
				t.Errorf("remarks on %q, want %q", strings.Join(got, " "), c.remarks)
			}
			if e.GetIdentifiers()[0].GetValue() != "u1" || !e.GetAt().AsTime().Equal(noon) || e.GetId() == "" {
				t.Errorf("event %v", e)
			}
			if strings.Contains(c.body, `"y":1`) && event.Property(append(e.GetProperties(), e.GetTraits()...), "y") == nil {
				t.Errorf("the rest is lost: %v", e)
			}
			if c.body == `"properties":{"x":1e999,"y":1}` && event.TextOf(e.GetProperties(), "x") != "1e999" {
				t.Errorf("the number is not kept: %v", e.GetProperties())
			}
			if len(f.letters()) != 0 {
				t.Error("there is a dead letter")
			}
		})
	}
}

func TestABatchIsNotLostForItsOwnOddFields(t *testing.T) {
	f := newFixture(t)
	code, a, _ := f.post("/v1/batch", `{"context":[],"sentAt":7,"writeKey":7,"batch":[{"type":"track","event":"a","userId":"u1"},{"type":"track","event":"b","userId":"u1"}]}`)
	if code != http.StatusOK || len(a.Refused) > 0 || len(a.Remarks) != 2 || a.Remarks[1].Index != 1 || a.Remarks[1].Field != "batch.sentAt" {
		t.Fatalf("got %d %+v", code, a)
	}
	if len(f.stored("live")) != 2 {
		t.Error("not both are stored")
	}
}

// TestWhatCannotBeMissedIsStillRefused keeps the refusals whose reason is a field that an event cannot be without.
func TestWhatCannotBeMissedIsStillRefused(t *testing.T) {
	for body, field := range map[string]string{
		`{"event":"a","userId":{}}`:                       "userId",
		`{"event":"a","userId":"` + "an\u200bn" + `"}`:    "userId",
		`{"event":{},"userId":"u"}`:                       "event",
		`{"event":"a","userId":"null","anonymousId":"0"}`: "userId",
		`{"event":"consent_given","userId":"u","properties":{"channel":"email","topic":"news"},"timestamp":"yesterday"}`:  "timestamp",
		`{"event":"consent_given","userId":"u","properties":{"channel":"email","topic":"news","expires_at":"next year"}}`: "properties.expires_at",
		`{"event":"consent_given","userId":"u","properties":[]}`:                                                          "properties.channel",
	} {
		f := newFixture(t)
		_, a, _ := f.post("/v1/track", body)
		if len(a.Refused) != 1 || a.Refused[0].Field != field || len(f.letters()) != 1 {
			t.Errorf("%s: got %+v, want a refusal of %s", body, a, field)
		}
	}
}

func TestTimesAreReadInAllForms(t *testing.T) {
	at := noon.Add(-time.Hour)
	for _, c := range []struct {
		value string
		noted bool
	}{
		{`"2026-11-21T11:00:00Z"`, false}, {`"2026-11-21t11:00:00z"`, false}, {`"2026-11-21T11:00:00+0000"`, false}, {`"2026-11-21T12:00:00"`, true},
		{`"2026-11-21 12:00:00"`, true}, {fmt.Sprint(at.Unix()), false}, {fmt.Sprint(at.UnixMilli()), false}, {`"` + fmt.Sprint(at.Unix()) + `"`, false},
		{fmt.Sprintf("%d.0", at.Unix()), false},
	} {
		for _, name := range []string{"timestamp", "originalTimestamp"} {
			f := newFixture(t)
			f.door.kinds = zonedKinds{defaultKinds{event.DefaultKinds()}}
			e, remarks := f.accepted("/v1/track", `{"userId":"u","event":"a","messageId":"m","`+name+`":`+c.value+`}`)
			if !e.GetAt().AsTime().Equal(at) || slices.Contains(remarks, name) != c.noted {
				t.Errorf("%s %s: at %s, remarks %v", name, c.value, e.GetAt().AsTime(), e.GetRemarks())
			}
			if c.noted && !strings.Contains(e.GetRemarks()[0].GetWhy(), "Europe/Berlin") {
				t.Errorf("the zone is not named: %v", e.GetRemarks())
			}
		}
	}
	f := newFixture(t)
	f.door.kinds = zonedKinds{defaultKinds{event.DefaultKinds()}}
	if e, _ := f.accepted("/v1/track", `{"userId":"u","event":"a","timestamp":"2026-11-21"}`); !e.GetAt().AsTime().Equal(time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("a date: %s", e.GetAt().AsTime())
	}
	// The publisher's clock is ten minutes ahead, and it says so without a zone.
	if e, _ := f.accepted("/v1/track", `{"userId":"u","event":"b","timestamp":"2026-11-21T13:09:00","sentAt":"2026-11-21T13:10:00"}`); !e.GetAt().AsTime().Equal(noon.Add(-time.Minute)) {
		t.Errorf("corrected to %s", e.GetAt().AsTime())
	}
	// One that cannot be read does not hide the other.
	if e, remarks := f.accepted("/v1/track", `{"userId":"u","event":"c","originalTimestamp":"x","timestamp":"2026-11-21T11:00:00Z"}`); !e.GetAt().AsTime().Equal(at) || len(remarks) != 1 {
		t.Errorf("at %s, remarks %v", e.GetAt().AsTime(), remarks)
	}
}

func TestANumberIsOneCustomerHoweverItIsWritten(t *testing.T) {
	f := newFixture(t)
	f.door.kinds = defaultKinds{event.DefaultKinds().In("GB")} // a number has no plus
	first := f.hasher.ID("default", id("user_id", "12345"))
	for i, body := range []string{`"userId":12345`, `"userId":12345.0`, `"userId":"12345"`, `"userId":1.2345e4`} {
		e, _ := f.accepted("/v1/track", fmt.Sprintf(`{%s,"event":"a","messageId":"m%d"}`, body, i))
		if got := f.hasher.ID("default", e.GetIdentifiers()[0]); !slices.Equal(got, first) {
			t.Errorf("%s is %v", body, e.GetIdentifiers())
		}
	}
	e, remarks := f.accepted("/v1/identify", `{"userId":"u","traits":{"phone":442079460000}}`)
	if ids := e.GetIdentifiers(); len(ids) != 2 || ids[1].GetKind() != "phone" || ids[1].GetValue() != "+442079460000" || len(remarks) > 0 {
		t.Errorf("a numeric phone: %v, remarks %v", ids, remarks)
	}
	if e, _ := f.accepted("/v1/group", `{"userId":"u","groupId":77.0}`); e.GetAccount().GetValue() != "77" {
		t.Errorf("a numeric group: %v", e.GetAccount())
	}
}

func TestCloudEventsAreReadLeniently(t *testing.T) {
	f := newFixture(t)
	f.door.kinds = zonedKinds{defaultKinds{event.DefaultKinds().In("GB")}}
	e, remarks := f.accepted("/cloudevents",
		`{"specversion":"1.0","id":7,"source":"/s","type":"a","userid":12345.0,"phone":442079460000,"user_id":"x","email":{},"gone":null,"time":"2026-11-21 12:00:00","data":[]}`,
		"Content-Type", "application/cloudevents+json")
	if e.GetId() != "/s#7" || e.GetIdentifiers()[0].GetValue() != "12345" || len(e.GetIdentifiers()) != 2 || !e.GetAt().AsTime().Equal(noon.Add(-time.Hour)) || len(e.GetProperties()) > 0 {
		t.Errorf("event %v", e)
	}
	if slices.Sort(remarks); !slices.Equal(remarks, []string{"email", "time", "user_id"}) {
		t.Errorf("remarks on %v", remarks)
	}
	e, remarks = f.accepted("/cloudevents", `[{"specversion":"1.0","id":"8","source":"/s","type":"b","subject":"u","time":"never","data":{"x":1e999}}]`,
		"Content-Type", "application/cloudevents-batch+json")
	if !e.GetAt().AsTime().Equal(noon) || event.TextOf(e.GetProperties(), "x") != "1e999" || len(remarks) != 2 {
		t.Errorf("event %v, remarks %v", e, remarks)
	}
	e, remarks = f.accepted("/cloudevents", `{"a":1}`, "Content-Type", "application/json", "Ce-Id", "9", "Ce-Source", "/s", "Ce-Type", "c", "Ce-Specversion", "1.0",
		"Ce-Userid", "u", "Ce-Time", "1795258800", "Ce-User_name", "x")
	if !e.GetAt().AsTime().Equal(noon.Add(-time.Hour)) || !slices.Equal(remarks, []string{"ce-user_name"}) {
		t.Errorf("event %v, remarks %v", e, remarks)
	}
}

func TestProtobufIsReadLeniently(t *testing.T) {
	f := newFixture(t)
	e := &eventv1.Event{
		Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, At: &timestamppb.Timestamp{Seconds: math.MaxInt64},
		Identifiers: []*eventv1.Identifier{id("email", "nobody"), id("shoe", "42"), {Kind: "user_id", Value: "u", Written: "forged"}},
		Properties:  []*eventv1.Property{prop("x", &eventv1.Value{Kind: &eventv1.Value_Text{Text: "\xff"}}), prop("y", event.Integer(1))},
		Context:     &eventv1.Context{Locale: strings.Repeat("x", 99)},
		Remarks:     []*eventv1.Remark{{Field: "forged"}},
	}
	items, err := protoItems(&eventv1.PublishEventsRequest{Events: []*eventv1.Event{e}}, viaGRPC)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.door.take(t.Context(), submission{tenant: "default", via: viaGRPC, items: items})
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, r := range protoAnswer(r).GetResults()[0].GetRemarks() {
		fields = append(fields, r.GetField())
	}
	if !slices.Equal(fields, []string{"at", "properties.x", "context.locale", "identifiers[0]", "identifiers[1]"}) {
		t.Errorf("remarks on %v", fields)
	}
	got := f.one("live")
	if len(got.GetProperties()) != 1 || len(got.GetIdentifiers()) != 1 || got.GetIdentifiers()[0].GetWritten() != "" || !got.GetAt().AsTime().Equal(noon) || len(got.GetRemarks()) != 5 {
		t.Errorf("event %v", got)
	}
}

func TestRemarksAreBounded(t *testing.T) {
	f := newFixture(t)
	var odd []string
	for i := range 30 {
		odd = append(odd, fmt.Sprintf(`"p%02d":1e999`, i))
	}
	e, _ := f.accepted("/v1/track", `{"userId":"u","event":"a","properties":{`+strings.Join(odd, ",")+`}}`)
	if n := len(e.GetRemarks()); n != mostRemarks || e.GetRemarks()[n-1].GetWhy() != "and 21 more" {
		t.Errorf("remarks %v", e.GetRemarks())
	}
}

// TestHeadersOfCloudEventsAreDecoded has the examples of the HTTP binding, and what other senders write.
func TestHeadersOfCloudEventsAreDecoded(t *testing.T) {
	for encoded, want := range map[string]string{
		`Euro%20%E2%82%AC%20%F0%9F%98%80`: "Euro € 😀",
		`"Euro € 😀"`:                      "Euro € 😀",
		`"a \"quoted\" \\ one"`:           `a "quoted" \ one`,
		`"Z%C3%BCrich"`:                   "Zürich",
		`100%`:                            "100%",
		`50%zz`:                           "50%zz",
		`a%2525`:                          "a%25",
		`"half`:                           `"half`,
		`%4a%4B`:                          "JK",
	} {
		f := newFixture(t)
		req := httptest.NewRequest(http.MethodPost, "/cloudevents", strings.NewReader(`{}`))
		for name, v := range map[string]string{
			"Content-Type": "application/json", "ce-id": "1", "ce-source": "/s", "ce-type": "a", "ce-specversion": "1.0", "ce-userid": encoded, "ce-time": "2026-11-21T11%3A00%3A00Z",
		} {
			req.Header.Set(name, v)
		}
		rec := httptest.NewRecorder()
		f.handler.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: got %d %s", encoded, rec.Code, rec.Body)
		}
		e := f.one("live")
		if got := e.GetIdentifiers()[0].GetValue(); got != want || !e.GetAt().AsTime().Equal(noon.Add(-time.Hour)) {
			t.Errorf("%s: got %q at %s, want %q", encoded, got, e.GetAt().AsTime(), want)
		}
	}
	ce := []string{"Content-Type", "application/json", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "a", "Ce-Specversion", "1.0"}
	for _, bad := range []string{"%00", "%FF", "a%0Ab", "%C3%28", "b\xfcro", "a\x01b"} {
		f := newFixture(t)
		_, a, _ := f.post("/cloudevents", `{}`, append([]string{"Ce-Userid", bad}, ce...)...)
		if len(a.Refused) != 1 || a.Refused[0].Field != "ce-userid" || !strings.Contains(a.Refused[0].Why, "control characters") || len(f.letters()) != 1 {
			t.Errorf("%q, and nothing else says whom it is about: %+v", bad, a)
		}
		for _, name := range []string{"Ce-Comment", "Ce-Subject", "Ce-Userid", "Ce-Timezone", "Ce-Time", "Ce-Dataschema"} {
			f := newFixture(t)
			_, remarks := f.accepted("/cloudevents", `{}`, append([]string{"Ce-Email", "ann@example.com", name, bad}, ce...)...)
			if len(remarks) != 1 || remarks[0] != strings.ToLower(name) {
				t.Errorf("%s %q: remarks on %v", name, bad, remarks)
			}
		}
		code, a, _ := newFixture(t).post("/cloudevents", `{}`, append(append([]string{"Ce-Userid", "u"}, ce...), "Ce-Type", bad)...)
		if code != http.StatusBadRequest || !strings.Contains(a.Error, "control characters") {
			t.Errorf("a type %q: got %d %+v", bad, code, a)
		}
	}
}

// TestAMediaTypeLosesNoCloudEvent has media types that are none, or contradict the data, which is JSON.
func TestAMediaTypeLosesNoCloudEvent(t *testing.T) {
	for media, remarked := range map[string]bool{
		`"application/json"`: false, `"application/vnd.acme+json; charset=utf-8"`: false, `"json"`: true, `"text/plain"`: true, `""`: true, `"a b"`: true, `7`: true, `null`: false, `{}`: true,
	} {
		f := newFixture(t)
		e, remarks := f.accepted("/cloudevents", `{"specversion":"1.0","id":"1","source":"/s","type":"a","subject":"u","datacontenttype":`+media+`,"data":{"x":1}}`, "Content-Type", "application/cloudevents+json")
		if (len(remarks) == 1 && remarks[0] == "datacontenttype") != remarked || event.Property(e.GetProperties(), "x").GetInteger() != 1 {
			t.Errorf("%s: event %v, remarks on %v", media, e, remarks)
		}
	}
	f := newFixture(t)
	if _, remarks := f.accepted("/cloudevents", `{"x":1}`, "Content-Type", "a b", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "a", "Ce-Specversion", "1.0", "Ce-Userid", "u"); len(remarks) != 1 {
		t.Errorf("a header: remarks on %v", remarks)
	}
}

// TestWhatIsOverABoundIsSetAside keeps the event, and of its identifiers the strongest.
func TestWhatIsOverABoundIsSetAside(t *testing.T) {
	many := func(n int, format string) string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(out, ",")
	}
	f := newFixture(t)
	e, remarks := f.accepted("/v1/track", `{"userId":"u","event":"a","context":{"externalIds":[`+many(30, `{"type":"email","id":"a%d@b.example"}`)+`]}}`)
	if len(e.GetIdentifiers()) != event.MaxIdentifiers || e.GetIdentifiers()[0].GetValue() != "u" || !slices.Equal(remarks, []string{"identifiers"}) {
		t.Errorf("identifiers %v, remarks on %v", e.GetIdentifiers(), remarks)
	}
	e, _ = f.accepted("/v1/alias", `{"userId":"u","previousId":"dev","context":{"externalIds":[`+many(30, `{"type":"email","id":"a%d@b.example"}`)+`]}}`)
	if n := len(e.GetIdentifiers()); n != event.MaxIdentifiers || e.GetIdentifiers()[n-1].GetValue() != "dev" {
		t.Errorf("the earlier id of an alias is lost: %v", e)
	}
	e, remarks = f.accepted("/v1/track", `{"userId":"u","event":"a","properties":{`+many(501, `"p%d":1`)+`}}`)
	if len(e.GetProperties()) != event.MaxProperties || !slices.Equal(remarks, []string{"properties"}) {
		t.Errorf("%d properties, remarks on %v", len(e.GetProperties()), remarks)
	}
}
