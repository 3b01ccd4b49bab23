package event

import (
	"cmp"
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
// channel or topic means all of them ("*") when consent is withdrawn and is a problem when it is given. Details that
// cannot be read are set aside, which is remarked; when a permission ends is no detail, and a problem. An end without
// a zone is taken in zone (nil: UTC).
func ConsentOf(eventType string, properties []*eventv1.Property, zone *time.Location) (c *eventv1.Consent, problems, remarks []Problem) {
	state := stateOf(eventType)
	if state == eventv1.ConsentState_CONSENT_STATE_UNSPECIFIED {
		return nil, nil, nil
	}
	given := state == eventv1.ConsentState_CONSENT_STATE_GIVEN
	c = &eventv1.Consent{
		State:    state,
		Channel:  TextOf(properties, "channel"),
		Topic:    TextOf(properties, "topic"),
		Basis:    TextOf(properties, "basis"),
		Evidence: TextOf(properties, "evidence"),
	}
	if given {
		for _, name := range []string{"channel", "topic"} {
			if TextOf(properties, name) == "" {
				problems = append(problems, Problem{Field: "properties." + name, Why: `is missing: name one, or "*" for all`})
			}
		}
	}
	c.Channel, c.Topic = cmp.Or(c.GetChannel(), "*"), cmp.Or(c.GetTopic(), "*")
	var m mender
	if end := Property(properties, "expires_at"); !IsNull(end) {
		switch at, err := InstantOf(end, zone); {
		case err == nil:
			c.ExpiresAt = timestamppb.New(at.At)
			if at.Assumed {
				m.list = append(m.list, AssumedZone("properties.expires_at", zone))
			}
		case given:
			problems = append(problems, Problem{Field: "properties.expires_at", Why: err.Error()})
		default:
			m.remark("properties.expires_at", err.Error())
		}
	}
	m.consent("properties", c)
	return c, append(problems, consentProblems("properties", c)...), m.list
}

// IsConsent reports whether an event type is reserved for consent, either way.
func IsConsent(eventType string) bool {
	return stateOf(eventType) != eventv1.ConsentState_CONSENT_STATE_UNSPECIFIED
}

func stateOf(eventType string) eventv1.ConsentState {
	switch eventType {
	case TypeConsentGiven:
		return eventv1.ConsentState_CONSENT_STATE_GIVEN
	case TypeConsentWithdrawn:
		return eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
	}
	return eventv1.ConsentState_CONSENT_STATE_UNSPECIFIED
}
