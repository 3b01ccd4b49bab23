package dispatchsvc

import (
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/delivery"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

// rendered fills in the texts of a message. A result says why there is no text.
func rendered(m channel.Message, t *decide.Templates, traits []*profilev1.Trait) (channel.Message, *delivery.Result) {
	texts, no := t.Render(decide.Occasion{
		Action: m.Action, Customer: m.Customer, UnsubscribeURL: m.UnsubscribeURL, Event: m.Context, Traits: traits, Now: m.At,
	})
	if no != nil {
		return m, new(unsent(no.GetCode(), no.GetEvidence()...))
	}
	m.Subject, m.Body = texts.Subject, texts.Body
	return m, nil
}
