package event_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

func TestDetailsOfAnOutcomeAreWhatItIsAbout(t *testing.T) {
	page := []*eventv1.Property{{Name: "action", Value: event.Text("forged")}}
	e := &eventv1.Event{
		Type: "click", Kind: eventv1.Kind_KIND_OUTCOME, Properties: page,
		Outcome: &eventv1.Outcome{
			Kind: eventv1.OutcomeKind_OUTCOME_KIND_CLICK, Token: "secret", Reason: "why", Value: 2.5, SubjectId: "p1", Action: "welcome",
			Treatment: "mail", Channel: "email", Journey: "hello", Step: "greet", Placement: "outbound", Machine: new(true),
		},
	}
	want := []*eventv1.Property{
		{Name: "action", Value: event.Text("welcome")},
		{Name: "treatment", Value: event.Text("mail")},
		{Name: "channel", Value: event.Text("email")},
		{Name: "journey", Value: event.Text("hello")},
		{Name: "step", Value: event.Text("greet")},
		{Name: "placement", Value: event.Text("outbound")},
		{Name: "subject_id", Value: event.Text("p1")},
		{Name: "reason", Value: event.Text("why")},
		{Name: "value", Value: event.Number(2.5)},
		{Name: "machine", Value: event.Flag(true)},
		{Name: "properties", Value: &eventv1.Value{Kind: &eventv1.Value_Object{Object: &eventv1.Object{Properties: page}}}},
	}
	if diff := cmp.Diff(want, event.Details(e), protocmp.Transform()); diff != "" {
		t.Errorf("click (-want +got):\n%s", diff)
	}
	e.Outcome.Kind, e.Properties = eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED, nil
	if diff := cmp.Diff(want[:8], event.Details(e), protocmp.Transform()); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	e.Kind, e.Properties = eventv1.Kind_KIND_TRACK, page
	if diff := cmp.Diff(page, event.Details(e), protocmp.Transform()); diff != "" {
		t.Errorf("a track call (-want +got):\n%s", diff)
	}
}

func TestAnEventThatIsCalledLikeAnOutcomeIsNone(t *testing.T) {
	click := &eventv1.Outcome{Kind: eventv1.OutcomeKind_OUTCOME_KIND_CLICK}
	for want, e := range map[string]*eventv1.Event{
		"click":         {Kind: eventv1.Kind_KIND_OUTCOME, Type: "whatever", Outcome: click},
		"track/click":   {Kind: eventv1.Kind_KIND_TRACK, Type: "click"},
		"track/opened":  {Kind: eventv1.Kind_KIND_TRACK, Type: "opened"},
		"Email Opened":  {Kind: eventv1.Kind_KIND_TRACK, Type: "Email Opened"},
		"identify":      {Kind: eventv1.Kind_KIND_IDENTIFY, Type: "identify"},
		"consent_given": {Kind: eventv1.Kind_KIND_CONSENT, Type: "consent_given"},
	} {
		if got := event.TypeOf(e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAVerdictWhetherAMachineDidIt(t *testing.T) {
	yes, no := new(true), new(false)
	for name, c := range map[string]struct {
		signals event.Signals
		want    *bool
	}{
		"nothing is told":             {event.Signals{}, nil},
		"the provider says so":        {event.Signals{Machine: yes, UserAgent: "Mozilla/5.0 (iPhone)"}, yes},
		"the provider says it is not": {event.Signals{Machine: no, Prefetch: yes}, no},
		"loaded ahead":                {event.Signals{Prefetch: yes, UserAgent: "Mozilla/5.0 (iPhone)"}, yes},
		"not loaded ahead":            {event.Signals{Prefetch: no}, no},
		"not ahead, but by a robot":   {event.Signals{Prefetch: no, UserAgent: "Googlebot/2.1"}, yes},
		"Apple Mail Privacy":          {event.Signals{UserAgent: "Mozilla/5.0"}, yes},
		"Gmail's image proxy":         {event.Signals{UserAgent: "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}, no},
		"a browser":                   {event.Signals{UserAgent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"}, no},
		"a telephone called Cubot":    {event.Signals{UserAgent: "Mozilla/5.0 (Linux; Android 9; CUBOT_P30)"}, no},
		"a scanner of links":          {event.Signals{UserAgent: "Barracuda Sentinel (EE)"}, yes},
		"a link preview":              {event.Signals{UserAgent: "Mozilla/5.0 (Windows NT 6.1) SkypeUriPreview Preview/0.5"}, yes},
		"a library":                   {event.Signals{UserAgent: "python-requests/2.31"}, yes},
	} {
		if got := c.signals.Verdict(); (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: the verdict is wrong", name)
		}
	}
}
