package dispatchsvc

import (
	"errors"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/liquid"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

var errLine = errors.New("the subject must be one line")

// rendered fills in the texts of a message. Rendering does no I/O and is bounded by liquid.DefaultLimits, so it
// takes milliseconds. A result says why there is no text.
func rendered(m channel.Message, t *decide.Templates, traits []*profilev1.Trait) (channel.Message, *delivery.Result) {
	vars := variables(m, traits)
	subject, err := oneLine(t.Subject, vars, m.At)
	if err == nil {
		m.Subject = subject
		m.Body, err = filledIn(t.Body, vars, m.At)
	}
	switch {
	case errors.Is(err, liquid.ErrAbort):
		return m, new(unsent(reasonv1.Code_CODE_TEMPLATE_ABORT, err.Error()))
	case err != nil:
		return m, new(unsent(reasonv1.Code_CODE_RENDER_FAILED, err.Error()))
	}
	return m, nil
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
func variables(m channel.Message, traits []*profilev1.Trait) map[string]any {
	known := make(map[string]any, len(traits))
	for _, t := range traits {
		known[t.GetName()] = forPeople(t.GetValue())
	}
	properties := make(map[string]any, len(m.Context))
	for _, p := range m.Context {
		properties[p.GetName()] = forPeople(p.GetValue())
	}
	return map[string]any{
		"event": properties, "traits": known, "action": m.Action,
		"customer": map[string]any{"id": m.Customer}, "unsubscribe_url": m.UnsubscribeURL,
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
