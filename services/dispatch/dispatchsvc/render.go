package dispatchsvc

import (
	"cmp"
	"slices"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

// rendered fills in the texts of a message. A result says why there is no text.
func rendered(m channel.Message, t *decide.Templates, traits []*profilev1.Trait) (channel.Message, *delivery.Result) {
	texts, no := t.Render(decide.Occasion{
		Action: m.Action, Customer: m.Customer, Identifiers: identifiers(m), UnsubscribeURL: m.UnsubscribeURL, Event: m.Context, Traits: traits, Now: m.At,
	})
	if no != nil {
		return m, new(unsent(no.GetCode(), no.GetEvidence()...))
	}
	m.Subject, m.Body = texts.Subject, texts.Body
	return m, nil
}

// identifiers are the customer's as a template sees them: none unless the message is a task for the team.
func identifiers(m channel.Message) []*eventv1.Identifier {
	out := make([]*eventv1.Identifier, len(m.Identifiers))
	for i, id := range m.Identifiers {
		out[i] = &eventv1.Identifier{Kind: id.Kind, Value: id.Value}
	}
	return out
}

// identifiersOf are those of a profile's identifiers by which a person can be told: not devices, strongest first.
func identifiersOf(p *profilev1.Profile, kinds *event.Kinds) []channel.Identifier {
	if kinds == nil {
		kinds = event.DefaultKinds()
	}
	var out []channel.Identifier
	for _, l := range p.GetLeaves() {
		for _, i := range l.GetIdentities() {
			kind, _ := kinds.Kind(i.GetIdentifier().GetKind())
			if kind.Class == event.ClassDevice || i.GetUndecided() {
				continue
			}
			id := channel.Identifier{Kind: i.GetIdentifier().GetKind(), Value: i.GetIdentifier().GetValue()}
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	order := kinds.Names()
	slices.SortStableFunc(out, func(a, b channel.Identifier) int {
		return cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind))
	})
	return out
}
