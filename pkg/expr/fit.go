package expr

import (
	"math"
	"strconv"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// Fit returns v as a value of type t, nil if it is not one and cannot be taken for one without loss. A text fits a
// number that it writes ("42", "19.99"), a truth value ("true", "1") and an instant in any form that event.ParseInstant
// reads, those without a zone in zone (nil: UTC); a number fits the text of its digits; a whole number fits a double, a
// number without a fraction an int; 1 and 0 fit a truth value, and that fits a text. A null fits nothing. What fits as it
// is is returned itself.
func Fit(v *eventv1.Value, t Type, zone *time.Location) *eventv1.Value {
	if event.IsNull(v) {
		return nil
	}
	switch t {
	case String:
		return fitText(v)
	case Int:
		return fitInt(v)
	case Double:
		return fitDouble(v)
	case Bool:
		return fitBool(v)
	case Timestamp:
		return fitInstant(v, zone)
	case Strings:
		return fitStrings(v)
	case Any:
		return v
	}
	return nil
}

func fitText(v *eventv1.Value) *eventv1.Value {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		return v
	case *eventv1.Value_Integer, *eventv1.Value_Number:
		return event.Text(event.IdentifierText(v))
	case *eventv1.Value_Flag:
		return event.Text(strconv.FormatBool(k.Flag))
	}
	return nil
}

func fitInt(v *eventv1.Value) *eventv1.Value {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Integer:
		return v
	case *eventv1.Value_Number:
		if k.Number == math.Trunc(k.Number) && math.Abs(k.Number) < 1<<53 {
			return event.Integer(int64(k.Number))
		}
	case *eventv1.Value_Text:
		text := strings.TrimSpace(k.Text)
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return event.Integer(n)
		}
		if f, ok := decimal(text); ok {
			return fitInt(event.Number(f))
		}
	}
	return nil
}

func fitDouble(v *eventv1.Value) *eventv1.Value {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Number:
		return v
	case *eventv1.Value_Integer:
		return event.Number(float64(k.Integer))
	case *eventv1.Value_Text:
		if f, ok := decimal(strings.TrimSpace(k.Text)); ok {
			return event.Number(f)
		}
	}
	return nil
}

// decimal reads a number as JSON writes one, a plus before it and zeros allowed. What else Go can read is none: a person
// wrote it for something else.
func decimal(text string) (float64, bool) {
	if strings.Trim(text, "0123456789.eE+-") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

func fitBool(v *eventv1.Value) *eventv1.Value {
	switch v.GetKind().(type) {
	case *eventv1.Value_Flag:
		return v
	case *eventv1.Value_Integer, *eventv1.Value_Number, *eventv1.Value_Text:
		switch strings.ToLower(event.IdentifierText(v)) {
		case "true", "1":
			return event.Flag(true)
		case "false", "0":
			return event.Flag(false)
		}
	}
	return nil
}

// fitInstant keeps RFC 3339 as it is written and writes everything else so.
func fitInstant(v *eventv1.Value, zone *time.Location) *eventv1.Value {
	if _, err := time.Parse(time.RFC3339, v.GetText()); err == nil {
		return v
	}
	at, err := event.InstantOf(v, zone)
	if err != nil {
		return nil
	}
	return event.Text(at.At.Format(time.RFC3339Nano))
}

func fitStrings(v *eventv1.Value) *eventv1.Value {
	list, ok := v.GetKind().(*eventv1.Value_List)
	if !ok {
		return nil
	}
	same, out := true, &eventv1.List{}
	for _, item := range list.List.GetValues() {
		text := fitText(item)
		if text == nil {
			return nil
		}
		same = same && text == item
		out.Values = append(out.Values, text)
	}
	if same {
		return v
	}
	return &eventv1.Value{Kind: &eventv1.Value_List{List: out}}
}
