package event_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

func TestOneUnusableOptionalFieldNeverLosesTheEvent(t *testing.T) {
	far := &timestamppb.Timestamp{Seconds: math.MaxInt64}
	deep := event.Integer(1)
	for range 20 {
		deep = &eventv1.Value{Kind: &eventv1.Value_List{List: &eventv1.List{Values: []*eventv1.Value{deep}}}}
	}
	keep := &eventv1.Property{Name: "keep", Value: event.Integer(1)}
	for field, c := range map[string]struct{ change, want func(*eventv1.Event) }{
		"at": {func(e *eventv1.Event) { e.At = far }, func(e *eventv1.Event) { e.At = nil }},
		"properties.x": {
			func(e *eventv1.Event) {
				e.Properties = []*eventv1.Property{keep, {Name: "x", Value: event.Text("\xff")}, keep}
			},
			func(e *eventv1.Event) { e.Properties = []*eventv1.Property{keep, keep} },
		},
		"properties.deep" + nest: {
			func(e *eventv1.Event) { e.Properties = []*eventv1.Property{{Name: "deep", Value: deep}} },
			func(*eventv1.Event) {},
		},
		"properties[0].name": {func(e *eventv1.Event) { e.Properties = []*eventv1.Property{{}} }, func(*eventv1.Event) {}},
		"traits.n": {
			func(e *eventv1.Event) {
				e.Traits = []*eventv1.Property{{Name: "n", Value: event.Number(math.NaN())}, keep}
			},
			func(e *eventv1.Event) { e.Traits = []*eventv1.Property{keep} },
		},
		"context.locale": {
			func(e *eventv1.Event) { e.Context = &eventv1.Context{Locale: strings.Repeat("x", 65), Source: "s"} },
			func(e *eventv1.Event) { e.Context = &eventv1.Context{Source: "s"} },
		},
		"consent.expires_at": {
			func(e *eventv1.Event) {
				e.Kind, e.Consent = eventv1.Kind_KIND_CONSENT, withdrawal()
				e.Consent.ExpiresAt = far
			},
			func(e *eventv1.Event) { e.Kind, e.Consent = eventv1.Kind_KIND_CONSENT, withdrawal() },
		},
		"consent.evidence": {
			func(e *eventv1.Event) {
				e.Kind, e.Consent = eventv1.Kind_KIND_CONSENT, withdrawal()
				e.Consent.Evidence = strings.Repeat("x", 513)
			},
			func(e *eventv1.Event) { e.Kind, e.Consent = eventv1.Kind_KIND_CONSENT, withdrawal() },
		},
		"outcome.value": {
			func(e *eventv1.Event) {
				e.Kind, e.Outcome = eventv1.Kind_KIND_OUTCOME, &eventv1.Outcome{Kind: 5, Token: "t", Value: math.Inf(1)}
			},
			func(e *eventv1.Event) {
				e.Kind, e.Outcome = eventv1.Kind_KIND_OUTCOME, &eventv1.Outcome{Kind: 5, Token: "t"}
			},
		},
	} {
		t.Run(field, func(t *testing.T) {
			got, want := good(), good()
			c.change(got)
			c.want(want)
			remarks := event.Mend(got)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if len(remarks) != 1 || remarks[0].Field != field || !strings.HasSuffix(remarks[0].Why, "; it was set aside") {
				t.Errorf("remarks %v", remarks)
			}
			if again := event.Mend(got); len(again) != 0 {
				t.Errorf("a second time: %v", again)
			}
			if problems := event.Validate(got); field != "at" && len(problems) > 0 {
				t.Errorf("problems %v", problems)
			}
		})
	}
}

func withdrawal() *eventv1.Consent {
	return &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*"}
}

// TestWhenAPermissionCountsIsNoDetail keeps what cannot be read of a permission's time, so that it is refused.
func TestWhenAPermissionCountsIsNoDetail(t *testing.T) {
	e := good()
	e.Kind = eventv1.Kind_KIND_CONSENT
	e.At = &timestamppb.Timestamp{Seconds: math.MaxInt64}
	e.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "news", ExpiresAt: e.GetAt()}
	if remarks := event.Mend(e); len(remarks) != 0 {
		t.Errorf("remarks %v", remarks)
	}
	if problems := event.Validate(e); len(problems) != 2 {
		t.Errorf("problems %v", problems)
	}
}

func TestTheEndOfAConsentIsReadLikeAnyTime(t *testing.T) {
	consent := func(eventType string, end any) (*eventv1.Consent, []event.Problem, []event.Problem) {
		list, err := event.Properties(map[string]any{"channel": "email", "topic": "news", "expires_at": end})
		if err != nil {
			t.Fatal(err)
		}
		return event.ConsentOf(eventType, list, berlin(t))
	}
	want := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, end := range []any{"2027-01-01t00:00:00z", 1798761600, 1798761600000.0} {
		if got, problems, remarks := consent(event.TypeConsentGiven, end); len(problems)+len(remarks) > 0 || !got.GetExpiresAt().AsTime().Equal(want) {
			t.Errorf("%v: got %v, %v, %v", end, got, problems, remarks)
		}
	}
	if got, _, remarks := consent(event.TypeConsentGiven, "2027-01-01"); len(remarks) != 1 || !got.GetExpiresAt().AsTime().Equal(want.Add(-time.Hour)) {
		t.Errorf("a date: got %v, %v", got, remarks)
	}
	if _, problems, _ := consent(event.TypeConsentGiven, "soon"); len(problems) != 1 {
		t.Errorf("a permission that ends soon: %v", problems)
	}
	if got, problems, remarks := consent(event.TypeConsentWithdrawn, "soon"); got == nil || len(problems) > 0 || len(remarks) != 1 {
		t.Errorf("a withdrawal that ends soon: %v, %v, %v", got, problems, remarks)
	}
}
