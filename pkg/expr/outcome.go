package expr

import (
	"maps"

	"refrain.dev/pkg/event"
)

// OutcomeFields are what an expression or template reads of an outcome by the word for it, with their types; nil if the word
// names no outcome.
func OutcomeFields(word string) map[string]Type {
	if !event.IsOutcome(word) {
		return nil
	}
	fields := map[string]Type{
		event.FieldAction: String, event.FieldTreatment: String, event.FieldChannel: String, event.FieldJourney: String,
		event.FieldStep: String, event.FieldPlacement: String, event.FieldSubjectID: String, event.FieldReason: String,
		event.FieldProperties: Any,
	}
	if event.IsDeed(event.ReceiptKindOf(word)) {
		fields[event.FieldValue], fields[event.FieldMachine] = Double, Bool
	}
	return fields
}

// withOutcomes returns a schema in which the outcomes are declared, whatever it says of them.
func withOutcomes(s Schema) Schema {
	events := make(map[string]map[string]Type, len(s.Events))
	maps.Copy(events, s.Events)
	for _, word := range event.Outcomes() {
		events[word] = OutcomeFields(word)
	}
	return Schema{Events: events, Traits: s.Traits}
}
