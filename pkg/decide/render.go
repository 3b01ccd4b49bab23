package decide

import (
	"errors"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/liquid"
)

var errLine = errors.New("the subject must be one line")

// Occasion is what the texts of a treatment are filled in with.
type Occasion struct {
	// Action by name.
	Action string
	// Customer is the customer's number in hex.
	Customer string
	// Identifiers of the customer, for a task for the team; nobody else is shown them.
	Identifiers []*eventv1.Identifier
	// UnsubscribeURL ends the treatment's topic; empty without one.
	UnsubscribeURL string
	// Event holds the properties of the event that the proposal came from.
	Event []*eventv1.Property
	// Traits of the customer.
	Traits []*profilev1.Trait
	// Now is what the templates take for now.
	Now time.Time
}

// Texts are what a treatment says to one customer.
type Texts struct{ Subject, Body string }

// Render fills in the templates, within liquid.DefaultLimits, so it takes milliseconds. The reason says why there are no
// texts: TEMPLATE_ABORT or RENDER_FAILED. It names line and cause, and holds no personal data.
func (t *Templates) Render(o Occasion) (Texts, *reasonv1.Reason) {
	vars := o.variables()
	subject, err := oneLine(t.Subject, vars, o.Now)
	if err != nil {
		return Texts{}, unrendered(err)
	}
	body, err := filledIn(t.Body, vars, o.Now)
	if err != nil {
		return Texts{}, unrendered(err)
	}
	return Texts{Subject: subject, Body: body}, nil
}

func unrendered(err error) *reasonv1.Reason {
	code := reasonv1.Code_CODE_RENDER_FAILED
	if errors.Is(err, liquid.ErrAbort) {
		code = reasonv1.Code_CODE_TEMPLATE_ABORT
	}
	return &reasonv1.Reason{Code: code, Evidence: []string{err.Error()}}
}

// oneLine renders a text for a place that takes one line.
func oneLine(t *liquid.Template, vars map[string]any, now time.Time) (string, error) {
	text, err := filledIn(t, vars, now)
	if err != nil {
		return "", err
	}
	text = strings.TrimRight(text, "\r\n")
	if strings.ContainsAny(text, "\r\n\x00") {
		return "", errLine
	}
	return text, nil
}

// filledIn renders a text; without a template it is empty.
func filledIn(t *liquid.Template, vars map[string]any, now time.Time) (string, error) {
	if t == nil {
		return "", nil
	}
	return t.Render(vars, liquid.At{Now: now}) //nolint:wrapcheck // says line and cause, and no data
}

// variables is what a template sees.
func (o Occasion) variables() map[string]any {
	known := make(map[string]any, len(o.Traits))
	for _, t := range o.Traits {
		known[t.GetName()] = forPeople(t.GetValue())
	}
	properties := make(map[string]any, len(o.Event))
	for _, p := range o.Event {
		properties[p.GetName()] = forPeople(p.GetValue())
	}
	return map[string]any{
		"event": properties, "traits": known, "action": o.Action,
		"customer": map[string]any{"id": o.Customer, "identifiers": o.identifiers()}, "unsubscribe_url": o.UnsubscribeURL,
	}
}

// forPeople is a value for people: a number with decimals prints none where there are none.
func forPeople(v *eventv1.Value) any {
	return decimals(event.ToAny(v))
}

func decimals(v any) any {
	switch x := v.(type) {
	case float64:
		return liquid.Decimal(x)
	case []any:
		for i := range x {
			x[i] = decimals(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = decimals(x[k])
		}
	}
	return v
}

func (o Occasion) identifiers() []any {
	out := make([]any, len(o.Identifiers))
	for i, id := range o.Identifiers {
		out[i] = map[string]any{"kind": id.GetKind(), "value": id.GetValue()}
	}
	return out
}
