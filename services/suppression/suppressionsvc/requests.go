package suppressionsvc

import (
	"cmp"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/fault"
)

// This file is the half of the fold that answers callers. A request's effect is known by the caller's id, so a
// repeat finds it done; an id whose room was freed is as good as new.

// request is what the engine hands to the fold.
type request interface{ isRequest() }

type (
	reserveRequest struct {
		id      string
		contact *contactv1.Contact
	}
	commitRequest  struct{ id string }
	releaseRequest struct{ id string }
)

func (reserveRequest) isRequest() {}
func (commitRequest) isRequest()  {}
func (releaseRequest) isRequest() {}

func (t *turn) asked(body any) (any, error) {
	r, ok := body.(request)
	if !ok {
		return nil, fault.New(fault.Internal, "read request: unknown request %T", body)
	}
	switch r := r.(type) {
	case reserveRequest:
		return t.reserve(r)
	case commitRequest:
		return t.commit(r.id)
	case releaseRequest:
		return t.release(r.id)
	}
	panic("suppression: no such request")
}

// reserve takes room for a contact that the caller makes itself.
func (t *turn) reserve(r reserveRequest) (*contactv1.ReserveResponse, error) {
	if err := t.foreign(r.id); err != nil {
		return nil, err
	}
	if e := contact.Find(t.state, r.id); e != nil {
		return &contactv1.ReserveResponse{Kind: contactv1.VerdictKind_VERDICT_KIND_APPROVED, LeaseUntil: e.GetLeaseUntil()}, nil
	}
	c := t.defs.wanted(r.contact, r.id)
	v := contact.Check(t.state, c, t.defs.Policies, t.checkEnv(), contact.Fast)
	ref := c.Treatments[0]
	if v.Kind != contactv1.VerdictKind_VERDICT_KIND_APPROVED {
		t.note(&profilev1.TimelineEntry{What: "contact_refused", Subject: c.Action, Channel: ref.Channel, Reasons: v.Reasons, Id: r.id})
		return &contactv1.ReserveResponse{Kind: v.Kind, Reasons: v.Reasons}, nil
	}
	lease := t.env.Now.Add(t.fold.lease)
	entry := &contactv1.LedgerEntry{
		Id: r.id, At: timestamppb.New(t.env.Now), State: contactv1.EntryState_ENTRY_STATE_RESERVED, Channel: ref.Channel, Action: c.Action,
		Purpose: c.Purpose, Topic: ref.Topic, Counts: c.Counts, LeaseUntil: timestamppb.New(lease), Zone: contact.Zone(t.state),
	}
	t.state = contact.Trim(contact.Reserve(t.state, entry), t.defs.Policies, t.env.Now)
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_ReservationMade{ReservationMade: &contactv1.ReservationMade{Entry: entry}}})
	t.note(&profilev1.TimelineEntry{What: "contact_reserved", Subject: c.Action, Channel: ref.Channel, Id: r.id})
	return &contactv1.ReserveResponse{Kind: v.Kind, Reasons: v.Reasons, LeaseUntil: entry.GetLeaseUntil()}, nil
}

func (t *turn) commit(id string) (*contactv1.CommitResponse, error) {
	if err := t.foreign(id); err != nil {
		return nil, err
	}
	e := contact.Find(t.state, id)
	if e == nil {
		return nil, fault.New(fault.NotFound, "commit %s: there is no such reservation; it was released, or its lease is over", id)
	}
	if e.GetState() == contactv1.EntryState_ENTRY_STATE_RESERVED {
		t.at = t.env.Now
		t.use(id, contact.Commit, false)
		t.note(&profilev1.TimelineEntry{What: "contact_sent", Subject: e.GetAction(), Channel: e.GetChannel(), Id: id})
	}
	return &contactv1.CommitResponse{}, nil
}

func (t *turn) release(id string) (*contactv1.ReleaseResponse, error) {
	if err := t.foreign(id); err != nil {
		return nil, err
	}
	e := contact.Find(t.state, id)
	if e != nil && e.GetState() != contactv1.EntryState_ENTRY_STATE_RESERVED {
		return nil, fault.New(fault.Conflict, "release %s: the contact was made", id)
	}
	if e != nil {
		t.free(id, []*reasonv1.Reason{{Code: reasonv1.Code_CODE_WITHDRAWN, Revision: t.env.Revision}})
		t.note(&profilev1.TimelineEntry{What: "contact_released", Subject: e.GetAction(), Channel: e.GetChannel(), Id: id})
	}
	return &contactv1.ReleaseResponse{}, nil
}

// foreign refuses the id of a proposal that is under way: dispatch settles it, not a caller.
func (t *turn) foreign(id string) error {
	if contact.Pending(t.state, id) != nil {
		return fault.New(fault.Conflict, "use %s: it is the id of a proposal", id)
	}
	return nil
}

// wanted describes a caller's contact to the check. The action may be one that is not in the catalog.
func (d *Definitions) wanted(w *contactv1.Contact, id string) contact.Contact {
	c := contact.Contact{ID: id, Action: w.GetAction(), Purpose: w.GetPurpose()}
	t := contact.Treatment{Channel: w.GetChannel(), Topic: w.GetTopic(), Reach: d.reach(w.GetChannel())}
	if a := d.Actions[w.GetAction()]; a != nil {
		c.Purpose = cmp.Or(c.Purpose, a.Purpose)
		for _, known := range a.Treatments {
			if known.GetChannel() == t.Channel {
				t.ID, t.Topic, t.To = known.GetId(), cmp.Or(t.Topic, known.GetTopic()), known.GetTo()
				break
			}
		}
	}
	c.Purpose = cmp.Or(c.Purpose, "marketing")
	c.Obeys, c.Counts = d.flags(c.Action, c.Purpose)
	c.Counts = c.Counts && t.ToCustomer()
	c.Treatments = []contact.Treatment{t}
	return c
}
