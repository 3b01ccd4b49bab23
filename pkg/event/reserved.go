package event

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// The reserved event types of consent. Their properties are channel, topic, basis, evidence, expires_at.
const (
	TypeConsentGiven     = "consent_given"
	TypeConsentWithdrawn = "consent_withdrawn"
)

// ConsentOf reads the consent that a reserved event states; nil if the type is not reserved. A missing
// channel or topic means all of them ("*") when consent is withdrawn and is a problem when it is given.
func ConsentOf(eventType string, properties []*eventv1.Property) (*eventv1.Consent, []Problem) {
	c := &eventv1.Consent{
		Channel:  TextOf(properties, "channel"),
		Topic:    TextOf(properties, "topic"),
		Basis:    TextOf(properties, "basis"),
		Evidence: TextOf(properties, "evidence"),
	}
	var problems []Problem
	switch eventType {
	case TypeConsentGiven:
		c.State = eventv1.ConsentState_CONSENT_STATE_GIVEN
		for _, name := range []string{"channel", "topic"} {
			if TextOf(properties, name) == "" {
				problems = append(problems, Problem{Field: "properties." + name, Why: `is missing: name one, or "*" for all`})
			}
		}
	case TypeConsentWithdrawn:
		c.State = eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
	default:
		return nil, nil
	}
	c.Channel, c.Topic = cmp.Or(c.GetChannel(), "*"), cmp.Or(c.GetTopic(), "*")
	if end := Property(properties, "expires_at"); !IsNull(end) {
		at, err := time.Parse(time.RFC3339, end.GetText())
		if err != nil {
			problems = append(problems, Problem{Field: "properties.expires_at", Why: "is not a time as in 2026-11-21T08:00:00Z"})
		} else {
			c.ExpiresAt = timestamppb.New(at)
		}
	}
	return c, append(problems, consentProblems("properties", c)...)
}

// customerOutcomes are the outcomes that a channel app reports as an event with a token.
func customerOutcomes() []string {
	return []string{"", "impression", "click", "accept", "dismiss", "convert"}
}

// providerOutcomes are the outcomes that only a provider's receipt may report.
func providerOutcomes() []string { return []string{"delivered", "bounced", "complained"} }

// OutcomeKindOf returns the outcome that an event type with a token names: impression, click, accept,
// dismiss or convert; unspecified for any other.
func OutcomeKindOf(eventType string) eventv1.OutcomeKind {
	if i := slices.Index(customerOutcomes(), eventType); i > 0 {
		return eventv1.OutcomeKind(i) //nolint:gosec // at most 5
	}
	return eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED
}

// ReceiptKindOf returns the outcome that a receipt names: those of OutcomeKindOf and delivered, bounced
// or complained; unspecified for any other.
func ReceiptKindOf(name string) eventv1.OutcomeKind {
	if i := slices.Index(providerOutcomes(), name); i >= 0 {
		return eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED + eventv1.OutcomeKind(i) //nolint:gosec // at most 2
	}
	return OutcomeKindOf(name)
}

// IsReceipt says whether only a provider reports an outcome. What it reports of, it has been given.
func IsReceipt(kind eventv1.OutcomeKind) bool {
	return slices.Contains(providerOutcomes(), OutcomeName(kind))
}

// OutcomeName is the word for an outcome kind, as in OutcomeKindOf and ReceiptKindOf; empty for none.
func OutcomeName(kind eventv1.OutcomeKind) string {
	words := append(customerOutcomes(), providerOutcomes()...)
	if int(kind) < 0 || int(kind) >= len(words) {
		return ""
	}
	return words[kind]
}
