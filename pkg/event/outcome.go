package event

import (
	"slices"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// outcomes are the words for the kinds of outcome, by the kind's number.
func outcomes() []string {
	return []string{"", "impression", "click", "accept", "dismiss", "convert", "delivered", "bounced", "complained", "opened"}
}

// Outcomes lists the words for what may become of something sent or shown, such as click. Definitions refer to outcomes by
// these words, as to events.
func Outcomes() []string { return outcomes()[1:] }

// IsOutcome reports whether a word names an outcome.
func IsOutcome(word string) bool { return slices.Contains(Outcomes(), word) }

// OutcomeName is the word for an outcome kind; empty for none.
func OutcomeName(kind eventv1.OutcomeKind) string {
	words := outcomes()
	if int(kind) < 0 || int(kind) >= len(words) {
		return ""
	}
	return words[kind]
}

// ReceiptKindOf returns the outcome that a word names, which a receipt may report; unspecified for any other.
func ReceiptKindOf(word string) eventv1.OutcomeKind {
	return eventv1.OutcomeKind(max(slices.Index(outcomes(), word), 0)) //nolint:gosec // few words
}

// OutcomeKindOf returns the outcome that an event type with a token names: what a channel app may see a customer do.
// It is unspecified for any other, delivered, bounced and complained among them: only a provider knows of those.
func OutcomeKindOf(eventType string) eventv1.OutcomeKind {
	if kind := ReceiptKindOf(eventType); IsDeed(kind) {
		return kind
	}
	return eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED
}

// IsDeed reports whether an outcome is something that was done with what was sent or shown, by the customer or by a machine
// in the customer's stead.
func IsDeed(kind eventv1.OutcomeKind) bool {
	switch kind {
	case eventv1.OutcomeKind_OUTCOME_KIND_IMPRESSION, eventv1.OutcomeKind_OUTCOME_KIND_CLICK, eventv1.OutcomeKind_OUTCOME_KIND_ACCEPT,
		eventv1.OutcomeKind_OUTCOME_KIND_DISMISS, eventv1.OutcomeKind_OUTCOME_KIND_CONVERT, eventv1.OutcomeKind_OUTCOME_KIND_OPENED:
		return true
	case eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED,
		eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED, eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED:
	}
	return false
}

// IsReceipt reports whether an outcome proves that what it is about was sent: what a provider reports of a delivery, and
// that it was opened.
func IsReceipt(kind eventv1.OutcomeKind) bool {
	return kind == eventv1.OutcomeKind_OUTCOME_KIND_OPENED || kind != eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED && OutcomeName(kind) != "" && !IsDeed(kind)
}

// Names of what is read of an outcome; see Details.
const (
	FieldAction     = "action"
	FieldTreatment  = "treatment"
	FieldChannel    = "channel"
	FieldJourney    = "journey"
	FieldStep       = "step"
	FieldPlacement  = "placement"
	FieldSubjectID  = "subject_id"
	FieldReason     = "reason"
	FieldValue      = "value"
	FieldMachine    = "machine"
	FieldProperties = "properties"
)

// Details are what expressions and templates read of an event: its properties. Those of an outcome are what it is about and
// how it was, by the names above; what was published with it is the object properties. What is not known is left out.
func Details(e *eventv1.Event) []*eventv1.Property {
	o := e.GetOutcome()
	if e.GetKind() != eventv1.Kind_KIND_OUTCOME || o == nil {
		return e.GetProperties()
	}
	var out []*eventv1.Property
	add := func(name string, v *eventv1.Value) { out = append(out, &eventv1.Property{Name: name, Value: v}) }
	for _, f := range []struct{ name, text string }{
		{FieldAction, o.GetAction()},
		{FieldTreatment, o.GetTreatment()},
		{FieldChannel, o.GetChannel()},
		{FieldJourney, o.GetJourney()},
		{FieldStep, o.GetStep()},
		{FieldPlacement, o.GetPlacement()},
		{FieldSubjectID, o.GetSubjectId()},
		{FieldReason, o.GetReason()},
	} {
		if f.text != "" {
			add(f.name, Text(f.text))
		}
	}
	if IsDeed(o.GetKind()) && o.GetValue() != 0 {
		add(FieldValue, Number(o.GetValue()))
	}
	if IsDeed(o.GetKind()) && o.Machine != nil {
		add(FieldMachine, Flag(o.GetMachine()))
	}
	if len(e.GetProperties()) > 0 {
		add(FieldProperties, &eventv1.Value{Kind: &eventv1.Value_Object{Object: &eventv1.Object{Properties: e.GetProperties()}}})
	}
	return out
}

// TypeOf is the type under which definitions know an event: as it was published, or the word for an outcome. An event that
// is published under such a word without being an outcome is another type; see PlainType.
func TypeOf(e *eventv1.Event) string {
	if e.GetKind() != eventv1.Kind_KIND_OUTCOME {
		return PlainType(e.GetType())
	}
	if word := OutcomeName(e.GetOutcome().GetKind()); word != "" {
		return word
	}
	return e.GetType()
}

// plainly stands before the type of an event that is called like an outcome and is none. No definition has such a name.
const plainly = "track/"

// PlainType is the type under which definitions know an event that is no outcome. Nothing that waits for an outcome takes a
// plain event of its name for one.
func PlainType(published string) string {
	if IsOutcome(published) {
		return plainly + published
	}
	return published
}
