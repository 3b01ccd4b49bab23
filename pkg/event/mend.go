package event

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// SetAside is the remark about an optional field that could not be used and was left out.
func SetAside(field, why string) Problem {
	return Problem{Field: field, Why: why + "; it was set aside"}
}

// Mend takes out of e what could not be stored and may be missing, so that one unusable optional field never loses an
// event: a time that is none, properties and traits that are no values, circumstances that are too long, details of a
// consent or outcome. A withdrawal whose channel or topic can be none counts for all of them. It returns a remark for each. A permission's end is not optional: one that cannot be read stays,
// for Validate to refuse; so is the time of a permission. e is the caller's own; what is wrong with it beyond that is
// for Validate to say.
func Mend(e *eventv1.Event) []Problem {
	if e == nil {
		return nil
	}
	var m mender
	given := e.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN
	if e.GetAt() != nil && !given && !m.time("at", e.GetAt()) {
		e.At = nil
	}
	e.Properties = m.properties("properties", e.GetProperties())
	e.Traits = m.properties("traits", e.GetTraits())
	m.context(e.GetContext())
	if c := e.GetConsent(); c != nil {
		m.consent("consent", c)
	}
	if o := e.GetOutcome(); o != nil {
		m.text("outcome.reason", &o.Reason, MaxName)
		if math.IsNaN(o.GetValue()) || math.IsInf(o.GetValue(), 0) {
			m.remark("outcome.value", "is not a finite number")
			o.Value = 0
		}
	}
	return m.list
}

// mender takes out and notes.
type mender struct{ list []Problem }

func (m *mender) remark(field, why string) {
	m.list = append(m.list, SetAside(field, why))
}

// keep says whether a check found nothing, and remarks on what it found first.
func (m *mender) keep(check func(*problems)) bool {
	var p problems
	check(&p)
	if len(p.list) == 0 {
		return true
	}
	m.remark(p.list[0].Field, p.list[0].Why)
	return false
}

func (m *mender) time(field string, t *timestamppb.Timestamp) bool {
	return m.keep(func(p *problems) { p.time(field, t) })
}

func (m *mender) text(field string, s *string, limit int) {
	if !m.keep(func(p *problems) { p.optional(field, *s, limit) }) {
		*s = ""
	}
}

// consent mends the details of a consent, and the names of a withdrawal, which is never refused for them. When a
// permission ends is no detail.
func (m *mender) consent(field string, c *eventv1.Consent) {
	if c.GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		m.widen(field, "channel", &c.Channel)
		m.widen(field, "topic", &c.Topic)
	}
	m.text(field+".basis", &c.Basis, maxShort)
	m.text(field+".evidence", &c.Evidence, maxIdentifier)
	given := c.GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN
	if c.GetExpiresAt() != nil && !given && !m.time(field+".expires_at", c.GetExpiresAt()) {
		c.ExpiresAt = nil
	}
}

// widen makes a withdrawal count for all of what it names, a channel or topic, if the name can be none. Nothing is all.
func (m *mender) widen(field, what string, name *string) {
	var p problems
	p.optional(field+"."+what, *name, maxShort)
	if len(p.list) > 0 {
		m.list = append(m.list, widened(field, what, p.list[0].Why))
		*name = ""
	}
	*name = cmp.Or(strings.TrimSpace(*name), "*")
}

// widened is the remark about a withdrawal that counts for all channels or topics, and why.
func widened(field, what, why string) Problem {
	return Problem{Field: field + "." + what, Why: why + ", so the withdrawal counts for every " + what}
}

// properties returns the list without what is no property and what is beyond MaxProperties, the list itself if nothing is.
func (m *mender) properties(field string, list []*eventv1.Property) []*eventv1.Property {
	if over := len(list) - MaxProperties; over > 0 {
		m.list = append(m.list, Problem{Field: field, Why: fmt.Sprintf("are %d, more than %d; the last %d were set aside", len(list), MaxProperties, over)})
		list = list[:MaxProperties]
	}
	for i, prop := range list {
		if m.keep(func(p *problems) { p.property(field, i, prop, 0) }) {
			continue
		}
		kept := append([]*eventv1.Property(nil), list[:i]...)
		for j := i + 1; j < len(list); j++ {
			if m.keep(func(p *problems) { p.property(field, j, list[j], 0) }) {
				kept = append(kept, list[j])
			}
		}
		return kept
	}
	return list
}

func (m *mender) context(c *eventv1.Context) {
	if c == nil {
		return
	}
	m.text("context.time_zone", &c.TimeZone, maxShort)
	m.text("context.locale", &c.Locale, maxShort)
	m.text("context.source", &c.Source, MaxName)
	m.text("context.via", &c.Via, maxShort)
}
