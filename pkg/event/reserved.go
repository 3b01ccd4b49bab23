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
// channel or topic means all of them ("*") when consent is withdrawn, as does one that can be no name, which is remarked;
// either is a problem when consent is given. Details that cannot be read are set aside, which is remarked; when a
// permission ends is no detail, and a problem. An end without a zone is taken in zone (nil: UTC).
func ConsentOf(eventType string, properties []*eventv1.Property, zone *time.Location) (c *eventv1.Consent, problems, remarks []Problem) {
	state := stateOf(eventType)
	if state == eventv1.ConsentState_CONSENT_STATE_UNSPECIFIED {
		return nil, nil, nil
	}
	given := state == eventv1.ConsentState_CONSENT_STATE_GIVEN
	var m mender
	c = &eventv1.Consent{State: state}
	for _, f := range []struct {
		name string
		into *string
	}{{"channel", &c.Channel}, {"topic", &c.Topic}} {
		said, why := nameIn(Property(properties, f.name))
		*f.into = said
		switch {
		case said != "":
		case given:
			problems = append(problems, Problem{Field: "properties." + f.name, Why: cmp.Or(why, "is missing") + `: name one, or "*" for all`})
			*f.into = "*"
		case why != "":
			m.list = append(m.list, widened("properties", f.name, why))
		}
	}
	c.Basis, c.Evidence = m.detail(properties, "basis"), m.detail(properties, "evidence")
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

// nameIn reads the name of a channel or topic; why says what is there instead, empty for nothing.
func nameIn(v *eventv1.Value) (name, why string) {
	switch v.GetKind().(type) {
	case nil, *eventv1.Value_Text:
	case *eventv1.Value_List:
		why = "is a list and not one name"
	default:
		why = "is no name"
	}
	return IdentifierText(v), why
}

// detail reads what may be missing; a number is its digits. Anything else is set aside.
func (m *mender) detail(properties []*eventv1.Property, name string) string {
	v := Property(properties, name)
	text := IdentifierText(v)
	if _, isText := v.GetKind().(*eventv1.Value_Text); text == "" && !isText && !IsNull(v) {
		m.remark("properties."+name, "is neither a text nor a number")
	}
	return text
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
