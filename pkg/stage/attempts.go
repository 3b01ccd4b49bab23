package stage

import (
	"context"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

const (
	// maxAttempts is how often an input is tried alone before it is given up.
	maxAttempts = 3
	// maxSuspects is how many inputs are remembered under whose attempts processes ended.
	maxSuspects = 16
	// maxUnclean bounds for how many unclean ends in a row the next owner is more careful still.
	maxUnclean = 5
	// calmAfter is how long an owner goes on before the ends of those before it do not count any more.
	calmAfter = 5 * time.Minute
)

// careful counts the inputs that are left to be tried alone after an unclean end. What is on a log or in the timer
// index is there again at once, so what killed the process is among the first of a batch. Requests and results come
// again when it pleases their callers: of those, more are tried alone with each end that follows another one.
type careful struct{ stored, asked int }

func (c *careful) any() bool { return c.stored > 0 || c.asked > 0 }

// of is the count that an input belongs to.
func (c *careful) of(in *Input) *int {
	if in.Source == FromRPC || in.Source == FromCall {
		return &c.asked
	}
	return &c.stored
}

// spend counts inputs that are decided.
func (c *careful) spend(items []item) {
	for n := range items {
		if in := items[n].input; in != nil {
			left := c.of(in)
			*left = max(0, *left-1)
		}
	}
}

// alone cuts items to those of the next batch: an input that is tried alone ends it, and begins it but for what has
// nothing to decide.
func (c *careful) alone(items []item) []item {
	began := false
	for n := range items {
		switch in := items[n].input; {
		case in == nil:
		case *c.of(in) == 0:
			began = true
		case began:
			return items[:n]
		default:
			return items[:n+1]
		}
	}
	return items
}

// attempt is an input that is tried alone, or was when its process ended.
type attempt struct {
	input  string
	pos    state.Position
	id     string // of an input without a position
	number uint32
	// here says that it was announced under the present ownership: trying again is no new attempt.
	here bool
}

// attemptAt names an item's input. A timer is named by its place in the index, which is known before its row is.
func attemptAt(it *item) attempt {
	if in := it.input; it.reader == nil {
		id := in.id()
		if in.Source == FromTimer {
			id = timerID(in.Key, in.entry)
		}
		return attempt{input: in.Name, id: id}
	}
	return attempt{input: it.reader.name, pos: it.pos}
}

func attemptOf(a *stagev1.Attempt) attempt {
	return attempt{
		input: a.GetInput(), pos: state.Position{Sequence: a.GetSequence(), Index: a.GetIndex()}, id: a.GetId(), number: a.GetNumber(),
	}
}

func (a attempt) proto() *stagev1.Attempt {
	return &stagev1.Attempt{Input: a.input, Sequence: a.pos.Sequence, Index: a.pos.Index, Number: a.number, Id: a.id}
}

// is reports whether two attempts are of one input.
func (a attempt) is(b attempt) bool { return a.input == b.input && a.pos == b.pos && a.id == b.id }

// announce appends an ATTEMPT record for the next input that is to be tried alone, after an unclean end: if the
// input kills the process, the next owner knows which it was. The third try is the last.
func (p *partition) announce(ctx context.Context) error {
	n := slices.IndexFunc(p.pending, func(it item) bool { return it.input != nil })
	if n < 0 || *p.careful.of(p.pending[n].input) == 0 {
		return nil
	}
	it := &p.pending[n]
	a := attemptAt(it)
	if p.attempt.here && p.attempt.is(a) {
		return nil // what made it fail was the shell's
	}
	a.number, a.here = 1, true
	if n := slices.IndexFunc(p.suspects, a.is); n >= 0 {
		a.number = p.suspects[n].number + 1
	}
	if a.number > maxAttempts {
		if it.input.broken == nil {
			it.input.poisoned = true
			it.input.broken = fault.New(fault.Internal, "its process ended %d times while it was tried", maxAttempts)
		}
		return nil
	}
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_ATTEMPT)
	rec.Attempt = a.proto()
	seq, err := p.append(ctx, rec)
	if err != nil {
		return err
	}
	p.attempt = a
	p.ports.Points.At("stage.attempted")
	p.relay.add(seq, rec)
	return p.apply(ctx, rec, nil, seq)
}

// decided forgets what is known of the attempts of inputs that are on the chain now, or are not to be tried again.
func (p *partition) decided(items []item) {
	p.careful.spend(items)
	for n := range items {
		if items[n].input != nil {
			p.attempt = attempt{}
			p.suspects = slices.DeleteFunc(p.suspects, attemptAt(&items[n]).is)
		}
	}
	if !p.careful.any() {
		p.suspects = nil // none of them has come again
	}
}

// suspect takes over what an owner left behind that ended uncleanly, and counts its end.
func (p *partition) suspect(tail *stagev1.Record) {
	p.careful, p.attempt, p.suspects, p.unclean = careful{}, attempt{}, nil, 0
	switch tail.GetKind() {
	case stagev1.RecordKind_RECORD_KIND_GENESIS, stagev1.RecordKind_RECORD_KIND_CLOSE:
		return
	default:
	}
	p.unclean = min(tail.GetUnclean()+1, maxUnclean)
	p.careful = careful{stored: p.cfg.Batch, asked: p.cfg.Batch << (p.unclean - 1)}
	for _, a := range tail.GetSuspects() {
		p.suspects = append(p.suspects, attemptOf(a))
	}
	if a := tail.GetAttempt(); a != nil {
		died := attemptOf(a)
		p.suspects = append(slices.DeleteFunc(p.suspects, died.is), died)
	}
	p.suspects = p.suspects[max(0, len(p.suspects)-maxSuspects):]
}

// suspectList is what a record says of the suspects: the one that is tried is not among them.
func (p *partition) suspectList() []*stagev1.Attempt {
	out := make([]*stagev1.Attempt, 0, len(p.suspects))
	for _, a := range p.suspects {
		out = append(out, a.proto())
	}
	return out
}

// ends is how many unclean ends before this owner still count.
func (p *partition) ends() uint32 {
	if p.ports.Clock.Elapsed()-p.openedAt > calmAfter {
		return 0
	}
	return p.unclean
}
