package ledger

import (
	"sync"
	"time"
)

// Zones remembers time zones. The zero Zones is ready, and safe for concurrent use.
type Zones struct {
	known sync.Map // name to *time.Location, nil if there is none of that name
}

// load finds a zone by its name; nil if there is none.
func (z *Zones) load(name string) *time.Location {
	if name == "" {
		return nil
	}
	if found, ok := z.known.Load(name); ok {
		zone, _ := found.(*time.Location)
		return zone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		zone = nil
	}
	z.known.Store(name, zone)
	return zone
}

// inhabited are zones, by their offsets from UTC, of which the recipient's may be any while it is unknown.
func (z *Zones) inhabited() []*time.Location {
	if found, ok := z.known.Load(""); ok {
		all, _ := found.([]*time.Location)
		return all
	}
	var all []*time.Location
	for hours := -11; hours <= 14; hours++ {
		all = append(all, time.FixedZone("", hours*3600))
	}
	all = append(all, time.FixedZone("", 5*3600+1800), time.FixedZone("", 5*3600+2700))
	z.known.Store("", all)
	return all
}

// recipientZones are the recipient's zones that the mesh may have known when it decided about a contact and
// until it was made: each as the places that it stands for. While nothing is known that is the workspace, if
// the policy says so, or everywhere.
func (c *checker) recipientZones(d *Definitions, p *Policy, m *contact) [][]*time.Location {
	var out [][]*time.Location
	add := func(name string) {
		zone := c.zones.load(name)
		if zone == nil && p.Quiet != nil && p.Quiet.Workspace {
			zone = c.zones.load(d.Zone)
		}
		if zone == nil {
			out = append(out, c.zones.inhabited())
			return
		}
		out = append(out, []*time.Location{zone})
	}
	from, _ := c.known(m)
	latest := m.at.Add(c.h.Skew)
	before := ""
	for _, z := range m.customer.zones {
		switch {
		case z.sequence <= from:
			before = z.name
		case !z.now.After(latest):
			add(z.name)
		}
	}
	add(before)
	return out
}

// known says up to where the profile chain was known, at least and at most, when a contact was decided: what
// the verdict's record covers of ACTIONS covers PROFILES. At least is what the record before it covered. The
// two are close: whatever changes permissions or zones leads to a record in every chain.
func (c *checker) known(m *contact) (least, most uint64) {
	decisions := &c.chains[m.customer.partition][decision]
	if m.seen != nil {
		at := m.seen.covers[0]
		r := decisions.at(at.sequence)
		if r != nil && at.index < r.items() { // covered in part: what its last cells say is not known
			r = decisions.at(r.prev)
		}
		if r != nil {
			least = r.covers[0].sequence
			if p := c.chains[m.customer.partition][profile].at(least); r.covers[0].index < p.items() {
				least-- // the same of the profile's
			}
		}
	}
	if m.decided != nil {
		if r := decisions.at(m.decided.covers[0].sequence); r != nil {
			most = r.covers[0].sequence
		}
	}
	return least, most
}
