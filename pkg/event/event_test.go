package event_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

func anyValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.String().AsAny(), rapid.Int64().AsAny(), rapid.Bool().AsAny(),
		rapid.Float64Range(-1e300, 1e300).AsAny(),
	}
	if depth > 0 {
		leaves = append(leaves,
			rapid.SliceOfN(anyValue(depth-1), 0, 4).AsAny(),
			rapid.MapOfN(rapid.String(), anyValue(depth-1), 0, 4).AsAny())
	}
	return rapid.OneOf(leaves...)
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyValue(3).Draw(t, "value")
		v, err := event.FromAny(in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in, event.ToAny(v)); diff != "" {
			t.Fatalf("value (-want +got):\n%s", diff)
		}
	})
}

func TestNumbersStayWhatTheyAre(t *testing.T) {
	for text, want := range map[string]any{
		"7": int64(7), "-9223372036854775808": int64(math.MinInt64), "9223372036854775807": int64(math.MaxInt64),
		"9223372036854775808": 9223372036854775808.0, "1.0": 1.0, "1e3": 1000.0, "0.1": 0.1,
	} {
		v, err := event.FromAny(json.Number(text))
		if err != nil || event.ToAny(v) != want {
			t.Errorf("%s: got %v (%T), %v", text, event.ToAny(v), event.ToAny(v), err)
		}
	}
	for _, bad := range []any{json.Number("1e999"), math.NaN(), math.Inf(1), struct{}{}, []any{func() {}}} {
		if v, err := event.FromAny(bad); err == nil {
			t.Errorf("%v becomes %v", bad, v)
		}
	}
}

func TestTheLastPropertyOfANameCounts(t *testing.T) {
	list := []*eventv1.Property{{Name: "a", Value: event.Integer(1)}, {Name: "a", Value: event.Integer(2)}}
	if event.Property(list, "a").GetInteger() != 2 || event.Property(list, "b") != nil || event.ToMap(list)["a"] != int64(2) {
		t.Error("look-up")
	}
}

func TestNormalisation(t *testing.T) {
	kinds := event.KindsFrom(map[string]*definitionv1.IdentifierKind{
		"badge": {Class: "person", Priority: 7, Normaliser: "lower", Blocked: []string{"none-yet"}, Unique: true},
	})
	for _, c := range []struct{ kind, in, want string }{
		{"user_id", " U1 ", "U1"},
		{"email", "Ann.B@Shop.EXAMPLE", "ann.b@shop.example"},
		{"phone", "+44 (20) 7946-0000", "+442079460000"},
		{"badge", "AbC", "abc"},
		{"anonymous_id", "f6c1", "f6c1"},
	} {
		got, err := kinds.Normalise(c.kind, c.in)
		if err != nil || got != c.want {
			t.Errorf("%s %q: got %q, %v", c.kind, c.in, got, err)
		}
		if again, err := kinds.Normalise(c.kind, got); err != nil || again != got {
			t.Errorf("%s %q: twice gives %q, %v", c.kind, c.in, again, err)
		}
	}
	for _, c := range []struct {
		kind, in string
		want     error
	}{
		{"user_id", "null", event.ErrBlocked},
		{"user_id", "  ", event.ErrBlocked},
		{"user_id", "00000000-0000-0000-0000-000000000000", event.ErrBlocked},
		{"user_id", "-1", event.ErrBlocked},
		{"anonymous_id", "Anonymous", event.ErrBlocked},
		{"email", "undefined", event.ErrBlocked},
		{"phone", "000-0000", event.ErrBlocked},
		{"badge", "None-Yet", event.ErrBlocked},
		{"shoe", "42", event.ErrUnknownKind},
		{"profile", "0707", event.ErrUnknownKind},
		{"email", "ann", nil},
		{"email", "a@b\r\nBcc: x@y.example", nil},
		{"email", "a@b@c", nil},
		{"phone", "call me", nil},
		{"phone", "+", nil},
		{"user_id", "\xff", nil},
		{"user_id", strings.Repeat("x", 513), nil},
	} {
		got, err := kinds.Normalise(c.kind, c.in)
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s %q: got %q, %v; want %v", c.kind, c.in, got, err, c.want)
		}
	}
}

func TestNormalisingTwiceChangesNothing(t *testing.T) {
	kinds := event.DefaultKinds()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(kinds.Names()).Draw(t, "kind")
		value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ A-Za-z0-9.+-]{1,12}@[a-zA-Z.]{1,9}`), rapid.StringMatching(`\+?[0-9 ()/.-]{5,20}`)).Draw(t, "value")
		once, err := kinds.Normalise(kind, value)
		if err != nil {
			return
		}
		if twice, err := kinds.Normalise(kind, once); err != nil || twice != once {
			t.Fatalf("%s %q: %q, then %q, %v", kind, value, once, twice, err)
		}
	})
}

func TestTheStrongestIdentifierIsFirst(t *testing.T) {
	id := func(kind, value string) *eventv1.Identifier { return &eventv1.Identifier{Kind: kind, Value: value} }
	in := []*eventv1.Identifier{id("anonymous_id", "a"), id("shoe", "s"), id("email", "e2"), id("user_id", "v"), id("user_id", "u"), id("email", "e1"), id("anonymous_id", "a"), id("profile", "p")}
	before := slices.Clone(in)
	want := []*eventv1.Identifier{id("profile", "p"), id("user_id", "v"), id("user_id", "u"), id("email", "e1"), id("email", "e2"), id("anonymous_id", "a"), id("shoe", "s")}
	if diff := cmp.Diff(want, event.Order(in), protocmp.Transform()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, in, protocmp.Transform()); diff != "" {
		t.Errorf("the argument changed:\n%s", diff)
	}
	if got := event.DefaultKinds().Names(); !slices.Equal(got, []string{"user_id", "email", "phone", "account_id", "anonymous_id"}) {
		t.Errorf("kinds %v", got)
	}
}

// "Without a priority it is the weakest, never the strongest."
func TestAKindWithoutAPriorityIsTheWeakest(t *testing.T) {
	kinds := event.KindsFrom(map[string]*definitionv1.IdentifierKind{
		"loyalty": {Class: "person"}, "crm": {Class: "person", Priority: 1 << 31}, "badge": {Class: "person"},
	})
	want := []string{"user_id", "email", "phone", "account_id", "anonymous_id", "crm", "badge", "loyalty"}
	if got := kinds.Names(); !slices.Equal(got, want) {
		t.Errorf("kinds %v, want %v", got, want)
	}
	ids := kinds.Order([]*eventv1.Identifier{{Kind: "loyalty", Value: "l"}, {Kind: "anonymous_id", Value: "a"}})
	if ids[0].GetKind() != "anonymous_id" {
		t.Errorf("an event is stored under %s", ids[0].GetKind())
	}
}

func TestDeclaredKindsReplaceDefaults(t *testing.T) {
	kinds := event.KindsFrom(map[string]*definitionv1.IdentifierKind{"email": {Class: "endpoint", Priority: 20, Channel: "mail"}})
	got, _ := kinds.Kind("email")
	want := event.IdentifierKind{Name: "email", Class: event.ClassEndpoint, Priority: 20, Normaliser: "none", Channel: "mail"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kind (-want +got):\n%s", diff)
	}
	if k, ok := kinds.EndpointKind("sms"); !ok || k.Name != "phone" {
		t.Errorf("sms goes to %v", k)
	}
	if _, ok := kinds.EndpointKind("email"); ok {
		t.Error("email still has an endpoint kind")
	}
}

func TestLanes(t *testing.T) {
	consent := &eventv1.Event{Kind: eventv1.Kind_KIND_CONSENT}
	complaint := &eventv1.Event{Outcome: &eventv1.Outcome{Kind: eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED}}
	click := &eventv1.Event{Outcome: &eventv1.Outcome{Kind: eventv1.OutcomeKind_OUTCOME_KIND_CLICK}}
	for _, c := range []struct {
		e           *eventv1.Event
		asked, want string
	}{
		{consent, "bulk", "control"}, {complaint, "", "control"}, {click, "", "live"},
		{&eventv1.Event{}, "bulk", "bulk"}, {&eventv1.Event{}, "control", "live"}, {&eventv1.Event{}, "", "live"},
	} {
		if got := event.LaneAsked(c.e, c.asked); got != c.want {
			t.Errorf("%v asked for %q: %s, want %s", c.e, c.asked, got, c.want)
		}
	}
}

func TestReservedTypes(t *testing.T) {
	props := func(m map[string]any) []*eventv1.Property {
		list, err := event.Properties(m)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	got, problems, _ := event.ConsentOf(event.TypeConsentGiven, props(map[string]any{"channel": "email", "topic": "news", "expires_at": "2027-01-01T00:00:00Z"}), nil)
	want := &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "news",
		ExpiresAt: timestamppb.New(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || len(problems) > 0 {
		t.Errorf("problems %v, consent (-want +got):\n%s", problems, diff)
	}
	if got, problems, _ := event.ConsentOf(event.TypeConsentWithdrawn, nil, nil); got.GetChannel() != "*" || got.GetTopic() != "*" || len(problems) > 0 {
		t.Errorf("withdrawn from everything: %v, %v", got, problems)
	}
	if _, problems, _ := event.ConsentOf(event.TypeConsentGiven, props(map[string]any{"expires_at": "soon"}), nil); len(problems) != 3 {
		t.Errorf("problems %v", problems)
	}
	if got, _, _ := event.ConsentOf("order_placed", nil, nil); got != nil {
		t.Errorf("an order is %v", got)
	}
	for kind := eventv1.OutcomeKind(1); kind <= 9; kind++ {
		if name := event.OutcomeName(kind); event.ReceiptKindOf(name) != kind || (kind <= 5 || kind == 9) != (event.OutcomeKindOf(name) == kind) {
			t.Errorf("%v is called %q", kind, name)
		}
		if event.IsReceipt(kind) != (kind > 5) {
			t.Errorf("%v: whether it proves a send is wrong", kind)
		}
	}
	if event.OutcomeName(0) != "" || event.OutcomeName(10) != "" || event.IsReceipt(0) || event.ReceiptKindOf("") != 0 {
		t.Error("nothing has a name")
	}
}

func good() *eventv1.Event {
	return &eventv1.Event{
		Id: "1", Tenant: "default", Type: "a", Kind: eventv1.Kind_KIND_TRACK, At: timestamppb.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: "u"}},
	}
}

func TestValidate(t *testing.T) {
	if problems := event.Validate(good()); len(problems) > 0 {
		t.Fatalf("a good event has %v", problems)
	}
	deep := event.Integer(1)
	for range 20 {
		deep = &eventv1.Value{Kind: &eventv1.Value_List{List: &eventv1.List{Values: []*eventv1.Value{deep}}}}
	}
	for field, change := range map[string]func(*eventv1.Event){
		"id":                     func(e *eventv1.Event) { e.Id = "" },
		"tenant":                 func(e *eventv1.Event) { e.Tenant = "A.b" },
		"type":                   func(e *eventv1.Event) { e.Type = strings.Repeat("x", 201) },
		"kind":                   func(e *eventv1.Event) { e.Kind = 99 },
		"at":                     func(e *eventv1.Event) { e.At = &timestamppb.Timestamp{Seconds: math.MaxInt64} },
		"identifiers":            func(e *eventv1.Event) { e.Identifiers = nil },
		"identifiers[0].value":   func(e *eventv1.Event) { e.Identifiers[0].Value = "\xff" },
		"account":                func(e *eventv1.Event) { e.Kind = eventv1.Kind_KIND_GROUP },
		"account.value":          func(e *eventv1.Event) { e.Account = &eventv1.Identifier{Kind: "account_id"} },
		"properties[0].name":     func(e *eventv1.Event) { e.Properties = []*eventv1.Property{{}} },
		"properties.x":           func(e *eventv1.Event) { e.Properties = []*eventv1.Property{{Name: "x", Value: event.Text("\xff")}} },
		"traits.n":               func(e *eventv1.Event) { e.Traits = []*eventv1.Property{{Name: "n", Value: event.Number(math.NaN())}} },
		"traits":                 func(e *eventv1.Event) { e.Traits = make([]*eventv1.Property, 501) },
		"context.locale":         func(e *eventv1.Event) { e.Context = &eventv1.Context{Locale: strings.Repeat("x", 65)} },
		"consent":                func(e *eventv1.Event) { e.Kind = eventv1.Kind_KIND_CONSENT },
		"outcome":                func(e *eventv1.Event) { e.Outcome = &eventv1.Outcome{Kind: 1, Token: "t"} },
		"outcome.token":          func(e *eventv1.Event) { e.Kind, e.Outcome = eventv1.Kind_KIND_OUTCOME, &eventv1.Outcome{Kind: 1} },
		"properties.deep" + nest: func(e *eventv1.Event) { e.Properties = []*eventv1.Property{{Name: "deep", Value: deep}} },
	} {
		t.Run(field, func(t *testing.T) {
			e := good()
			change(e)
			problems := event.Validate(e)
			if len(problems) != 1 || problems[0].Field != field || problems[0].Why == "" {
				t.Errorf("got %v", problems)
			}
		})
	}
	if len(event.Validate(nil)) == 0 || len(event.Validate(&eventv1.Event{})) < 5 {
		t.Error("not all problems are named")
	}
}

// nest is the path at which nesting becomes too deep.
const nest = "[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]"

func FuzzNormalise(f *testing.F) {
	kinds := event.DefaultKinds()
	for _, s := range []string{"Ann@Shop.example", "+44 20 7946 0000", "null", "\xff", "a@b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range kinds.Names() {
			out, err := kinds.Normalise(kind, s)
			if err != nil {
				continue
			}
			if again, err := kinds.Normalise(kind, out); err != nil || again != out {
				t.Fatalf("%s: %q, then %q, %v", kind, out, again, err)
			}
			if kind == "email" && strings.ContainsAny(out, "\r\n ") {
				t.Fatalf("%q would end a header", out)
			}
		}
	})
}
