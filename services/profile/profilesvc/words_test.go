package profilesvc

import (
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
)

// teller reads a place from which words may be on their way.
func (m *mesh) filled(t profile.Teller) profile.Teller {
	m.t.Helper()
	t.Profile = m.profile(t.ID)
	if raw := m.rows[m.hasher.Partition(t.ID)][identity.IdentifierKey(tenant, t.ID)]; raw != nil {
		t.Row = &profilev1.IdentifierRow{}
		if err := t.Row.UnmarshalVT(raw); err != nil {
			m.t.Fatal(err)
		}
	}
	return t
}

// pending says whether a word is on its way to a profile from any place that it knows.
func (m *mesh) pending(p *profilev1.Profile) bool {
	for _, t := range profile.Tellers(m.hasher, p) {
		if m.filled(t).Pending(p) {
			return true
		}
	}
	return false
}

// Until somebody who names another's address has been told that it is another's, a word about it may be missing.
func TestAnAddressOfAnotherPersonIsPendingUntilItIsLost(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(identify("i1", 0, user("u1"), email("a@x.example")), withdrawal("w1", 1, email("a@x.example")))
	m.held = true
	m.publish(identify("i2", 2, user("u2"), email("a@x.example")))
	if !m.pending(m.made(user("u2"))) {
		t.Error("an address of another customer may be used")
	}
	m.settle()
	if u2 := m.made(user("u2")); m.pending(u2) || len(profile.Endpoints(u2)) > 0 {
		t.Errorf("after the conflict: pending %v, reached at %v", m.pending(u2), profile.Endpoints(u2))
	}
}

// A withdrawal under another identifier is pending from when it is taken there until it has come; an order is not.
func TestAWordIsPendingUntilItHasCome(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(identify("i1", 0, user("u"), email("a@x.example")))
	m.held = true
	m.publish(track("t1", 1, email("a@x.example")))
	if m.pending(m.made(user("u"))) {
		t.Error("an order on its way is taken for a word about permission")
	}
	m.publish(withdrawal("w1", 2, email("a@x.example")))
	if !m.pending(m.made(user("u"))) {
		t.Error("a withdrawal on its way is not pending")
	}
	m.settle()
	u := m.made(user("u"))
	if m.pending(u) || len(profile.Consents(u)) != 1 {
		t.Errorf("after it has come: pending %v, consents %v", m.pending(u), profile.Consents(u))
	}
	m.publish(withdrawal("w1", 2, email("a@x.example")))
	if m.pending(m.made(user("u"))) {
		t.Error("a repeat is pending")
	}
}

// The person of a profile that is closed goes on in another one: what it was told not to do goes along, and until
// that has come the other one is not contacted.
func TestWhatAClosedProfileWasToldNotToDoGoesWithItsPerson(t *testing.T) {
	for _, partitions := range []int{1, 32} {
		m := newMesh(t, partitions)
		m.publish(track("t1", 0, email("a@x.example")), withdrawal("w1", 1, email("a@x.example")))
		bounce := reportOf("o1", 2, m.made(email("a@x.example")).GetId(), eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED)
		m.publish(bounce)
		m.held = true
		m.publish(identify("i1", 3, user("u"), email("a@x.example")))
		if !m.pending(m.made(user("u"))) {
			t.Error("the claim is not decided, who has the address said no, and nothing is pending")
		}
		m.settle()
		u := m.made(user("u"))
		if m.pending(u) {
			t.Error("pending after everything has come")
		}
		want(t, "consent", len(profile.Consents(u)), 1)
		want(t, "endpoint", profile.Endpoints(u)[0].GetDoNotContact().GetCode(), reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE)
		m.held = false
		again := withdrawal("g1", 4, user("u"))
		again.Consent.State = eventv1.ConsentState_CONSENT_STATE_GIVEN
		m.publish(again)
		want(t, "the latest statement", profile.Consents(m.made(user("u")))[0].GetConsent().GetState(), eventv1.ConsentState_CONSENT_STATE_GIVEN)
	}
}

// Of two identifiers of a kind the one that stays with its owner is lost, not the other.
func TestAConflictNamesTheIdentifier(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(identify("i1", 5, user("u1"), anon("d1")))
	m.publish(identify("i2", 1, user("u2"), anon("d1"), anon("d2"))) // a login of before does not take d1
	var have []string
	for _, i := range m.made(user("u2")).GetLeaves()[0].GetIdentities() {
		have = append(have, i.GetIdentifier().GetValue())
	}
	want(t, "identities", have, []string{"u2", "d2"})
	want(t, "d2 resolves to", m.owner(anon("d2")).GetId(), m.made(user("u2")).GetId())
}
