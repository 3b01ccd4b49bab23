package decisionsvc

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/event"
)

const texts = `
resources { metadata { name: "shop" } workspace {} }
resources { metadata { name: "order" } event { properties { key: "id" value: "string" } } }
resources { metadata { name: "name" } trait { type: "string" } }
resources { metadata { name: "web" } channel { adapter: "none" } }
resources { metadata { name: "news" } topic { title: "News" } }
resources { metadata { name: "all" } action { purpose: "service"
  treatments { id: "told" channel: "web" topic: "news" subject: "{{ action }} {{ traits.name }}" body { text: "{{ event.id }} {{ unsubscribe_url }} {{ customer.id }}" } }
  treatments { id: "stops" channel: "web" subject: "Hi" body { text: "{% unless event.id %}{% abort 'no order' %}{% endunless %}" } }
  treatments { id: "fails" channel: "web" subject: "Hi" body { text: "{{ 1 | divided_by: 0 }}" } }
  treatments { id: "large" channel: "web" body { text: "{% for i in (1..2000) %}LONG{% endfor %}" } }
  treatments { id: "bare" channel: "web" }
} }
resources { metadata { name: "home" } placement { filled: "on_request" } }
`

func TestAnItemHasItsTextsOrTheReasonWhyNot(t *testing.T) {
	b := &definitionv1.Bundle{}
	if err := prototext.Unmarshal([]byte(strings.ReplaceAll(texts, "LONG", strings.Repeat("x", 100))), b); err != nil {
		t.Fatal(err)
	}
	c, problems := catalog.Compile(b)
	if c == nil {
		t.Fatal(problems)
	}
	a := answering{
		engine: &engine{publicURL: "https://mail.shop.example"}, rules: newEntry(c).rules, now: time.Unix(0, 0),
		view: &view{customer: []byte{0xab}, profile: &profilev1.Profile{Leaves: []*profilev1.Leaf{{
			Traits: []*profilev1.Trait{{Name: "name", Value: event.Text("Ada")}},
		}}}},
	}
	render := func(treatment string, p *decisionv1.Proposal) *decisionv1.Item {
		item := &decisionv1.Item{Action: "all", Treatment: treatment, Token: "t"}
		a.render(item, p, a.rules.Actions["all"].Treatment(treatment))
		return item
	}
	order := &decisionv1.Proposal{Context: []*eventv1.Property{{Name: "id", Value: event.Text("o1")}}}
	if got := render("told", order); got.GetSubject() != "all Ada" || got.GetBody() != "o1 https://mail.shop.example/u/t ab" || len(got.GetReasons()) > 0 {
		t.Errorf("rendered %v", got)
	}
	if got := render("bare", nil); got.GetSubject()+got.GetBody() != "" || len(got.GetReasons()) > 0 {
		t.Errorf("without texts: %v", got)
	}
	if got := render("stops", order); len(got.GetReasons()) > 0 || got.GetSubject() != "Hi" {
		t.Errorf("with an order: %v", got)
	}
	for treatment, want := range map[string]reasonv1.Code{
		"stops": reasonv1.Code_CODE_TEMPLATE_ABORT, "fails": reasonv1.Code_CODE_RENDER_FAILED,
	} {
		got := render(treatment, nil)
		if len(got.GetReasons()) != 1 || got.GetReasons()[0].GetCode() != want || got.GetReasons()[0].GetRule() != "Action/all" || got.GetSubject()+got.GetBody() != "" {
			t.Errorf("%s: %v, want %v and no texts", treatment, got, want)
		}
	}
	whole := 0
	for range 10 {
		if got := render("large", nil); got.GetBody() != "" {
			whole++
		} else if text := strings.Join(got.GetReasons()[0].GetEvidence(), " "); !strings.Contains(text, "of 1048576") {
			t.Errorf("the answer is full: %s", text)
		}
	}
	if whole != 5 {
		t.Errorf("%d bodies of 200,000 bytes are in one answer, want 5", whole)
	}
}
