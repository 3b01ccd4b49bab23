package profile

import (
	"slices"
	"strings"

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
	remedy := "publish it as " + want + ", or declare the type that it has"
	if want == wantComputed {
		remedy = "it is computed from events: publish it under another name"
	}
	d.remark(&reasonv1.Reason{
		Code: reasonv1.Code_CODE_VALUE_QUARANTINED, Evidence: []string{name + " is " + kindOf(raw) + ", want " + want}, Remedy: remedy,
	})
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
