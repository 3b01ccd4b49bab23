package suppressionsvc

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/profile"
)

// tell notes what happened to a proposal.
func (t *turn) tell(what string, d *decisionv1.DispatchTreatment, channel string, reasons []*reasonv1.Reason) {
	p := d.GetProposal()
	t.note(&profilev1.TimelineEntry{What: what, Subject: p.GetAction(), Channel: channel, Reasons: reasons, Id: p.GetId()})
}

func (t *turn) note(e *profilev1.TimelineEntry) {
	e.At, e.Round, e.Stage = timestamppb.New(t.env.Now), t.env.Round, stageName
	t.notes = append(t.notes, e)
}

func (t *turn) deltas() []*stagev1.Delta {
	var out []*stagev1.Delta
	if t.found {
		out = append(out, &stagev1.Delta{Name: lostSet(t.back), Kind: stagev1.DeltaKind_DELTA_KIND_DROP})
	}
	for _, id := range t.lost {
		out = append(out, &stagev1.Delta{Name: lostSet(t.away), Kind: stagev1.DeltaKind_DELTA_KIND_ADD, Value: []byte(id)})
	}
	if len(t.notes) == 0 {
		return out
	}
	name := t.key + "/timeline"
	for _, n := range t.notes {
		raw, err := profile.EncodeLine(n)
		if err != nil {
			continue // a line that cannot be encoded is not worth a dead letter
		}
		out = append(out, &stagev1.Delta{Name: name, Kind: stagev1.DeltaKind_DELTA_KIND_APPEND, Value: raw})
	}
	return append(out, &stagev1.Delta{Name: name, Kind: stagev1.DeltaKind_DELTA_KIND_TRIM, Keep: profile.TimelineLength})
}
