package dispatchsvc

import (
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/profile"
)

// entry is one line of the timeline in the making.
type entry struct {
	what, action, channel, id string
	reasons                   []*reasonv1.Reason
}

func (p *play) note(e entry) { p.notes = append(p.notes, e) }

func (p *play) noteFact(f *dispatchv1.Fact, before *dispatchv1.State) {
	switch f := f.GetFact().(type) {
	case *dispatchv1.Fact_DeliveryQueued:
		q := f.DeliveryQueued
		p.note(entry{what: "delivery_queued", action: q.GetAction(), channel: q.GetChannel(), id: q.GetProposal()})
	case *dispatchv1.Fact_DeliveryReported:
		r := f.DeliveryReported
		p.note(entry{what: what(r.GetStatus()), action: r.GetAction(), channel: r.GetChannel(), id: r.GetProposal(), reasons: r.GetReasons()})
	case *dispatchv1.Fact_ReceiptRecorded:
		r := f.ReceiptRecorded
		if r.GetStatus() != statusOf(before, r.GetProposal()) { // the receipt itself is in the profile's timeline
			p.note(entry{what: what(r.GetStatus()), action: r.GetAction(), channel: r.GetChannel(), id: r.GetProposal(), reasons: r.GetReasons()})
		}
	default: // an intent is followed by a report
	}
}

func statusOf(s *dispatchv1.State, proposal string) dispatchv1.Status {
	for _, d := range s.GetDeliveries() {
		if d.GetProposal() == proposal {
			return d.GetStatus()
		}
	}
	return dispatchv1.Status_STATUS_UNSPECIFIED
}

// what names a status; queued again, with the reasons, is what is provably unsent and tried once more.
func what(s dispatchv1.Status) string {
	switch s {
	case dispatchv1.Status_STATUS_ACCEPTED:
		return "delivery_accepted"
	case dispatchv1.Status_STATUS_REJECTED:
		return "delivery_rejected"
	case dispatchv1.Status_STATUS_UNSENT:
		return "delivery_unsent"
	case dispatchv1.Status_STATUS_UNKNOWN:
		return "delivery_unknown"
	case dispatchv1.Status_STATUS_QUEUED, dispatchv1.Status_STATUS_INTENT, dispatchv1.Status_STATUS_UNSPECIFIED:
	}
	return "delivery_queued"
}

func (p *play) deltas() []*stagev1.Delta {
	if len(p.notes) == 0 {
		return nil
	}
	name := p.key + "/timeline"
	deltas := make([]*stagev1.Delta, 0, len(p.notes)+1)
	for _, n := range p.notes {
		line := &profilev1.TimelineEntry{
			At: stamp(p.env.Now), Stage: "dispatch", What: n.what, Subject: n.action, Channel: n.channel,
			Reasons: n.reasons, Id: n.id, Round: p.env.Round,
		}
		data, err := profile.EncodeLine(line)
		if err != nil {
			continue // a line that cannot be encoded is not worth a dead letter
		}
		deltas = append(deltas, &stagev1.Delta{Name: name, Kind: stagev1.DeltaKind_DELTA_KIND_APPEND, Value: data})
	}
	return append(deltas, &stagev1.Delta{Name: name, Kind: stagev1.DeltaKind_DELTA_KIND_TRIM, Keep: profile.TimelineLength})
}
