package profile

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
)

// Where a zone is known from, the weaker first.
const (
	// ZoneFromContext is what the device said.
	ZoneFromContext = "context"
	// ZoneFromTrait is what the customer or a system said explicitly.
	ZoneFromTrait = "trait"
)

// publish takes over the traits of an identify call.
func (d *draft) publish(e *eventv1.Event, now time.Time) {
	refused := false
	for _, p := range e.GetTraits() {
		if !d.publishOne(p, e) {
			refused = true
		}
	}
	if refused {
		d.line(now, "traits_refused", e.GetType(), e.GetId())
	}
}

// publishOne keeps one trait if it is the latest by event time; of two at the same time the one that was
// stored later counts. It returns false if there was no room. Computed traits cannot be published, and
// values that do not have the declared type and cannot be taken for it are quarantined. A null hides the trait, and so
// does an empty address.
func (d *draft) publishOne(p *eventv1.Property, e *eventv1.Event) bool {
	v := p.GetValue()
	if d.rules.isEndpoint(p.GetName()) && isEmpty(v) {
		v = nil
	}
	if rule, ok := d.rules.byName[p.GetName()]; ok && !event.IsNull(v) {
		want := rule.Type.String()
		if rule.Compute != Published {
			want = wantComputed
		} else {
			v = expr.Fit(v, rule.Type, d.rules.zone)
		}
		if want == wantComputed || v == nil {
			d.quarantine(traitsPrefix+p.GetName(), want, p.GetValue(), e)
			return true
		}
	}
	old := trait(d.leaf.GetTraits(), p.GetName())
	if old != nil && e.GetAt().AsTime().Before(old.GetObservedAt().AsTime()) {
		return true
	}
	return d.put(&profilev1.Trait{Name: p.GetName(), Value: v, ObservedAt: e.GetAt(), Source: e.GetId(), ClaimedAt: e.GetClaimedAt()})
}

// compute advances the traits that are computed from events of e's type.
func (d *draft) compute(e *eventv1.Event) error {
	for _, rule := range d.rules.rulesFor(e) {
		old := trait(d.leaf.GetTraits(), rule.Name)
		next, misfit, err := rule.step(old, e)
		if err != nil {
			return err
		}
		if misfit != nil {
			d.quarantine(traitsPrefix+rule.Name, rule.Type.String(), misfit, e)
		}
		if next == old {
			continue
		}
		if next.GetOutOfRange() && !old.GetOutOfRange() {
			d.remark(&reasonv1.Reason{
				Code: reasonv1.Code_CODE_OUT_OF_RANGE, Rule: "Trait/" + rule.Name, Evidence: []string{traitsPrefix + rule.Name + " stands at its bound"},
				Remedy: "sum smaller values, or declare another trait",
			})
		}
		d.put(next)
	}
	return nil
}

// put stores a trait in its place by name, unless there is no room for it.
func (d *draft) put(t *profilev1.Trait) bool {
	list := d.leaf.GetTraits()
	i, found := slices.BinarySearchFunc(list, t.GetName(), byName)
	room := MaxTraitBytes - t.SizeVT()
	for n, other := range list {
		if !found || n != i {
			room -= other.SizeVT()
		}
	}
	if room < 0 || !found && len(list) >= MaxTraits {
		return false
	}
	if d.rules.address[t.GetName()] && (!found && textOf(t) != "" || found && textOf(list[i]) != textOf(t)) {
		d.basis = true
	}
	if found {
		list[i] = t
	} else {
		d.leaf.Traits = slices.Insert(list, i, t)
	}
	return true
}

func trait(list []*profilev1.Trait, name string) *profilev1.Trait {
	if i, ok := slices.BinarySearchFunc(list, name, byName); ok {
		return list[i]
	}
	return nil
}

func byName(t *profilev1.Trait, name string) int { return strings.Compare(t.GetName(), name) }

// endpoints learns where the customer is reached: at what the event names and the profile has claimed. An address
// that it may not even claim is nobody's to use.
func (d *draft) endpoints(e *eventv1.Event) {
	for _, id := range d.named(e) {
		if k, ok := d.rules.kinds.Kind(id.GetKind()); ok && k.Class == event.ClassEndpoint && k.Channel != "" && d.has(id) {
			d.endpoint(k.Channel, id, e)
		}
	}
}

// takenAway ends the addresses that an identify says to be none: null, or an empty text. The identity stays, so that what
// is said under the address goes on to be heard.
func (d *draft) takenAway(e *eventv1.Event) {
	if e.GetKind() != eventv1.Kind_KIND_IDENTIFY {
		return
	}
	for _, k := range d.rules.endpoint {
		i := slices.IndexFunc(e.GetTraits(), func(p *eventv1.Property) bool { return p.GetName() == k.Name })
		if i >= 0 && isEmpty(event.Property(e.GetTraits(), k.Name)) {
			d.unnamed(k.Name)
			d.usable(k.Name)
			d.endpoint(k.Channel, nil, e)
		}
	}
}

// isEmpty says whether a value takes an address away.
func isEmpty(v *eventv1.Value) bool {
	text, ok := v.GetKind().(*eventv1.Value_Text)
	return event.IsNull(v) || ok && strings.TrimSpace(text.Text) == ""
}

// named are the identifiers of an event, and behind them the addresses among the traits of an identify, unless one is
// stronger than the identifier that speaks: profiles without a person claim from the stronger to the weaker only, so
// that they never close each other in a ring.
func (d *draft) named(e *eventv1.Event) []*eventv1.Identifier {
	all := e.GetIdentifiers()
	if e.GetKind() != eventv1.Kind_KIND_IDENTIFY {
		return all
	}
	for _, k := range d.rules.endpoint {
		given := event.IdentifierText(event.Property(e.GetTraits(), k.Name))
		id, err := d.rules.kinds.Identifier(k.Name, given)
		if given == "" || err != nil {
			continue
		}
		first := all[0]
		if d.rules.class(first.GetKind()) != event.ClassPerson && !sameIdentifier(d.rules.kinds.Order([]*eventv1.Identifier{first, id})[0], first) {
			continue
		}
		if !slices.ContainsFunc(all, func(known *eventv1.Identifier) bool { return sameIdentifier(known, id) }) {
			all = append(slices.Clip(all), id)
		}
	}
	return all
}

// unreach forgets an address that turned out to be another customer's.
func (d *draft) unreach(address string) {
	before := len(d.leaf.GetEndpoints())
	d.leaf.Endpoints = slices.DeleteFunc(d.leaf.GetEndpoints(), func(ep *profilev1.Endpoint) bool {
		return ep.GetAddress() == address && ep.GetDoNotContact() == nil
	})
	d.basis = d.basis || len(d.leaf.GetEndpoints()) != before
}

// endpoint notes that the customer was reached at an address by an event; with none that there is no address any more,
// which is kept like one. Of the addresses of a channel the one heard of last is kept, and all that may never be used
// again.
func (d *draft) endpoint(channel string, id *eventv1.Identifier, e *eventv1.Event) {
	before := current(d.leaf.GetEndpoints(), channel).CloneVT()
	known := false
	for _, ep := range d.leaf.GetEndpoints() {
		if ep.GetChannel() != channel || ep.GetAddress() != id.GetValue() {
			continue
		}
		if known = true; !e.GetAt().AsTime().Before(ep.GetSince().AsTime()) {
			ep.Since, ep.ClaimedAt, ep.Written = e.GetAt(), e.GetClaimedAt(), id.GetWritten()
		}
	}
	if !known {
		d.leaf.Endpoints = append(d.leaf.GetEndpoints(), &profilev1.Endpoint{
			Channel: channel, Address: id.GetValue(), Written: id.GetWritten(), Since: e.GetAt(), ClaimedAt: e.GetClaimedAt(),
		})
	}
	slices.SortFunc(d.leaf.GetEndpoints(), compareEndpoints)
	after := current(d.leaf.GetEndpoints(), channel)
	d.forget(channel, after)
	if before.GetAddress() != after.GetAddress() || before.GetWritten() != after.GetWritten() {
		d.basis = true
	}
}

// forget drops the addresses of a channel that are neither current nor blocked, and the oldest blocked
// ones that are too many.
func (d *draft) forget(channel string, now *profilev1.Endpoint) {
	n := 0
	d.leaf.Endpoints = slices.DeleteFunc(d.leaf.GetEndpoints(), func(ep *profilev1.Endpoint) bool {
		if ep.GetChannel() != channel {
			return false
		}
		n++
		return ep != now && (ep.GetDoNotContact() == nil || n > maxAddresses)
	})
}

// compareEndpoints orders by channel, within it what was heard of last first.
func compareEndpoints(a, b *profilev1.Endpoint) int {
	if c := strings.Compare(a.GetChannel(), b.GetChannel()); c != 0 {
		return c
	}
	if c := b.GetSince().AsTime().Compare(a.GetSince().AsTime()); c != 0 {
		return c
	}
	return strings.Compare(a.GetAddress(), b.GetAddress())
}

// current is the endpoint of a channel in use; the list is sorted.
func current(list []*profilev1.Endpoint, channel string) *profilev1.Endpoint {
	for _, ep := range list {
		if ep.GetChannel() == channel {
			return ep
		}
	}
	return nil
}

// doNotContact closes the endpoint in use on a channel. With before set, only one known by then.
func (d *draft) doNotContact(channel string, code reasonv1.Code, before *timestamppb.Timestamp) {
	ep := current(d.leaf.GetEndpoints(), channel)
	if ep.GetAddress() == "" || before != nil && ep.GetSince().AsTime().After(before.AsTime()) {
		return
	}
	if ep.GetDoNotContact().GetCode() == reasonv1.Code_CODE_SUPPRESSED_COMPLAINT || ep.GetDoNotContact().GetCode() == code {
		return
	}
	ep.DoNotContact, d.basis = &reasonv1.Reason{Code: code, Remedy: "ask the customer for another address"}, true
}

// zone learns the time zone. What was said explicitly beats what a device says; else the latest counts.
func (d *draft) zone(e *eventv1.Event) {
	d.observeZone(e.GetContext().GetTimeZone(), ZoneFromContext, e)
	if e.GetKind() != eventv1.Kind_KIND_IDENTIFY {
		return
	}
	for _, name := range []string{"timezone", "time_zone"} {
		d.observeZone(event.TextOf(e.GetTraits(), name), ZoneFromTrait, e)
	}
}

func (d *draft) observeZone(name, provenance string, e *eventv1.Event) {
	old := d.leaf.GetZone()
	if name == "" || name != old.GetName() && !IsZone(name) {
		return
	}
	next := &profilev1.Zone{Name: name, Provenance: provenance, ObservedAt: e.GetAt(), ClaimedAt: e.GetClaimedAt()}
	if old != nil && !strongerZone(next, old) {
		return
	}
	d.leaf.Zone = next
	if old.GetName() != name {
		d.basis = true
	}
}

// strongerZone says whether a counts before b.
func strongerZone(a, b *profilev1.Zone) bool {
	if a.GetProvenance() != b.GetProvenance() {
		return a.GetProvenance() == ZoneFromTrait
	}
	return !a.GetObservedAt().AsTime().Before(b.GetObservedAt().AsTime())
}

// IsZone says whether name is a zone of the IANA database, such as Asia/Tokyo.
func IsZone(name string) bool {
	if name == "" || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}
