package dispatchsvc

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/liquid"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

func propertiesOf(t *testing.T, properties map[string]any) []*eventv1.Property {
	t.Helper()
	list, err := event.Properties(properties)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func parsed(t *testing.T, source string) *liquid.Template {
	t.Helper()
	tmpl, err := liquid.Parse(source, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func TestATemplateSeesEventAndTraits(t *testing.T) {
	m := channel.Message{
		Action: "welcome", Customer: "0a", UnsubscribeURL: "http://x/u/t",
		Context: propertiesOf(t, map[string]any{
			"total": 1250000.5, "whole": 3000000.0, "small": 0.00005, "count": 3, "name": "Ada",
			"items": []any{map[string]any{"sku": "tea", "price": 4.0}, map[string]any{"sku": "cup", "price": 7.25}},
		}),
	}
	traits := []*profilev1.Trait{{Name: "orders", Value: event.Integer(3)}, {Name: "spent", Value: event.Number(15)}}
	for source, want := range map[string]string{
		"":                    "",
		"Hi {{ event.name }}": "Hi Ada",
		"{{ event.total }} {{ event.whole }} {{ event.small }} {{ event.count | plus: 1 }}":                      "1250000.5 3000000 0.00005 4",
		"{{ traits.orders }} {{ traits.spent }} {{ traits.spent | plus: 1 }} {{ traits.spent | divided_by: 2 }}": "3 15 16 7.5",
		"{% for i in event.items %}{{ i.sku | upcase }} {{ i.price }};{% endfor %}":                              "TEA 4;CUP 7.25;",
		"{{ action }} {{ customer.id }} {{ unsubscribe_url }}":                                                   "welcome 0a http://x/u/t",
		"[{{ event.missing }}]{% if event.missing %}a{% else %}b{% endif %}{{ event.missing | default: 'c' }}":   "[]bc",
	} {
		got, failure := rendered(m, &decide.Templates{Body: parsed(t, source)}, traits)
		if failure != nil || got.Body != want {
			t.Errorf("%q = %q %v, want %q", source, got.Body, failure, want)
		}
	}
}

// What a template cannot do is a reason, and the reason quotes no data.
func TestATemplateThatCannotBeRenderedIsNotSent(t *testing.T) {
	m := channel.Message{Context: propertiesOf(t, map[string]any{"name": "Ada", "n": 0})}
	for source, want := range map[string]*reasonv1.Reason{
		"Hi {% abort %}": {Code: reasonv1.Code_CODE_TEMPLATE_ABORT, Evidence: []string{"line 1:4: the template asked to abort"}},
		"{% unless event.items %}{% abort 'no items' %}{% endunless %}":        {Code: reasonv1.Code_CODE_TEMPLATE_ABORT, Evidence: []string{"line 1:25: no items"}},
		"{{ 1 | divided_by: event.n }}":                                        {Code: reasonv1.Code_CODE_RENDER_FAILED, Evidence: []string{"line 1:8: a number is divided by 0"}},
		"{% for a in (1..999999999) %}{% endfor %}":                            {Code: reasonv1.Code_CODE_RENDER_FAILED, Evidence: []string{"line 1:1: the template needs more than 8388608 bytes of memory"}},
		"{% for a in (1..9) %}" + strings.Repeat("x", 30<<10) + "{% endfor %}": {Code: reasonv1.Code_CODE_RENDER_FAILED, Evidence: []string{"line 1:1: the template needs more than 262144 bytes of output"}},
	} {
		_, failure := rendered(m, &decide.Templates{Body: parsed(t, source)}, nil)
		if failure == nil || len(failure.Reasons) != 1 {
			t.Errorf("%.60q was rendered: %v", source, failure)
			continue
		}
		got := failure.Reasons[0]
		if got.GetCode() != want.GetCode() || !cmp.Equal(got.GetEvidence(), want.GetEvidence()) {
			t.Errorf("%.60q: %v, want %v", source, got, want)
		}
	}
}

func TestSubjectIsOneLine(t *testing.T) {
	m := channel.Message{Context: propertiesOf(t, map[string]any{"name": "Ada\r\nBcc: all@shop.example"})}
	if got, failure := rendered(m, &decide.Templates{Subject: parsed(t, "Hi {{ event.name }}")}, nil); failure == nil || failure.Reasons[0].GetCode() != reasonv1.Code_CODE_RENDER_FAILED {
		t.Errorf("an injected header passed: %q %v", got.Subject, failure)
	}
	if got, failure := rendered(m, &decide.Templates{Subject: parsed(t, "Hi\n")}, nil); failure != nil || got.Subject != "Hi" {
		t.Errorf("line = %q %v, want Hi", got.Subject, failure)
	}
}

// A task says who the customer is, to those who may see it: strongest first, no devices, no address that is not decided.
func TestATaskSaysWhoTheCustomerIs(t *testing.T) {
	id := func(kind, value string, undecided bool) *profilev1.Identity {
		return &profilev1.Identity{Identifier: &eventv1.Identifier{Kind: kind, Value: value}, Undecided: undecided}
	}
	p := &profilev1.Profile{Leaves: []*profilev1.Leaf{
		{Identities: []*profilev1.Identity{id("email", "ada@shop.example", false), id("anonymous_id", "d1", false), id("phone", "+4420", true)}},
		{Identities: []*profilev1.Identity{id("user_id", "ada", false), id("email", "ada@shop.example", false)}},
	}}
	want := []channel.Identifier{{Kind: "user_id", Value: "ada"}, {Kind: "email", Value: "ada@shop.example"}}
	e := testEngine(t, &scripted{}, fileChannel())
	definitions := e.catalogs.(fixedCatalogs).definitions
	body := "{% for i in customer.identifiers %}{{ i.kind }}={{ i.value }} {% endfor %}"
	definitions.Templates = func(string, string) *decide.Templates { return &decide.Templates{Body: parsed(t, body)} }
	for name, tc := range map[string]struct {
		to       string
		identify bool
		want     []channel.Identifier
		body     string
	}{
		"a task":                     {decide.ToTeam, true, want, "user_id=ada email=ada@shop.example "},
		"a task, by the operator":    {decide.ToTeam, false, nil, ""},
		"a message for the customer": {decide.ToCustomer, true, nil, ""},
	} {
		e.identify = tc.identify
		j := job{tenant: "default", customer: []byte{1}, proposal: &decisionv1.Proposal{Id: "p"}, treatment: &decisionv1.TreatmentRef{Id: "t", Channel: "email", To: tc.to}}
		m, failure := e.compose(0, j, definitions, p)
		if diff := cmp.Diff(tc.want, m.Identifiers); failure != nil || diff != "" || m.Body != tc.body {
			t.Errorf("%s: %v, body %q (-want +got):\n%s", name, failure, m.Body, diff)
		}
	}
}
