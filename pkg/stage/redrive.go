package stage

import (
	"slices"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// gapSet begins the name of a set that a stage's states have for each gap that is open, by its dead letter. A dead
// letter that comes back takes effect only while its gap is open, and closes it. So it takes effect once, however
// often it is sent back; and not at all if its owner died before the gap was on the chain and the next one could
// apply the input. No name of a fold's set begins so.
const gapSet = ":gap/"

// gapOf is the member that says that the gap of a dead letter is open.
func gapOf(letter string) Member { return Member{Set: gapSet + letter, Value: letter} }

// openGap is a cell without a customer that opens the gap of a dead letter.
func openGap(letter string) Cell {
	m := gapOf(letter)
	return Cell{Key: gapSet, Deltas: []*stagev1.Delta{{Name: m.Set, Kind: stagev1.DeltaKind_DELTA_KIND_ADD, Value: []byte(m.Value)}}}
}

// closeGap ends the gap of a dead letter.
func closeGap(letter string) *stagev1.Delta {
	return &stagev1.Delta{Name: gapOf(letter).Set, Kind: stagev1.DeltaKind_DELTA_KIND_DROP}
}

// inVain says whether an input is a dead letter that is not to take effect, or not again. What names none cannot be
// decided, and is given up.
func (o *overlay) inVain(in *Input) bool {
	return in.Source == FromRedrive && in.ID != "" && !o.members[gapOf(in.ID)]
}

// closing is what follows from an input, and that its gap is closed if it is a dead letter.
func (out Outcome) closing(in *Input) Outcome {
	if in.Source != FromRedrive || in.ID == "" {
		return out
	}
	drop := closeGap(in.ID)
	if len(out.Cells) == 0 {
		out.Cells = []Cell{{Key: gapSet}}
	}
	out.Cells = slices.Clone(out.Cells)
	first := &out.Cells[0]
	first.Deltas = append(slices.Clip(first.Deltas), drop)
	return out
}
