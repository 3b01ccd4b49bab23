package suppressionsvc

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/contact"
)

// This file is the half of the fold that speaks of proposals: from verdict to resolution.

// basis keeps what contact depends on. A redriven basis is older than any that came since, so it counts
// only while contact is closed by a gap.
func (t *turn) basis(b *decisionv1.ContactBasis, redriven bool) {
	if redriven && t.state.GetBasis().GetClosed().GetCode() != reasonv1.Code_CODE_GAP || b.EqualVT(t.state.GetBasis()) {
		return
	}
	t.state = t.state.CloneVT()
	t.state.Basis = b.CloneVT()
	t.handOver()
	t.goOn()
}

// close shuts contact with the customer, unless it is shut already.
func (t *turn) close(why *reasonv1.Reason) {
	if t.state.GetBasis().GetClosed() != nil {
		return
	}
	t.state = t.state.CloneVT()
	if t.state.GetBasis() == nil {
		t.state.Basis = &decisionv1.ContactBasis{}
	}
	t.state.Basis.Closed = why
}

// knows says whether a proposal was judged before and may be, or was, sent.
func (t *turn) knows(proposal string) bool {
	return contact.Pending(t.state, proposal) != nil || contact.Find(t.state, proposal) != nil
}

// proposed judges a chosen proposal. One that comes out of the dead letters comes too late: it was or is
// resolved as suppressed, never sent.
func (t *turn) proposed(d *decisionv1.DispatchTreatment, redriven bool) {
	if redriven {
		t.lose(d, &reasonv1.Reason{Code: reasonv1.Code_CODE_GAP, Revision: t.env.Revision, Remedy: "the input was given up; start again"})
		return
	}
	if t.knows(d.GetProposal().GetId()) {
		return
	}
	t.judge(&contactv1.Pending{Request: d, Since: timestamppb.New(t.env.Now)})
}

// judge gives the verdict on a proposal that is not, or not any more, pending.
func (t *turn) judge(p *contactv1.Pending) {
	d := p.GetRequest()
	c := t.contact(d)
	if p.GetDeferUntil() != nil {
		c.DeferUntil = p.GetDeferUntil().AsTime()
	}
	if waits(p) {
		c.SettleUntil = p.GetUntil().AsTime()
	}
	v := contact.Check(t.state, c, t.defs.Policies, t.checkEnv(), contact.Fast)
	switch v.Kind {
	case contactv1.VerdictKind_VERDICT_KIND_APPROVED:
		t.approve(p, c, v)
	case contactv1.VerdictKind_VERDICT_KIND_DEFERRED:
		t.postpone(p, v)
	case contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, contactv1.VerdictKind_VERDICT_KIND_PENDING, contactv1.VerdictKind_VERDICT_KIND_UNSPECIFIED:
		t.suppress(d, v.Reasons)
	}
}

func (t *turn) checkEnv() contact.Env {
	return contact.Env{Now: t.env.Now, DefaultZone: t.defs.DefaultZone, Revision: t.env.Revision, Zones: t.fold.zones}
}

// contact describes a proposal to the check.
func (t *turn) contact(d *decisionv1.DispatchTreatment) contact.Contact {
	p := d.GetProposal()
	c := contact.Contact{ID: p.GetId(), Action: p.GetAction(), Purpose: p.GetPurpose()}
	c.Obeys, c.Counts = t.defs.flags(p.GetAction(), p.GetPurpose())
	for _, ref := range d.GetTreatments() {
		c.Treatments = append(c.Treatments, contact.Treatment{
			ID: ref.GetId(), Channel: ref.GetChannel(), Topic: ref.GetTopic(), To: ref.GetTo(),
			Reach: t.defs.reach(ref.GetChannel()),
		})
	}
	return c
}

// reach says where a channel reaches people.
func (d *Definitions) reach(channel string) contact.Reach {
	return contact.ReachOf(d.Channels[channel], d.Kinds)
}

// flags says whether contacts of an action obey caps and count toward them; for one that is not in the
// catalog its purpose decides.
func (d *Definitions) flags(action, purpose string) (obeys, counts bool) {
	if a := d.Actions[action]; a != nil {
		return a.ObeysCaps, a.CountsTowardCaps
	}
	marketing := purpose == "" || purpose == "marketing"
	return marketing, marketing
}

// approve reserves room under the proposal's id and tells dispatch.
func (t *turn) approve(p *contactv1.Pending, c contact.Contact, v contact.Verdict) {
	d, ref := p.GetRequest(), v.Treatment
	slim := d.CloneVT() // dispatch has the context from the verdict; the row stays small
	slim.GetProposal().Context = nil
	t.keep(&contactv1.Pending{Request: slim, Status: contactv1.PendingStatus_PENDING_STATUS_APPROVED, Since: p.GetSince(), Treatment: ref.ID})
	t.state = contact.Reserve(t.state, &contactv1.LedgerEntry{
		Id: c.ID, At: timestamppb.New(t.env.Now), Channel: ref.Channel, Action: c.Action, Purpose: c.Purpose, Topic: ref.Topic,
		Counts: c.Counts && ref.ToCustomer(), LeaseUntil: timestamppb.New(v.NotAfter), Zone: contact.Zone(t.state),
	})
	t.state = contact.Trim(t.state, t.defs.Policies, t.env.Now)
	t.verdict(&contactv1.VerdictGiven{
		Kind: v.Kind, Request: d, Reasons: v.Reasons, NotAfter: timestamppb.New(v.NotAfter),
		Treatment: &decisionv1.TreatmentRef{Id: ref.ID, Channel: ref.Channel, To: ref.To, Topic: ref.Topic, Address: t.address(ref)},
	})
	t.tell("contact_approved", d, ref.Channel, v.Reasons)
}

// address is the customer's address that a treatment is approved for; empty if it needs none.
func (t *turn) address(ref contact.Treatment) string {
	if !ref.ToCustomer() {
		return ""
	}
	return contact.Address(t.state.GetBasis(), ref.Reach).GetAddress()
}

// postpone keeps the proposal until it is checked again.
func (t *turn) postpone(p *contactv1.Pending, v contact.Verdict) {
	d := p.GetRequest()
	kept := &contactv1.Pending{
		Request: d, Status: contactv1.PendingStatus_PENDING_STATUS_DEFERRED, Since: p.GetSince(),
		Until: timestamppb.New(v.Until), Reasons: v.Reasons,
	}
	if !v.DeferUntil.IsZero() {
		kept.DeferUntil = timestamppb.New(v.DeferUntil)
	}
	t.keep(kept)
	t.verdict(&contactv1.VerdictGiven{Kind: v.Kind, Request: d, Reasons: v.Reasons, Until: timestamppb.New(v.Until)})
	t.tell("contact_deferred", d, channelOf(d), v.Reasons)
}

// suppress ends the proposal with a no.
func (t *turn) suppress(d *decisionv1.DispatchTreatment, reasons []*reasonv1.Reason) {
	t.forget(d.GetProposal().GetId())
	t.verdict(&contactv1.VerdictGiven{Kind: contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, Request: d, Reasons: reasons})
	t.resolve(d, decisionv1.Resolution_RESOLUTION_SUPPRESSED, channelOf(d), reasons)
	t.tell("contact_suppressed", d, channelOf(d), reasons)
}

// lostSet names the set of the proposals that ended because the input that brought them was given up, under a dead
// letter: they are not to end again when it comes back. It does so once, and the set ends then; so there are as many sets as
// gaps are open.
func lostSet(letter string) string { return "lost/" + letter }

// lose ends a proposal whose input was given up, once.
func (t *turn) lose(d *decisionv1.DispatchTreatment, why *reasonv1.Reason) {
	id := d.GetProposal().GetId()
	ended := t.rows.Has(lostSet(t.back), id)
	if t.knows(id) && !ended {
		return
	}
	if !ended {
		t.suppress(d, []*reasonv1.Reason{why})
	}
	if t.away != "" {
		t.lost = append(t.lost, id)
	}
	t.found = t.found || ended
}

// withdraw takes a proposal back: at once if it is deferred; through dispatch if it is approved, whose
// answer counts. One that is not pending was resolved before, and decision will read so.
func (t *turn) withdraw(w *decisionv1.WithdrawProposal) {
	p := contact.Pending(t.state, w.GetProposal())
	switch p.GetStatus() {
	case contactv1.PendingStatus_PENDING_STATUS_DEFERRED:
		d, reasons := p.GetRequest(), []*reasonv1.Reason{withdrawn(w.GetReason())}
		t.forget(w.GetProposal())
		t.resolve(d, decisionv1.Resolution_RESOLUTION_WITHDRAWN, channelOf(d), reasons)
		t.tell("contact_withdrawn", d, channelOf(d), reasons)
	case contactv1.PendingStatus_PENDING_STATUS_APPROVED:
		t.fact(&contactv1.Fact{Fact: &contactv1.Fact_ApprovalWithdrawn{
			ApprovalWithdrawn: &contactv1.ApprovalWithdrawn{Proposal: w.GetProposal(), Reason: withdrawn(w.GetReason())},
		}})
	case contactv1.PendingStatus_PENDING_STATUS_UNSPECIFIED:
	}
}

func withdrawn(r *reasonv1.Reason) *reasonv1.Reason {
	if r == nil {
		return &reasonv1.Reason{Code: reasonv1.Code_CODE_WITHDRAWN}
	}
	return r
}

// reported takes what became of an approved proposal: it settles the room and resolves the proposal.
func (t *turn) reported(r *dispatchv1.DeliveryReported) {
	p := contact.Pending(t.state, r.GetProposal())
	resolution, reasons := decisionv1.Resolution_RESOLUTION_SUPPRESSED, r.GetReasons()
	switch r.GetStatus() {
	case dispatchv1.Status_STATUS_ACCEPTED:
		resolution = decisionv1.Resolution_RESOLUTION_SENT
		t.use(r.GetProposal(), contact.Commit, false)
	case dispatchv1.Status_STATUS_UNKNOWN:
		resolution = decisionv1.Resolution_RESOLUTION_UNKNOWN
		t.use(r.GetProposal(), contact.Doubt, true)
	case dispatchv1.Status_STATUS_REJECTED:
		if len(reasons) == 0 {
			reasons = []*reasonv1.Reason{{Code: reasonv1.Code_CODE_PROVIDER_REJECTED, Revision: t.env.Revision}}
		}
		t.free(r.GetProposal(), reasons)
	case dispatchv1.Status_STATUS_UNSENT:
		resolution = ending(reasons)
		t.free(r.GetProposal(), reasons)
	case dispatchv1.Status_STATUS_QUEUED, dispatchv1.Status_STATUS_INTENT, dispatchv1.Status_STATUS_UNSPECIFIED:
		return
	}
	if p == nil {
		return // resolved before; only the ledger learns more
	}
	t.forget(r.GetProposal())
	channel := cmp.Or(r.GetChannel(), channelOf(p.GetRequest()))
	t.resolve(p.GetRequest(), resolution, channel, reasons)
	t.tell("contact_"+outcomeName(resolution), p.GetRequest(), channel, reasons)
}

// ending is how a proposal that dispatch did not send ended, by its reasons.
func ending(reasons []*reasonv1.Reason) decisionv1.Resolution {
	has := func(codes ...reasonv1.Code) bool {
		return slices.ContainsFunc(reasons, func(r *reasonv1.Reason) bool { return slices.Contains(codes, r.GetCode()) })
	}
	switch {
	case has(reasonv1.Code_CODE_WITHDRAWN, reasonv1.Code_CODE_IDENTITY_LINKED):
		return decisionv1.Resolution_RESOLUTION_WITHDRAWN
	case has(reasonv1.Code_CODE_APPROVAL_EXPIRED):
		return decisionv1.Resolution_RESOLUTION_EXPIRED
	}
	return decisionv1.Resolution_RESOLUTION_SUPPRESSED
}

func outcomeName(r decisionv1.Resolution) string {
	switch r {
	case decisionv1.Resolution_RESOLUTION_SENT:
		return "sent"
	case decisionv1.Resolution_RESOLUTION_UNKNOWN:
		return "in_doubt"
	case decisionv1.Resolution_RESOLUTION_WITHDRAWN:
		return "withdrawn"
	case decisionv1.Resolution_RESOLUTION_EXPIRED:
		return "expired"
	case decisionv1.Resolution_RESOLUTION_SUPPRESSED, decisionv1.Resolution_RESOLUTION_SUPERSEDED, decisionv1.Resolution_RESOLUTION_UNSPECIFIED:
	}
	return "suppressed"
}

// use turns reserved room into a contact. Its time is the report's, if that can be: an input's own time may
// be that of a late event, long before the room was reserved.
func (t *turn) use(id string, settle func(*contactv1.State, string, time.Time) (*contactv1.State, bool), doubt bool) {
	at := t.env.Now
	if e := contact.Find(t.state, id); e != nil && !t.at.Before(e.GetAt().AsTime()) && t.at.Before(at) {
		at = t.at
	}
	next, ok := settle(t.state, id, at)
	if !ok || next == t.state {
		return
	}
	t.state = next
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_ReservationCommitted{
		ReservationCommitted: &contactv1.ReservationCommitted{Id: id, InDoubt: doubt},
	}})
	if e := contact.Find(t.state, id); e != nil {
		t.tellSettled(id, e.GetState(), e.GetAt().AsTime())
	}
}

// free gives reserved room back.
func (t *turn) free(id string, reasons []*reasonv1.Reason) {
	next, ok := contact.Release(t.state, id)
	if !ok {
		return
	}
	t.state = next
	released := &contactv1.ReservationReleased{Id: id}
	if len(reasons) > 0 {
		released.Reason = reasons[0]
	}
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_ReservationReleased{ReservationReleased: released}})
	t.tellSettled(id, contactv1.EntryState_ENTRY_STATE_UNSPECIFIED, time.Time{})
}

// due does what has become due: deferred proposals are checked again, in the order they came, and leases
// that are over end.
func (t *turn) due() {
	if t.before == nil {
		return
	}
	t.rearm = true
	for _, id := range contact.Expired(t.state, t.env.Now) {
		e := contact.Find(t.state, id)
		reasons := []*reasonv1.Reason{{Code: reasonv1.Code_CODE_APPROVAL_EXPIRED, Revision: t.env.Revision, Remedy: "commit within the lease"}}
		t.free(id, reasons)
		t.note(&profilev1.TimelineEntry{What: "contact_released", Subject: e.GetAction(), Channel: e.GetChannel(), Reasons: reasons, Id: id})
	}
	for _, p := range t.state.GetPending() {
		if p.GetStatus() == contactv1.PendingStatus_PENDING_STATUS_DEFERRED && !p.GetUntil().AsTime().After(t.env.Now) {
			t.judge(p)
		}
	}
}

// keep puts a pending contact into the row, in the place of an older one of the same proposal.
func (t *turn) keep(p *contactv1.Pending) {
	id := p.GetRequest().GetProposal().GetId()
	t.state = t.state.CloneVT()
	for i, old := range t.state.GetPending() {
		if old.GetRequest().GetProposal().GetId() == id {
			t.state.Pending[i] = p
			return
		}
	}
	t.state.Pending = append(t.state.Pending, p)
}

// forget drops a pending contact from the row.
func (t *turn) forget(id string) {
	if contact.Pending(t.state, id) == nil {
		return
	}
	t.state = t.state.CloneVT()
	t.state.Pending = slices.DeleteFunc(t.state.GetPending(), func(p *contactv1.Pending) bool {
		return p.GetRequest().GetProposal().GetId() == id
	})
}

func channelOf(d *decisionv1.DispatchTreatment) string {
	if len(d.GetTreatments()) == 0 {
		return ""
	}
	return d.GetTreatments()[0].GetChannel()
}

func (t *turn) fact(f *contactv1.Fact) { t.facts = append(t.facts, f) }

func (t *turn) verdict(v *contactv1.VerdictGiven) {
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_VerdictGiven{VerdictGiven: v}})
}

func (t *turn) resolve(d *decisionv1.DispatchTreatment, how decisionv1.Resolution, channel string, reasons []*reasonv1.Reason) {
	p := d.GetProposal()
	resolved := &decisionv1.ProposalResolved{
		Proposal: p.GetId(), Action: p.GetAction(), Resolution: how, Enrollment: p.GetCause().GetEnrollment(), Channel: channel,
	}
	if how != decisionv1.Resolution_RESOLUTION_SENT {
		resolved.Reasons = reasons
	}
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_ProposalResolved{ProposalResolved: resolved}})
}
