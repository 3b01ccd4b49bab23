package stage

import (
	"errors"
	"fmt"
	"unicode/utf8"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

const (
	// softRecordSize is where a record is closed; hardRecordSize is what none exceeds, covers and the like included.
	softRecordSize = 128 << 10
	hardRecordSize = 512 << 10
	// headRoom is kept for what a record has beside its cells and facts.
	headRoom = 32 << 10
	// maxState is the largest state; markRoom is what the notes that inputs were given up may have beyond it: those of
	// one row are bounded, so that each finds room, however full the state is.
	maxState = 64 << 10
	markRoom = 64 << 10
	// maxMark is the most that one such note may have in all.
	maxMark = 192 << 10
	// maxLetterSize is where a mailbox message is closed: what is left for the same mailbox goes into the next.
	maxLetterSize = 256 << 10
	// maxDeadPayload is the largest payload that a dead letter keeps, maxWhy its longest reason.
	maxDeadPayload = 512 << 10
	maxWhy         = 4 << 10
)

// errFull says that an input does not fit a record with what was decided before it: it begins the next one.
var errFull = errors.New("the record is full")

// sizeError says that what follows from an input cannot be written: a state, or all of it, is too large.
type sizeError struct {
	what       string
	size, most int
}

// Error implements error.
func (e *sizeError) Error() string {
	return fmt.Sprintf("%s would have %d bytes, and at most %d can be written", e.what, e.size, e.most)
}

// weigh says what an outcome adds to a record, or why it can never be written. A state that does not grow is always
// taken: what makes room must not fail for lack of it.
func weigh(out Outcome, own func(key string) []byte, mostState int) (int, error) {
	size := 0
	for _, c := range out.Cells {
		if len(c.State) > mostState && len(c.State) > len(own(c.Key)) {
			return 0, fault.As(fault.Invalid, &sizeError{"the row's state", len(c.State), mostState})
		}
		size += weightOf(c)
	}
	for _, a := range out.Addressed {
		size += len(a.Payload) + len(a.Stage) + len(a.From) + factOverhead
	}
	if most := hardRecordSize - headRoom; size > most {
		return 0, fault.As(fault.Invalid, &sizeError{"what follows from it", size, most})
	}
	return size, nil
}

// Fits says why what follows from an input cannot be written, by the limits that hold for all stages; nil if it can. own
// gives the rows as they were.
func Fits(out Outcome, own func(key string) []byte) error {
	_, err := weigh(out, own, maxState)
	return err
}

// FitsMark is Fits for what Fold.Gap returns. What does not fit is not noted in the row.
func FitsMark(out Outcome, own func(key string) []byte) error {
	size, err := weigh(out, own, maxState+markRoom)
	if err == nil && size > maxMark {
		err = fault.As(fault.Invalid, &sizeError{"the note that it was given up", size, maxMark})
	}
	return err
}

const (
	// factOverhead is the most that a fact has beside its payload, its stage and its row: the trace, times, lengths.
	factOverhead  = 160
	cellOverhead  = 320 // as much, and the cause
	deltaOverhead = 24
)

// weightOf is the most that a cell takes in a record.
func weightOf(c Cell) int {
	size := 2*len(c.Key) + len(c.State) + cellOverhead
	for _, f := range c.Facts {
		size += len(f) + 8
	}
	for _, d := range c.Deltas {
		size += len(d.GetName()) + len(d.GetValue()) + deltaOverhead
	}
	return size
}

// admit says whether what follows from an input fits the batch: errFull if it fits the next one.
func (b *batch) admit(out Outcome, rows *overlay) error {
	size, err := weigh(out, rows.Own, maxState)
	if err != nil {
		return err
	}
	if b.inputs > 0 && b.size+size > hardRecordSize-headRoom {
		return errFull
	}
	return nil
}

// capLetter keeps a dead letter within what a message may have. A payload that is too large stays where it came from.
func capLetter(dl *stagev1.DeadLetter) {
	if n := len(dl.GetPayload()); n > maxDeadPayload {
		dl.Payload = nil
		dl.Why = clip(dl.GetWhy(), maxWhy/2) + fmt.Sprintf(" (its %d bytes are left out; they are message %d of %s)",
			n, dl.GetSequence(), log.Subject(dl.GetInput(), int(dl.GetPartition())))
	}
	if dl.GetAddressed() != nil && len(dl.GetPayload()) > maxDeadPayload/4 {
		dl.Payload = nil // the fact has it
	}
	dl.Why = clip(dl.GetWhy(), maxWhy)
}

// clip cuts a text to at most so many bytes, between two characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}
