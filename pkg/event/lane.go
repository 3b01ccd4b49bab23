package event

import eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

// The lanes in which events travel, in draining order. They are the log's lanes by name.
const (
	LaneControl = "control"
	LaneLive    = "live"
	LaneBulk    = "bulk"
)

// Lane is the lane of an event whose publisher asked for none: control for what restricts contact
// (consent either way, one-click, complaints) and for what became of a send under way, else live.
func Lane(e *eventv1.Event) string {
	if e.GetKind() == eventv1.Kind_KIND_CONSENT || e.GetKind() == eventv1.Kind_KIND_RECEIPT {
		return LaneControl
	}
	if e.GetOutcome().GetKind() == eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED {
		return LaneControl
	}
	return LaneLive
}

// LaneAsked is Lane for a publisher that may have asked for the bulk lane. What belongs into control
// goes there whatever was asked.
func LaneAsked(e *eventv1.Event, asked string) string {
	lane := Lane(e)
	if lane == LaneLive && asked == LaneBulk {
		return LaneBulk
	}
	return lane
}
