package profile

import (
	"slices"
	"strings"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
)

const (
	maxQuarantined = 16  // properties and traits of a leaf; beyond, the one quarantined longest ago makes room
	maxRaw         = 128 // bytes of a value that is kept as it came
	maxReasons     = 8   // of one line of the timeline

	wantComputed = "computed"
)

// typed returns an event with its declared properties as they are declared: what can be taken for the type without loss
// is, so that everything after it reads the same value. What cannot stays as it came and is quarantined.
func (d *draft) typed(e *eventv1.Event) *eventv1.Event {
	t := d.rules.types[event.TypeOf(e)]
	if len(t.Properties) == 0 {
		return e
	}
	out := e
	for i, p := range e.GetProperties() {
		want, declared := t.Properties[p.GetName()]
		if !declared || p.GetValue().GetKind() == nil {
			continue
		}
		switch v := expr.Fit(p.GetValue(), want, d.rules.zone); {
		case v == nil:
			d.quarantine(t.Name+"."+p.GetName(), want.String(), p.GetValue(), e)
		case v != p.GetValue():
			if out == e {
				out = e.CloneVT()
			}
			out.Properties[i].Value = v
		}
	}
	return out
}

// quarantine counts a value that does not have the type wanted, and says so on the event's line.
func (d *draft) quarantine(name, want string, raw *eventv1.Value, e *eventv1.Event) {
	d.confine(name, want, raw, e)
	remedy := "publish it as " + want + ", or declare the type that it has"
	if want == wantComputed {
		remedy = "it is computed from events: publish it under another name"
	}
	d.remark(&reasonv1.Reason{
		Code: reasonv1.Code_CODE_VALUE_QUARANTINED, Evidence: []string{name + " is " + kindOf(raw) + ", want " + want}, Remedy: remedy,
	})
}

// confine keeps a value that is not used, and counts how often it came.
func (d *draft) confine(name, want string, raw *eventv1.Value, e *eventv1.Event) {
	list := d.leaf.GetQuarantine()
	i, found := slices.BinarySearchFunc(list, name, func(q *profilev1.Quarantined, name string) int { return strings.Compare(q.GetName(), name) })
	switch {
	case found:
	case len(list) < maxQuarantined:
		list = slices.Insert(list, i, &profilev1.Quarantined{Name: name})
	default:
		oldest := 0
		for n, q := range list {
			if q.GetLastAt().AsTime().Before(list[oldest].GetLastAt().AsTime()) {
				oldest = n
			}
		}
		list = slices.Delete(list, oldest, oldest+1)
		if oldest < i {
			i--
		}
		list = slices.Insert(list, i, &profilev1.Quarantined{Name: name})
	}
	q := list[i]
	q.Count++
	if q.GetLastAt() == nil || !e.GetAt().AsTime().Before(q.GetLastAt().AsTime()) {
		q.Want, q.Raw, q.LastAt, q.Cause = want, rawOf(raw), e.GetAt(), e.GetId()
	}
	d.leaf.Quarantine = list
	d.out.Quarantined = append(d.out.Quarantined, name)
}

// unusable keeps what an identify calls an address and what cannot be one, such as a telephone number of nobody knows which
// country: the customer is not contacted there, and the reason says so.
func (d *draft) unusable(e *eventv1.Event) {
	if e.GetKind() != eventv1.Kind_KIND_IDENTIFY {
		return
	}
	for _, k := range d.rules.endpoint {
		raw := event.Property(e.GetTraits(), k.Name)
		if isEmpty(raw) {
			continue
		}
		given := event.IdentifierText(raw)
		if _, err := d.rules.kinds.Identifier(k.Name, given); err == nil && given != "" {
			continue
		}
		name := traitsPrefix + k.Name
		d.confine(name, wantedAddress(k.Normaliser), raw, e)
		d.basis = true
		if !slices.ContainsFunc(e.GetRemarks(), func(r *eventv1.Remark) bool { return r.GetField() == name }) { // else it is said
			d.remark(&reasonv1.Reason{
				Code:     reasonv1.Code_CODE_VALUE_QUARANTINED,
				Evidence: []string{name + " is not " + wantedAddress(k.Normaliser)}, Remedy: addressRemedy(wantedAddress(k.Normaliser)),
			})
		}
	}
}

// What an address must be.
const (
	wantPhone   = "a phone number with its country code"
	wantMail    = "an e-mail address"
	wantAddress = "an address"
)

func wantedAddress(normaliser string) string {
	switch normaliser {
	case event.NormaliserPhone:
		return wantPhone
	case event.NormaliserEmail:
		return wantMail
	}
	return wantAddress
}

func addressRemedy(want string) string {
	if want == wantPhone {
		return "publish it with its country code, as +49 30 123456, or name the region of the workspace"
	}
	return "publish " + want
}

// unusableAddresses says which kinds of address came in a form that cannot be one.
func unusableAddresses(p *profilev1.Profile) []*decisionv1.AddressMissing {
	var out []*decisionv1.AddressMissing
	for _, leaf := range p.GetLeaves() {
		for _, q := range leaf.GetQuarantine() {
			if w := q.GetWant(); w != wantPhone && w != wantMail && w != wantAddress {
				continue
			}
			kind := strings.TrimPrefix(q.GetName(), traitsPrefix)
			out = append(out, &decisionv1.AddressMissing{Kind: kind, Reason: &reasonv1.Reason{
				Code: reasonv1.Code_CODE_INVALID_ENDPOINT, Remedy: addressRemedy(q.GetWant()), Evidence: []string{
					"the customer's " + kind + " came as " + Mask(&eventv1.Identifier{Kind: kind, Value: event.IdentifierText(q.GetRaw())}) + ", which is not " + q.GetWant(),
				},
			}})
		}
	}
	return out
}

// usable forgets that an address was unusable, once it is taken away.
func (d *draft) usable(kind string) {
	before := len(d.leaf.GetQuarantine())
	d.leaf.Quarantine = slices.DeleteFunc(d.leaf.GetQuarantine(), func(q *profilev1.Quarantined) bool { return q.GetName() == traitsPrefix+kind })
	d.basis = d.basis || len(d.leaf.GetQuarantine()) != before
}

// remark adds a reason to the line that the input has on the timeline; without one to a line of its own.
func (d *draft) remark(r *reasonv1.Reason) {
	if len(d.remarks) < maxReasons {
		d.remarks = append(d.remarks, r)
	}
}

// setAside tells what ingest could not take of an event as it was published.
func (d *draft) setAside(e *eventv1.Event) {
	for _, r := range e.GetRemarks() {
		d.remark(&reasonv1.Reason{Code: reasonv1.Code_CODE_FIELD_SET_ASIDE, Evidence: []string{strings.TrimPrefix(r.GetField()+": "+r.GetWhy(), ": ")}})
	}
}

// rawOf is a value as it came, cut short if it is long.
func rawOf(v *eventv1.Value) *eventv1.Value {
	if v.SizeVT() <= maxRaw {
		return v
	}
	text, ok := v.GetKind().(*eventv1.Value_Text)
	if !ok {
		return &eventv1.Value{Kind: &eventv1.Value_Text{Text: kindOf(v) + " that is too long to be kept here"}}
	}
	return &eventv1.Value{Kind: &eventv1.Value_Text{Text: strings.ToValidUTF8(text.Text[:maxRaw], "") + "…"}}
}

// kindOf is what a value is, in a word or two.
func kindOf(v *eventv1.Value) string {
	switch v.GetKind().(type) {
	case *eventv1.Value_Text:
		return "a text"
	case *eventv1.Value_Integer, *eventv1.Value_Number:
		return "a number"
	case *eventv1.Value_Flag:
		return "true or false"
	case *eventv1.Value_List:
		return "a list"
	case *eventv1.Value_Object:
		return "an object"
	}
	return "null"
}
