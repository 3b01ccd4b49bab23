package stage

import (
	"context"
	"fmt"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// lateList begins the name of a list that holds, beside a row, its wake-up that was given up. No name of a fold's
// list begins so.
const lateList = ":late/"

const (
	// firstAgain is how long a wake-up that has failed for the first time is put off; each failure doubles it.
	firstAgain = 10 * time.Second
	// lastAgain is the longest that it is put off.
	lastAgain = 6 * time.Hour
	// timerInput is the name of timers in dead letters and causes, callInput that of the results of calls.
	timerInput = "timer"
	callInput  = "call"
)

// againAfter is how long a wake-up is put off that has failed so often.
func againAfter(failures uint32) time.Duration {
	d := firstAgain
	for n := uint32(1); n < failures && d < lastAgain; n++ {
		d *= 2
	}
	return min(d, lastAgain)
}

// wakes reports whether an input is a timer, or a dead letter of one that came back.
func (in *Input) wakes() bool {
	return in.Source == FromTimer || in.Source == FromRedrive && in.Redriven == timerInput
}

// asDecided is the input as the fold is asked about it: a timer that came back is a timer.
func asDecided(in *Input) Input {
	out := *in
	if in.Source == FromRedrive && in.wakes() {
		out.Source, out.Name, out.ID = FromTimer, timerInput, ""
	}
	return out
}

// recall gives a timer that is tried again the instant at which it was due at first, which names it.
func (in *Input) recall(late *stagev1.LateWakeUp) {
	if in.Source != FromTimer {
		return
	}
	in.At = in.entry
	if late != nil && late.GetAgain() != nil && late.GetAgain().AsTime().Equal(in.entry) {
		in.At = late.GetAt().AsTime()
	}
}

// isParked reports whether a timer is not to be tried before its dead letter comes back.
func (in *Input) isParked(late *stagev1.LateWakeUp) bool {
	return in.Source == FromTimer && late != nil && late.GetAgain() == nil && late.GetAt().AsTime().Equal(in.At)
}

// putOff gives a timer up: the first time it goes to the dead letters; each time its row's wake-up moves on, further
// and further, or, if processes have died of it, stays away until the dead letter comes back. If they died of it
// before its time, by a look after a takeover, it stands at its time: it is not known to be bad then.
func (p *partition) putOff(ctx context.Context, in *Input, rows *overlay, b *batch, cause error) error {
	if in.look && in.poisoned {
		p.ports.Logger.Warn("a look is left out, since processes have died of it", "stage", p.cfg.Spec.Name,
			"partition", p.number, "timer", in.id())
		return nil
	}
	late := &stagev1.LateWakeUp{At: asProto(in.At), Failures: 1}
	before := rows.late[in.Key]
	if before != nil && before.GetAt().AsTime().Equal(in.At) {
		late.Failures, late.DeadLetter = before.GetFailures()+1, before.GetDeadLetter()
		p.ports.Logger.Warn("a timer fails again", "stage", p.cfg.Spec.Name, "partition", p.number,
			"dead_letter", late.GetDeadLetter(), "failures", late.GetFailures())
	} else {
		letter, err := p.giveUp(ctx, in, rows, b, cause)
		if err != nil {
			return err
		}
		late.DeadLetter = letter
	}
	row := rows.own[in.Key]
	if row == nil { // an entry of the index without a row is no wake-up
		b.unknown = append(b.unknown, state.Due{Key: in.Key, At: in.entry})
		return nil
	}
	switch {
	case in.poisoned && in.At.After(b.now) && !in.isParked(before):
		late.Again = late.GetAt()
	case in.poisoned:
	case late.GetFailures() > 1 && before.GetAgain().AsTime().After(b.now): // tried early, because the row has changed
		late.Again, late.Failures = before.GetAgain(), before.GetFailures()
	default:
		late.Again = asProto(b.now.Add(againAfter(late.GetFailures())).Truncate(time.Microsecond))
	}
	deltas, err := lateDeltas(in.Key, late)
	if err != nil {
		return err
	}
	rows.late[in.Key] = late
	return b.put(in, Cell{Key: in.Key, State: row, Wake: asTime(late.GetAgain()), Deltas: deltas}, rows)
}

// passOn lets the dead letter of a timer that came back in vain take the place of the one before, so that its gap is
// closed when the timer passes.
func (b *batch) passOn(in *Input, letter string, rows *overlay) error {
	before := rows.late[in.Key]
	if !in.wakes() || before == nil {
		return nil
	}
	late := before.CloneVT()
	late.DeadLetter = letter
	deltas, err := lateDeltas(in.Key, late)
	if err != nil {
		return err
	}
	rows.late[in.Key] = late
	return b.put(in, Cell{Key: gapSet, Deltas: deltas}, rows)
}

// lateDeltas replace what stands in the list of a row's late wake-up.
func lateDeltas(row string, late *stagev1.LateWakeUp) ([]*stagev1.Delta, error) {
	data, err := late.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode late wake-up: %w", err)
	}
	name := lateList + row
	return []*stagev1.Delta{
		{Name: name, Kind: stagev1.DeltaKind_DELTA_KIND_DROP},
		{Name: name, Kind: stagev1.DeltaKind_DELTA_KIND_APPEND, Value: data},
	}, nil
}

// inTime is what follows from a timer, and that its row's wake-up is not late any more: the fold has dealt with all
// that was due. What was given up may have been a look at a row whose wake-up is still to come: that one stands again.
func (out Outcome) inTime(in *Input, rows *overlay, now time.Time) Outcome {
	late := rows.late[in.Key]
	if !in.wakes() || late == nil {
		return out
	}
	delete(rows.late, in.Key)
	if row, at := rows.own[in.Key], late.GetAt().AsTime(); row != nil && at.After(now) && !touches(out, in.Key) {
		out.Cells = append(slices.Clip(out.Cells), Cell{Key: in.Key, State: row, Wake: at})
	}
	drop := []*stagev1.Delta{{Name: lateList + in.Key, Kind: stagev1.DeltaKind_DELTA_KIND_DROP}}
	if late.GetDeadLetter() != in.ID {
		drop = append(drop, closeGap(late.GetDeadLetter()))
	}
	out.Cells = append(slices.Clip(out.Cells), Cell{Key: gapSet, Deltas: drop})
	return out
}

// keepLate decodes what a row's list says of its wake-up.
func (o *overlay) keepLate(row string, values [][]byte) error {
	if len(values) == 0 {
		return nil
	}
	late := &stagev1.LateWakeUp{}
	if err := late.UnmarshalVT(values[len(values)-1]); err != nil {
		return fault.New(fault.Internal, "decode the late wake-up of a row: %w", err)
	}
	o.late[row] = late
	return nil
}
