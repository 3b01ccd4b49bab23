package stage

import (
	"slices"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// redrivenSet holds the dead letters that took effect when they came back, in each stage's states: one that is sent
// back twice, by two operators or by one whose first try seemed to fail, takes effect once. No name of a fold's set
// begins so. It grows by one value with each redrive.
const redrivenSet = ":redriven"

// redrive names a dead letter among those that came back.
func (in *Input) redrive() Member { return Member{Set: redrivenSet, Value: in.ID} }

// cameBack says whether an input is a dead letter that came back before.
func (o *overlay) cameBack(in *Input) bool {
	return in.Source == FromRedrive && o.members[in.redrive()]
}

// remembered is what follows from an input, and that it came back if it is a dead letter.
func (out Outcome) remembered(in *Input) Outcome {
	if in.Source != FromRedrive || in.ID == "" {
		return out
	}
	mark := &stagev1.Delta{Name: redrivenSet, Kind: stagev1.DeltaKind_DELTA_KIND_ADD, Value: []byte(in.ID)}
	if len(out.Cells) == 0 {
		out.Cells = []Cell{{Key: redrivenSet}}
	}
	out.Cells = slices.Clone(out.Cells)
	first := &out.Cells[0]
	first.Deltas = append(slices.Clip(first.Deltas), mark)
	return out
}
