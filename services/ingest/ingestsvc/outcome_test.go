package ingestsvc

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/run"
)

func TestOutcomesGoToTheHomeOfTheirToken(t *testing.T) {
	for name, kind := range map[string]eventv1.OutcomeKind{
		"impression": eventv1.OutcomeKind_OUTCOME_KIND_IMPRESSION, "click": eventv1.OutcomeKind_OUTCOME_KIND_CLICK,
		"accept": eventv1.OutcomeKind_OUTCOME_KIND_ACCEPT, "dismiss": eventv1.OutcomeKind_OUTCOME_KIND_DISMISS,
		"convert": eventv1.OutcomeKind_OUTCOME_KIND_CONVERT,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			token := f.token(nil)
			_, a, _ := f.post("/v1/track", `{"userId":"somebody","event":"`+name+`","properties":{"token":"`+token+`","reason":"already_done","value":12,"page":"x"}}`)
			if len(a.Refused) != 0 {
				t.Fatalf("refused: %+v", a.Refused)
			}
			got := f.one("live")
			want := &eventv1.Outcome{Kind: kind, Token: token, Reason: "already_done", Value: 12, SubjectId: "p1", Action: "welcome", Treatment: "mail", Channel: "email"}
			if diff := cmp.Diff(want, got.GetOutcome(), protocmp.Transform()); diff != "" || got.GetKind() != eventv1.Kind_KIND_OUTCOME {
				t.Fatalf("kind %v, outcome (-want +got):\n%s", got.GetKind(), diff)
			}
			ids := got.GetIdentifiers()
			if len(ids) != 1 || ids[0].GetKind() != "profile" || ids[0].GetValue() != strings.Repeat("07", 16) {
				t.Errorf("identifiers %v", ids)
			}
			customer, _ := hex.DecodeString(ids[0].GetValue())
			if int(a.Positions[0].Partition) != f.hasher.Partition(customer) {
				t.Errorf("stored in partition %d", a.Positions[0].Partition)
			}
		})
	}
}

func TestAClickWithoutATokenIsAnEvent(t *testing.T) {
	f := newFixture(t)
	f.post("/v1/track", `{"userId":"u","event":"click","properties":{"button":"x"}}`)
	if got := f.one("live"); got.GetKind() != eventv1.Kind_KIND_TRACK || got.GetOutcome() != nil {
		t.Errorf("got %v", got)
	}
}

func TestTokensThatAreNotOursAreRefused(t *testing.T) {
	f := newFixture(t)
	for name, token := range map[string]string{
		"another tenant":     f.token(func(x *decisionv1.Token) { x.Tenant = "bank" }),
		"another generation": f.token(func(x *decisionv1.Token) { x.Generation = 9 }),
		"expired":            f.token(func(x *decisionv1.Token) { x.ExpiresAt = timestamppb.New(noon.Add(-time.Second)) }),
		"no such partition":  f.token(func(x *decisionv1.Token) { x.Partition = 4000 }),
		"no customer":        f.token(func(x *decisionv1.Token) { x.Customer = nil }),
		"changed":            f.token(nil)[:20] + "AAAA" + f.token(nil)[24:],
	} {
		t.Run(name, func(t *testing.T) {
			_, a, _ := f.post("/v1/track", `{"userId":"u","event":"click","properties":{"token":"`+token+`"}}`)
			if len(a.Refused) != 1 || a.Refused[0].Field != "token" {
				t.Fatalf("got %+v", a)
			}
		})
	}
}

func TestReceiptsAreOutcomesAndComplaintsAreControl(t *testing.T) {
	for kind, lane := range map[string]string{"delivered": "live", "bounced": "live", "complained": "control"} {
		t.Run(kind, func(t *testing.T) {
			f := newFixture(t)
			body := `{"token":"` + f.token(nil) + `","kind":"` + kind + `","at":"2026-11-21T11:59:00Z"}`
			code, a, _ := f.post("/v1/receipts/email", body)
			if code != http.StatusOK || len(a.Refused) != 0 {
				t.Fatalf("got %d %+v", code, a)
			}
			_, _, _ = f.post("/v1/receipts/email", body)
			all := f.stored(lane)
			if len(all) != 2 || all[0].GetId() != all[1].GetId() || all[0].GetOutcome().GetSubjectId() != "p1" {
				t.Fatalf("stored %v", all)
			}
		})
	}
}

func TestReceiptsOfTheWrongShapeAreRefused(t *testing.T) {
	f := newFixture(t)
	if code, a, _ := f.post("/v1/receipts/sms", `{"token":"`+f.token(nil)+`","kind":"delivered"}`); code != http.StatusBadRequest || !strings.Contains(a.Error, "channel") {
		t.Errorf("another channel: %d %+v", code, a)
	}
	if code, a, _ := f.post("/v1/receipts/email", `{"token":"`+f.token(nil)+`","kind":"eaten"}`); code != http.StatusOK || len(a.Refused) != 1 || a.Refused[0].Field != "kind" {
		t.Errorf("unknown kind: %d %+v", code, a)
	}
}

func TestFollowingAnUnsubscribeLinkChangesNothing(t *testing.T) {
	f := newFixture(t)
	code, _, header := f.do(http.MethodGet, "/u/"+f.token(nil), nil)
	if code != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || header.Get("Content-Security-Policy") == "" {
		t.Errorf("GET: %d %v", code, header)
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if code, _, _ := f.post("/u/"+f.token(nil), "something=else", form...); code != http.StatusBadRequest {
		t.Errorf("POST of something else: %d", code)
	}
	if code, _, _ := f.post("/u/forged", "List-Unsubscribe=One-Click", form...); code != http.StatusNotFound {
		t.Errorf("forged token: %d", code)
	}
	if n := len(f.stored("control")); n != 0 {
		t.Errorf("%d events are stored", n)
	}
}

func TestOneClickWithdrawsConsentEvenWhenTheTokenIsOld(t *testing.T) {
	multipart := "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n"
	for name, c := range map[string]struct{ media, body string }{
		"form":      {"application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"},
		"multipart": {"multipart/form-data; boundary=b", multipart},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.door.pressure = fixedPressure{full()}
			token := f.token(func(x *decisionv1.Token) { x.ExpiresAt = timestamppb.New(noon.AddDate(-1, 0, 0)) })
			code, _, header := f.post("/u/"+token, c.body, "Content-Type", c.media)
			if code != http.StatusOK || !strings.HasPrefix(header.Get(positionHeader), "control/") {
				t.Fatalf("got %d %v", code, header)
			}
			got := f.one("control")
			want := &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "news", Basis: "one_click", Evidence: "p1"}
			if diff := cmp.Diff(want, got.GetConsent(), protocmp.Transform()); diff != "" || got.GetIdentifiers()[0].GetKind() != "profile" {
				t.Fatalf("event %v, consent (-want +got):\n%s", got, diff)
			}
		})
	}
}

// Whoever opts out, in again, and out again with the same link means it each time.
func TestTheSameLinkOptsOutAgain(t *testing.T) {
	now := noon
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Clock = movingClock{at: &now} })
	token := f.token(nil)
	for range 2 {
		code, _, _ := f.post("/u/"+token, "List-Unsubscribe=One-Click", "Content-Type", "application/x-www-form-urlencoded")
		if code != http.StatusOK {
			t.Fatalf("POST: %d", code)
		}
		now = now.Add(time.Hour)
	}
	got := f.stored("control")
	if len(got) != 2 || got[0].GetId() == got[1].GetId() {
		t.Errorf("got %v, want two events with two ids", got)
	}
}

type movingClock struct {
	clock.Wall

	at *time.Time
}

func (c movingClock) Now() time.Time { return *c.at }

// Released says that the time is the test's, and not compared with the log's.
func (movingClock) Released() bool { return true }

func TestWhatAnOutcomeIsAboutComesFromItsToken(t *testing.T) {
	f := newFixture(t)
	token := f.token(func(x *decisionv1.Token) { x.Journey, x.Step, x.Placement = "hello", "greet", "outbound" })
	f.post("/v1/track", `{"userId":"u","event":"opened","properties":{"token":"`+token+`","journey":"forged","user_agent":"Googlebot/2.1","ip":"203.0.113.9","page":"x"}}`)
	got := f.one("live")
	want := &eventv1.Outcome{
		Kind: eventv1.OutcomeKind_OUTCOME_KIND_OPENED, Token: token, SubjectId: "p1", Action: "welcome", Treatment: "mail", Channel: "email",
		Journey: "hello", Step: "greet", Placement: "outbound", Machine: new(true),
	}
	if diff := cmp.Diff(want, got.GetOutcome(), protocmp.Transform()); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if text := got.String(); strings.Contains(text, "203.0.113.9") || strings.Contains(text, "Googlebot") {
		t.Errorf("more than the verdict is stored: %s", text)
	}
}

func TestAReceiptLeavesNoAddressBehind(t *testing.T) {
	f := newFixture(t)
	for kind, machine := range map[string]*bool{"opened": new(true), "eaten": nil} {
		f.post("/v1/receipts/email", `{"token":"`+f.token(nil)+`","kind":"`+kind+`","prefetch":"true","ip":"203.0.113.9","user_agent":17,"machine":"who knows"}`)
		if machine == nil {
			continue
		}
		got := f.one("live")
		if got.GetOutcome().Machine == nil || got.GetOutcome().GetMachine() != *machine {
			t.Errorf("the verdict is %v, want %v", got.GetOutcome(), *machine)
		}
	}
	for _, letter := range f.letters() {
		if strings.Contains(string(letter.GetPayload()), "203.0.113.9") {
			t.Errorf("a dead letter holds %s", letter.GetPayload())
		}
	}
	if len(f.letters()) != 1 {
		t.Errorf("%d dead letters, want that of an unknown kind", len(f.letters()))
	}
}

func TestWhatOnlyAProviderKnowsIsAPlainEventInATrackCall(t *testing.T) {
	f := newFixture(t)
	_, a, _ := f.post("/v1/track", `{"userId":"u","event":"bounced","properties":{"token":"`+f.token(nil)+`"}}`)
	if len(a.Remarks) != 1 || !strings.Contains(a.Remarks[0].Why, "/v1/receipts") {
		t.Errorf("remarks %+v", a.Remarks)
	}
	if got := f.one("live"); got.GetKind() != eventv1.Kind_KIND_TRACK || len(got.GetProperties()) != 0 {
		t.Errorf("got %v", got)
	}
}
