package suppressionsvc

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/definition"
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
	if e == nil && (t.state.GetHandedOver() != nil || !contact.Complete(t.state)) {
		return nil, fault.New(fault.Unavailable, "commit %s: the contacts of a linked profile are on their way; ask again", id)
	}
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
	if e == nil && (t.state.GetHandedOver() != nil || !contact.Complete(t.state)) {
		return nil, fault.New(fault.Unavailable, "release %s: the contacts of a linked profile are on their way; ask again", id)
	}
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

// wanted describes a caller's contact to the check: with the treatments of the action on the channel, on any channel
// if none is named, or with one of the caller's own if the catalog has none.
func (d *Definitions) wanted(w *contactv1.Contact, id string) contact.Contact {
	c := contact.Contact{ID: id, Action: w.GetAction(), Purpose: w.GetPurpose()}
	if a := d.Actions[w.GetAction()]; a != nil {
		c.Purpose = cmp.Or(c.Purpose, a.Purpose)
		for _, known := range a.Treatments {
			if w.GetChannel() == "" || known.GetChannel() == w.GetChannel() {
				c.Treatments = append(c.Treatments, contact.Treatment{
					ID: known.GetId(), Channel: known.GetChannel(), Topic: cmp.Or(w.GetTopic(), known.GetTopic()), To: known.GetTo(),
					Reach: d.reach(known.GetChannel()),
				})
			}
		}
	}
	if len(c.Treatments) == 0 {
		c.Treatments = []contact.Treatment{{Channel: w.GetChannel(), Topic: w.GetTopic(), Reach: d.reach(w.GetChannel())}}
	}
	c.Purpose = cmp.Or(c.Purpose, decide.PurposeMarketing)
	c.Obeys, c.Counts = d.flags(c.Action, c.Purpose)
	c.Counts = c.Counts && c.Treatments[0].ToCustomer()
	return c
}

// exists refuses a contact that names what the catalog does not have: a misspelt channel would be allowed for ever,
// because no statement and no cap is about it.
func (d *Definitions) exists(w *contactv1.Contact) error {
	if len(d.Channels) == 0 {
		return fault.New(fault.NotFound, "read contact: no catalog with channels is applied yet; run refrain apply")
	}
	if name := w.GetChannel(); name != "" && d.Channels[name] == nil {
		return unknown("channel", name, slices.Collect(maps.Keys(d.Channels)), "")
	}
	if name := w.GetTopic(); name != "" && d.Topics[name] == nil {
		return unknown("topic", name, slices.Collect(maps.Keys(d.Topics)), "")
	}
	a := d.Actions[w.GetAction()]
	if a == nil {
		return d.ownAction(w)
	}
	if w.GetChannel() == "" {
		return nil
	}
	var channels []string
	for _, t := range a.Treatments {
		if t.GetChannel() == w.GetChannel() {
			return nil
		}
		channels = append(channels, t.GetChannel())
	}
	return fault.New(fault.Invalid, "read contact: action %s has no treatment on channel %s; it has %s", a.Name, w.GetChannel(), strings.Join(channels, ", "))
}

// ownAction refuses an action that is not in the catalog unless the caller says what it is for and how it is sent.
func (d *Definitions) ownAction(w *contactv1.Contact) error {
	switch {
	case w.GetPurpose() == "":
		return unknown("action", w.GetAction(), slices.Collect(maps.Keys(d.Actions)), "; an action of your own needs a purpose")
	case w.GetChannel() == "":
		return fault.New(fault.Invalid, "read contact: action %s is your own, so name the channel", w.GetAction())
	}
	return nil
}

// unknown is the refusal of a name, with the nearest that there is.
func unknown(kind, name string, known []string, remedy string) error {
	if near := definition.Nearest(name, known); near != "" {
		remedy = "; did you mean " + near + "?" + remedy
	}
	return fault.New(fault.Invalid, "read contact: the catalog has no %s %q%s", kind, name, remedy)
}
