package ingestsvc

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
)

// prepare makes an item ready to be stored: what kind it is, whom it is about, whether it is acceptable.
// now is only for tokens' expiry.
func (d *door) prepare(tenant string, it *item, now time.Time) {
	if it.event == nil {
		if len(it.problems) == 0 {
			it.problem("", "is empty")
		}
		return
	}
	e := it.event
	if e.GetTenant() != "" && e.GetTenant() != tenant {
		it.problem("tenant", "is not the one that the credentials belong to")
		return
	}
	e.Tenant = tenant
	d.recognise(it)
	if e.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN {
		it.problems = append(it.problems, it.untimed...) // when a permission was given decides whether it counts
	}
	it.remarks = append(it.remarks, event.Mend(e)...)
	if e.GetOutcome() != nil || it.partition != nil {
		d.address(it, now)
	} else {
		d.normalise(it)
	}
	d.name(it)
	it.validate()
	if len(it.raw) > maxEvent {
		it.problem("", "has "+strconv.Itoa(len(it.raw))+" bytes, more than "+strconv.Itoa(maxEvent))
	}
	if len(it.problems) == 0 {
		e.Remarks = remarksOf(it.remarks)
		d.place(it)
	}
}

// times reads when an item happened and when it was sent, both by the publisher's clock; times without a zone are in the
// tenant's. What cannot be read is set aside.
func (d *door) times(tenant string, it *item) {
	if it.event == nil {
		return
	}
	zone := d.kinds.Zone(tenant)
	for _, s := range it.happened {
		if !s.said() {
			continue
		}
		at, ok := it.time(s, zone)
		if ok {
			it.event.At, it.untimed = timestamppb.New(at), nil
			break
		}
		it.untimed = append(it.untimed, event.Problem{Field: s.field, Why: event.ErrNotATime.Error()})
	}
	if it.sent.said() {
		it.sentAt, _ = it.time(it.sent, zone)
	}
}

func (it *item) time(s stated, zone *time.Location) (time.Time, bool) {
	at, err := s.read(zone)
	if err != nil {
		it.aside(s.field, err.Error())
		return time.Time{}, false
	}
	if at.Assumed {
		it.remarks = append(it.remarks, event.AssumedZone(s.field, zone))
	}
	return at.At, true
}

// mostRemarks is how many remarks an event carries; the last one counts those beyond.
const mostRemarks = 10

func remarksOf(list []event.Problem) []*eventv1.Remark {
	var out []*eventv1.Remark
	for i, p := range list {
		if i == mostRemarks-1 && len(list) > mostRemarks {
			return append(out, &eventv1.Remark{Why: "and " + strconv.Itoa(len(list)-i) + " more"})
		}
		out = append(out, &eventv1.Remark{Field: shortened(p.Field), Why: shortened(p.Why)})
	}
	return out
}

// recognise turns reserved types into their kinds.
func (d *door) recognise(it *item) {
	e := it.event
	if e.GetKind() != eventv1.Kind_KIND_TRACK {
		return
	}
	if consent, problems, remarks := event.ConsentOf(e.GetType(), e.GetProperties(), d.kinds.Zone(e.GetTenant())); consent != nil {
		e.Kind, e.Consent = eventv1.Kind_KIND_CONSENT, consent
		it.problems = append(it.problems, problems...)
		it.remarks = append(it.remarks, remarks...)
		return
	}
	it.outcome()
}

// outcome makes an outcome of a track call that is named like one and carries a token. Without a token it is a plain event.
func (it *item) outcome() {
	e := it.event
	token := event.TextOf(e.GetProperties(), "token")
	if token == "" || !event.IsOutcome(e.GetType()) {
		return
	}
	kind := event.OutcomeKindOf(e.GetType())
	if kind == eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED {
		it.remark("event", e.GetType()+" is for a provider to report, at /v1/receipts; here it is a plain event")
		e.Properties = without(e.GetProperties(), "token")
		return
	}
	value, odd := event.NumberOf(event.Property(e.GetProperties(), "value"))
	if odd != "" {
		it.remark("properties.value", odd)
	}
	reason := event.Property(e.GetProperties(), "reason")
	text := event.IdentifierText(reason)
	if _, isText := reason.GetKind().(*eventv1.Value_Text); text == "" && !isText && !event.IsNull(reason) {
		it.aside("properties.reason", "is neither a text nor a number")
	}
	e.Kind = eventv1.Kind_KIND_OUTCOME
	e.Outcome = &eventv1.Outcome{Kind: kind, Token: token, Reason: text, Value: value, Machine: signalsIn(e.GetProperties()).Verdict()}
	e.Properties = without(e.GetProperties(), append(signalNames(), "token")...)
}

func without(list []*eventv1.Property, names ...string) []*eventv1.Property {
	var out []*eventv1.Property
	for _, p := range list {
		if !slices.Contains(names, p.GetName()) {
			out = append(out, p)
		}
	}
	return out
}

// address verifies an outcome's token and addresses the event to the profile in it.
func (d *door) address(it *item, now time.Time) {
	if it.partition != nil { // the entrance has verified the token already
		return
	}
	o := it.event.GetOutcome()
	token, why := d.verify(o.GetToken(), it.event.GetTenant(), now)
	if why != "" {
		it.problem("token", why)
		return
	}
	o.SubjectId = cmp.Or(token.GetProposal(), token.GetDecision())
	o.Action, o.Treatment, o.Channel = token.GetAction(), token.GetTreatment(), token.GetChannel()
	o.Journey, o.Step, o.Placement = token.GetJourney(), token.GetStep(), token.GetPlacement()
	it.about(token)
}

// about addresses an item to the profile in a verified token.
func (it *item) about(token *decisionv1.Token) {
	home := int(token.GetPartition())
	it.partition = &home
	it.event.Identifiers = []*eventv1.Identifier{{Kind: event.KindProfile, Value: hex.EncodeToString(token.GetCustomer())}}
}

// verify decodes a token of a tenant ("" for any); why is empty if it is good.
func (d *door) verify(text, tenant string, now time.Time) (token *decisionv1.Token, why string) {
	token, err := d.hasher.Verify(text, now)
	switch {
	case err != nil:
		return nil, strings.TrimPrefix(err.Error(), identity.ErrToken.Error()+": ")
	case token.GetGeneration() != d.generation.Number:
		return nil, "belongs to another generation of the mesh"
	case tenant != "" && token.GetTenant() != tenant:
		return nil, "belongs to another tenant"
	case int(token.GetPartition()) >= d.generation.Partitions:
		return nil, "names a partition that there is not"
	}
	return token, ""
}

// normalise puts identifiers into their stored form. Those that cannot be read or identify nobody are set aside, unless
// no other remains.
func (d *door) normalise(it *item) {
	e, set := it.event, d.kinds.Kinds(it.event.GetTenant())
	e.Previous = nil
	kept := make([]*eventv1.Identifier, 0, len(e.GetIdentifiers()))
	for i, id := range e.GetIdentifiers() {
		normal, err := set.Identifier(id.GetKind(), id.GetValue())
		if err != nil {
			it.unusable = append(it.unusable, event.Problem{Field: it.field(i), Why: err.Error()})
			continue
		}
		kept = append(kept, normal)
		if it.field(i) == fieldPrevious {
			e.Previous = normal
		}
	}
	if len(kept) == 0 {
		it.problems = append(it.problems, it.unusable...)
	} else {
		for _, p := range it.unusable {
			it.aside(p.Field, p.Why)
		}
	}
	e.Identifiers = it.strongest(set.Order(kept))
	if e.GetAccount() == nil {
		return
	}
	account, err := set.Identifier(e.GetAccount().GetKind(), e.GetAccount().GetValue())
	switch {
	case err != nil && e.GetKind() == eventv1.Kind_KIND_GROUP:
		it.problem("account", err.Error())
	case err != nil:
		it.aside("account", err.Error())
		e.Account = nil
	default:
		e.Account = account
	}
}

// strongest keeps as many identifiers as an event may have, the strongest, and the one that an alias is about.
func (it *item) strongest(ids []*eventv1.Identifier) []*eventv1.Identifier {
	over := len(ids) - event.MaxIdentifiers
	if over <= 0 {
		return ids
	}
	it.remark("identifiers", fmt.Sprintf("are %d, more than %d; the %d weakest were set aside", len(ids), event.MaxIdentifiers, over))
	kept, rest := slices.Clone(ids[:event.MaxIdentifiers]), ids[event.MaxIdentifiers:]
	if previous := it.event.GetPrevious(); previous != nil && slices.Contains(rest, previous) {
		kept[len(kept)-1] = previous
	}
	return kept
}

// name gives an item an id if the publisher gave none: from its content if that says when it happened,
// so that a retry has the same id; else by its arrival too (see stamp).
func (d *door) name(it *item) {
	if it.event.GetId() != "" {
		return
	}
	it.madeID = true
	if it.event.GetAt() != nil {
		it.event.Id = identity.Derive("event", it.event.GetTenant(), string(it.raw))
	}
}

// validate adds what is wrong with the event. What the door fills in at its arrival may be missing.
func (it *item) validate() {
	for _, p := range event.Validate(it.event) {
		filled := (p.Field == "at" && it.event.GetAt() == nil) || (p.Field == "id" && it.madeID)
		known := (p.Field == "identifiers" || p.Field == "account") && len(it.problems) > 0
		if !filled && !known {
			it.problems = append(it.problems, p)
		}
	}
}

// place says where an item goes: to the home of its strongest identifier, or of its token, in the lane of
// its kind.
func (d *door) place(it *item) {
	it.customer = d.hasher.ID(it.event.GetTenant(), it.event.GetIdentifiers()[0])
	it.to = address{event.LaneAsked(it.event, it.lane), d.hasher.Partition(it.customer)}
	if it.partition != nil {
		it.to.partition = *it.partition
	}
}
