package profilesvc

import (
	"testing"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
)

// receipts are those that dispatch gets, with where.
func (m *mesh) receipts() []*dispatchv1.Receipt {
	m.t.Helper()
	var out []*dispatchv1.Receipt
	for _, a := range m.others {
		r := &dispatchv1.Receipt{}
		if err := r.UnmarshalVT(a.Payload); err != nil {
			m.t.Fatal(err)
		}
		home := m.hasher.Partition(r.GetCustomer())
		if a.Stage != "dispatch" || a.Partition != home || a.From != identity.CustomerKey(r.GetTenant(), r.GetCustomer()) {
			m.t.Fatalf("%v went to %s.%d from %s, want the delivery's home %d", r, a.Stage, a.Partition, a.From, home)
		}
		out = append(out, r)
	}
	m.others = nil
	return out
}

func reportOf(id string, minute int, customer []byte, kind eventv1.OutcomeKind) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_OUTCOME, "outcome", minute, direct(customer))
	e.Outcome = &eventv1.Outcome{Kind: kind, Channel: "email", Action: "welcome", Token: "t", SubjectId: "p1"}
	return e
}

// What a provider reports of a delivery goes on to the dispatch stage of the partition in which the delivery
// lives, once, also after the customer's profile was closed; what the customer does goes nowhere.
func TestReceiptsArePassedOnToDispatch(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(track("e1", 0, email("a@x.example")))
	past := m.made(email("a@x.example")).GetId()
	m.publish(
		reportOf("o1", 1, past, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED),
		reportOf("o1", 1, past, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED),
		reportOf("o2", 1, past, eventv1.OutcomeKind_OUTCOME_KIND_CLICK),
		identify("i1", 2, user("u"), email("a@x.example")),
		reportOf("o3", 3, past, eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED),
	)
	unaddressed := reportOf("o4", 4, past, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED)
	unaddressed.Outcome.SubjectId = ""
	m.publish(unaddressed)
	got := m.receipts()
	if len(got) != 2 {
		t.Fatalf("receipts = %v, want o1 and o3", got)
	}
	for i, want := range []*dispatchv1.Receipt{
		{Cause: "o1", Report: &dispatchv1.Receipt_Provider{Provider: eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED}},
		{Cause: "o3", Report: &dispatchv1.Receipt_Provider{Provider: eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED}},
	} {
		want.Tenant, want.Customer, want.Proposal = tenant, past, "p1"
		if !got[i].EqualVT(want) {
			t.Errorf("receipt %d = %v, want %v", i, got[i], want)
		}
	}
}

// A receipt of a process that had lost its partition is passed on as it is and changes no profile.
func TestAReceiptOfOursIsPassedOnAsItIs(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(track("e1", 0, user("u")))
	u := m.made(user("u"))
	r := &dispatchv1.Receipt{
		Tenant: tenant, Customer: u.GetId(), Proposal: "p1", Cause: "c",
		Report: &dispatchv1.Receipt_Call{Call: &dispatchv1.CallResult{Attempt: 1, Status: dispatchv1.Status_STATUS_ACCEPTED}},
	}
	data, err := r.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	e := happened("c", eventv1.Kind_KIND_RECEIPT, "receipt", 1, direct(u.GetId()))
	e.Receipt = data
	m.publish(e)
	if got := m.receipts(); len(got) != 1 || !got[0].EqualVT(r) {
		t.Errorf("receipts = %v, want %v", got, r)
	}
	if !m.made(user("u")).EqualVT(u) {
		t.Errorf("the profile is now %v", m.made(user("u")))
	}
	if out := m.fold.Gap(laneInput(t, e, stage.FromLane, ""), view{m: m}, stage.Env{}, "dl"); len(out.Cells) != 0 {
		t.Errorf("its gap is %v, want none", out)
	}
	for _, garbage := range [][]byte{nil, []byte("garbage")} {
		e.Receipt = garbage
		if err := m.lane(e, stage.FromLane, ""); err == nil {
			t.Errorf("%q was passed on", garbage)
		}
	}
}
