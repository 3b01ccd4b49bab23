package contact

import (
	"slices"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/consent"
)

// The purposes that have rules of their own.
const (
	marketing = "marketing"
	legal     = "legal"
)

// closed is the first gate: contact with the customer is closed altogether.
func (k *check) closed(Treatment) *reasonv1.Reason {
	no := k.state.GetBasis().GetClosed()
	if no == nil {
		return nil
	}
	no = no.CloneVT()
	if no.GetRevision() == "" {
		no.Revision = k.env.Revision
	}
	return no
}

// endpoint asks whether there is somewhere to send to.
func (k *check) endpoint(t Treatment) *reasonv1.Reason {
	r := t.Reach
	if t.toTeam() || r.Endpoint == "" || len(k.endpoints(t)) > 0 {
		return nil
	}
	for _, m := range k.state.GetBasis().GetMissing() {
		if m.GetKind() == r.Endpoint && !r.Trait {
			no := m.GetReason().CloneVT()
			no.Revision = k.env.Revision
			return no
		}
	}
	return k.reason(reasonv1.Code_CODE_NO_ENDPOINT, "send an identify with the customer's "+r.Endpoint, "no "+r.Endpoint+" for channel "+t.Channel)
}

func (k *check) endpoints(t Treatment) []*profilev1.Endpoint {
	var out []*profilev1.Endpoint
	for _, e := range k.state.GetBasis().GetEndpoints() {
		if t.Reach.has(e) {
			out = append(out, e)
		}
	}
	return out
}

// doNotContact asks whether every endpoint is on the do-not-contact list.
func (k *check) doNotContact(t Treatment) *reasonv1.Reason {
	if !t.ToCustomer() || t.Reach.Endpoint == "" {
		return nil
	}
	var newest *profilev1.Endpoint
	for _, e := range k.endpoints(t) {
		if e.GetDoNotContact() == nil {
			return nil
		}
		if newest == nil || e.GetSince().AsTime().After(newest.GetSince().AsTime()) {
			newest = e
		}
	}
	if newest == nil {
		return nil
	}
	no := newest.GetDoNotContact().CloneVT()
	no.Revision = k.env.Revision
	return no
}

// consent asks whether the customer permits it; the package comment has the rules.
func (k *check) consent(t Treatment) *reasonv1.Reason {
	if !t.ToCustomer() || k.contact.Purpose == legal {
		return nil
	}
	required, rule := k.consentRequired(t)
	if !required && k.contact.Purpose != marketing {
		return k.objection(t)
	}
	records := k.state.GetBasis().GetConsents()
	state, record := consent.Evaluate(records, t.Channel, t.Topic, k.env.Now)
	if all := global(records); all != nil {
		state, record = consent.Withdrawn, all
	}
	switch {
	case state == consent.Given, !required && state != consent.Withdrawn:
		return nil
	case state == consent.Missing:
		no := k.reason(reasonv1.Code_CODE_CONSENT_MISSING, "ask for consent and publish consent_given for the channel and topic",
			"no consent for "+t.Channel+"/"+topic(t.Topic))
		no.Rule = rule
		return no
	}
	no := k.reason(state.Code(), "only the customer can give permission again", k.statement(record))
	no.Rule = rule
	return no
}

// consentRequired is whether permission is needed: if any policy that governs the contact says so; if none
// says anything, for marketing. rule names the policy that requires it.
func (k *check) consentRequired(t Treatment) (required bool, rule string) {
	required = k.contact.Purpose == marketing
	for _, p := range k.policies {
		if p.consent == "" || !p.governs(k.contact, t.Channel) {
			continue
		}
		if p.consent == "required" {
			return true, "ContactPolicy/" + p.Name + ".consent"
		}
		required = false
	}
	return required, ""
}

// objection is what stops a contact that needs no permission: a withdrawal for exactly its channel and
// topic, a complaint, or a STOP, which is about the channel whatever it was answered to.
func (k *check) objection(t Treatment) *reasonv1.Reason {
	for _, r := range k.state.GetBasis().GetConsents() {
		c := r.GetConsent()
		if c.GetState() != eventv1.ConsentState_CONSENT_STATE_WITHDRAWN || c.GetChannel() != t.Channel && c.GetChannel() != consent.Any {
			continue
		}
		switch {
		case c.GetBasis() == "complaint":
			return k.reason(reasonv1.Code_CODE_SUPPRESSED_COMPLAINT, "only the customer can give permission again", k.statement(r))
		case c.GetBasis() == "stop", c.GetChannel() == t.Channel && c.GetTopic() == t.Topic:
			return k.reason(reasonv1.Code_CODE_UNSUBSCRIBED, "only the customer can give permission again", k.statement(r))
		}
	}
	return nil
}

// global returns the withdrawal for every channel and topic, if one is in force.
func global(records []*profilev1.ConsentRecord) *profilev1.ConsentRecord {
	i := slices.IndexFunc(records, func(r *profilev1.ConsentRecord) bool {
		c := r.GetConsent()
		return c.GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN && c.GetChannel() == consent.Any && c.GetTopic() == consent.Any
	})
	if i < 0 {
		return nil
	}
	return records[i]
}

// statement describes a consent record in the recipient's time.
func (k *check) statement(r *profilev1.ConsentRecord) string {
	c := r.GetConsent()
	what, when := "given", r.GetAt().AsTime()
	if c.GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		what = "withdrawn"
	} else if end := c.GetExpiresAt(); end != nil {
		what, when = "expired", end.AsTime()
	}
	text := what + " for " + c.GetChannel() + "/" + c.GetTopic() + " on " + when.In(k.display()).Format(time.DateOnly)
	if c.GetBasis() != "" {
		text += " (" + c.GetBasis() + ")"
	}
	return text
}

func topic(t string) string {
	if t == "" {
		return consent.Any
	}
	return t
}
