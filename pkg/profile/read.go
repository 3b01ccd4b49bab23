package profile

import (
	"fmt"
	"slices"
	"strings"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
)

// The functions of this file read a profile as one: its leaves merged. What they return may share
// messages with the profile; do not change it.

// Traits returns what is known, sorted by name: sums and counts of the leaves added up, of first values
// the earliest, of all others the latest. Traits that were hidden by a null are left out.
func Traits(p *profilev1.Profile) []*profilev1.Trait {
	var out []*profilev1.Trait
	for _, leaf := range p.GetLeaves() {
		for _, t := range leaf.GetTraits() {
			i, found := slices.BinarySearchFunc(out, t.GetName(), byName)
			if found {
				out[i] = mergeTrait(out[i], t)
				continue
			}
			out = slices.Insert(out, i, t)
		}
	}
	return slices.DeleteFunc(out, func(t *profilev1.Trait) bool { return event.IsNull(t.GetValue()) })
}

func mergeTrait(a, b *profilev1.Trait) *profilev1.Trait {
	newer, older := a, b
	if b.GetObservedAt().AsTime().After(a.GetObservedAt().AsTime()) {
		newer, older = b, a
	}
	if a.GetSource() != b.GetSource() || !strings.HasPrefix(a.GetSource(), traitSource) {
		return newer
	}
	switch a.GetSource()[strings.LastIndexByte(a.GetSource(), '.')+1:] {
	case string(Count), string(Sum):
		sum := newer.CloneVT()
		sum.Count = a.GetCount() + b.GetCount()
		sum.Value, sum.OutOfRange = sumOf(a, b)
		return sum
	case string(First):
		return older
	}
	return newer
}

// Consents returns the permissions, one per channel and topic, sorted; of several leaves the most
// restrictive. See consent.Evaluate for what they amount to.
func Consents(p *profilev1.Profile) []*profilev1.ConsentRecord {
	if len(p.GetLeaves()) == 1 {
		return p.GetLeaves()[0].GetConsents()
	}
	lists := make([][]*profilev1.ConsentRecord, 0, len(p.GetLeaves()))
	for _, leaf := range p.GetLeaves() {
		lists = append(lists, leaf.GetConsents())
	}
	return consent.Merge(lists...)
}

// Endpoints returns where the customer is reached: one per channel, the one heard of last, sorted. One
// that may never be used again, according to any leaf, says so. A channel whose address was taken away has none.
func Endpoints(p *profilev1.Profile) []*profilev1.Endpoint {
	var all []*profilev1.Endpoint
	for _, leaf := range p.GetLeaves() {
		all = append(all, leaf.GetEndpoints()...)
	}
	slices.SortStableFunc(all, compareEndpoints)
	var out []*profilev1.Endpoint
	for _, ep := range all {
		if n := len(out); n > 0 && out[n-1].GetChannel() == ep.GetChannel() {
			if ep.GetAddress() == out[n-1].GetAddress() && out[n-1].GetDoNotContact() == nil && ep.GetDoNotContact() != nil {
				out[n-1] = ep
			}
			continue
		}
		out = append(out, ep)
	}
	return slices.DeleteFunc(out, func(ep *profilev1.Endpoint) bool { return ep.GetAddress() == "" })
}

// Zone returns the time zone: one from a trait before one from a device, else the latest; nil if it is
// not known.
func Zone(p *profilev1.Profile) *profilev1.Zone {
	var out *profilev1.Zone
	for _, leaf := range p.GetLeaves() {
		if z := leaf.GetZone(); z != nil && (out == nil || strongerZone(z, out)) {
			out = z
		}
	}
	return out
}

// Closed says why the customer may not be contacted whatever the policy: the profile is closed, or
// something about permission is in the dead letters. It returns nil if neither is so.
func Closed(p *profilev1.Profile) *reasonv1.Reason {
	if len(p.GetLinkedTo()) > 0 {
		return &reasonv1.Reason{
			Code: reasonv1.Code_CODE_IDENTITY_LINKED, Evidence: []string{"profile " + text(p.GetLinkedTo())},
			Remedy: "contact the profile that it was linked to",
		}
	}
	for _, g := range p.GetGaps() {
		if g.GetClosesContact() && g.GetDeadLetter() == "" {
			return &reasonv1.Reason{
				Code: reasonv1.Code_CODE_GAP, Evidence: []string{fmt.Sprintf("more than %d dead letters say something about permission", MaxClosing)},
				Remedy: "contact stays closed for good",
			}
		}
		if g.GetClosesContact() {
			return &reasonv1.Reason{
				Code: reasonv1.Code_CODE_GAP, Evidence: []string{"dead letter " + g.GetDeadLetter()},
				Remedy: "redrive the dead letter: refrain dlq redrive",
			}
		}
	}
	return nil
}

// Basis is the part of a profile that contact depends on. Addresses are the traits whose values are addresses.
func Basis(p *profilev1.Profile, addresses []string) *decisionv1.ContactBasis {
	b := &decisionv1.ContactBasis{
		Consents: Consents(p), Endpoints: Endpoints(p), Zone: Zone(p), Closed: Closed(p), LinkedTo: p.GetLinkedTo(),
		Missing: missing(p),
	}
	for i, ep := range b.GetEndpoints() {
		if undecided(p, ep.GetAddress()) {
			b.Endpoints = slices.Clone(b.GetEndpoints())
			b.Endpoints[i] = ep.CloneVT()
			b.Endpoints[i].Undecided = true
		}
	}
	for _, l := range p.GetLinked() {
		b.Awaits = append(b.GetAwaits(), l.GetProfileId())
	}
	if len(addresses) == 0 {
		return b
	}
	for _, t := range Traits(p) {
		if address := textOf(t); address != "" && slices.Contains(addresses, t.GetName()) {
			b.Endpoints = append(slices.Clip(b.GetEndpoints()), &profilev1.Endpoint{
				Trait: t.GetName(), Address: address, Since: t.GetObservedAt(),
			})
		}
	}
	return b
}

// undecided says whether an address is claimed and its home has not answered.
func undecided(p *profilev1.Profile, address string) bool {
	for _, leaf := range p.GetLeaves() {
		for _, i := range leaf.GetIdentities() {
			if i.GetUndecided() && i.GetIdentifier().GetValue() == address {
				return true
			}
		}
	}
	return false
}

// Reaches returns the endpoint of an address at which contact was approved, if it may still be used: it is in use, or
// it was and is still the customer's own. It returns nil if it may not.
func Reaches(p *profilev1.Profile, address string) *profilev1.Endpoint {
	var own *profilev1.Endpoint
	for _, leaf := range p.GetLeaves() {
		for _, ep := range leaf.GetEndpoints() {
			if ep.GetAddress() == address && ep.GetDoNotContact() != nil {
				return nil
			}
			if ep.GetAddress() == address {
				own = ep
			}
		}
		for _, i := range leaf.GetIdentities() {
			if own == nil && i.GetIdentifier().GetValue() == address {
				own = &profilev1.Endpoint{Address: address}
			}
		}
	}
	if undecided(p, address) {
		return nil
	}
	return own
}

// textOf is the text of a trait; empty if it is none.
func textOf(t *profilev1.Trait) string { return strings.TrimSpace(t.GetValue().GetText()) }
