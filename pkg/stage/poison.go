package stage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// giveUp puts an input into the dead letters, first, and then a gap into the record and the states and, if the
// fold knows how, a mark into the customer's state. The partition goes on. It returns the dead letter's id.
func (p *partition) giveUp(ctx context.Context, in *Input, rows *overlay, b *batch, cause error) (string, error) {
	letter, err := p.deadLetter(ctx, in, &stagev1.DeadLetter{
		Id: in.deadLetter(p.chainName), Code: codeOf(cause), Why: cause.Error(), Payload: in.payload(), Addressed: in.unsent,
	}, b)
	if err != nil {
		return "", err
	}
	if err := b.gap(in, letter, fault.Of(cause).String(), rows); err != nil {
		return "", err
	}
	var out Outcome
	if in.unloaded == nil && in.understood() {
		env := Env{Now: b.now, Partition: p.number, Epoch: p.epoch, Revision: p.revision, Round: b.round}
		if out, err = p.markGap(in, rows, env, letter); err != nil { // the gap is there; only the customer's mark is not
			p.ports.Logger.Error("gap cannot be marked", "stage", p.cfg.Spec.Name, "partition", p.number, "dead_letter", letter, "error", err)
			out = Outcome{}
		}
	}
	if err := FitsMark(out, rows.Own); err != nil {
		p.ports.Logger.Error("gap cannot be marked: it would be too large", "stage", p.cfg.Spec.Name, "partition", p.number,
			"dead_letter", letter, "error", err)
		out = Outcome{}
	}
	return letter, p.take(ctx, in, out, rows, b)
}

// deadLetter is the id of an input's dead letter.
func (in *Input) deadLetter(chain string) string { return deadLetterID(chain, in.id(), "POISON") }

// giveUpResult gives the result of a call up. A call of the same id whose result was given up before has its dead
// letter already, and its gap is open: the row's wake-up asks again and again, and nothing new is to be said.
func (p *partition) giveUpResult(ctx context.Context, in *Input, rows *overlay, b *batch, cause error) error {
	if rows.Has(gapOf(in.deadLetter(p.chainName)).Set, in.deadLetter(p.chainName)) {
		p.ports.Logger.Warn("the result of a call fails again", "stage", p.cfg.Spec.Name, "partition", p.number,
			"dead_letter", in.deadLetter(p.chainName))
		return nil
	}
	_, err := p.giveUp(ctx, in, rows, b, cause)
	return err
}

// codeOf is the code of the dead letter of an input that was given up for a cause.
func codeOf(cause error) string {
	if _, ok := errors.AsType[*sizeError](cause); ok {
		return "TOO_LARGE"
	}
	return "POISON"
}

// gap opens the gap of a dead letter that is stored.
func (b *batch) gap(in *Input, letter, why string, rows *overlay) error {
	b.gaps = append(b.gaps, &stagev1.Gap{Input: in.Name, Sequence: in.Sequence, Index: in.Index, DeadLetter: letter, Why: why})
	return b.put(in, openGap(letter), rows)
}

func (p *partition) markGap(in *Input, rows *overlay, env Env, letter string) (out Outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Internal, "the fold panicked: %v", r)
		}
	}()
	return p.fold.Gap(asDecided(in), rows, env, letter), nil
}

// loop gives up a fact that has passed too many mailboxes, the nth that an input led to.
func (p *partition) loop(ctx context.Context, in *Input, n int, fact *stagev1.Addressed, rows *overlay, b *batch) error {
	letter, err := p.deadLetter(ctx, in, &stagev1.DeadLetter{
		Id: deadLetterID(p.chainName, in.id(), "LOOP", strconv.Itoa(n)), Code: "LOOP", Payload: fact.GetPayload(), Addressed: fact,
		Why: fmt.Sprintf("a fact for %s has passed %d mailboxes; look for two rules that answer each other", log.Box(fact.GetStage()), in.Depth),
	}, b)
	if err != nil {
		return err
	}
	return b.gap(in, letter, "loop", rows)
}

// deadLetter stores a letter about an input.
func (p *partition) deadLetter(ctx context.Context, in *Input, dl *stagev1.DeadLetter, b *batch) (string, error) {
	dl.Stage, dl.Partition = p.cfg.Spec.Name, uint32(p.number) //nolint:gosec // partitions are few
	dl.Input, dl.Sequence, dl.Index, dl.Redriven, dl.At = in.Name, in.Sequence, in.Index, in.Redriven, asProto(b.now)
	dl.ChainAfter = p.last
	capLetter(dl)
	data, err := dl.MarshalVT()
	if err != nil {
		return "", fmt.Errorf("encode dead letter: %w", err)
	}
	if _, err := p.ports.Broker.Publish(ctx, log.Subject(log.DeadLetters(p.cfg.Spec.Name), p.number), data); err != nil {
		return "", fmt.Errorf("publish dead letter: %w", err)
	}
	p.ports.Points.At("stage.deadlettered")
	p.metrics.deadLetter(ctx, dl.GetCode())
	p.ports.Logger.Warn("input went to the dead letters", "stage", p.cfg.Spec.Name, "partition", p.number, "input", in.Name,
		"sequence", in.Sequence, "index", in.Index, "dead_letter", dl.GetId(), "code", dl.GetCode())
	return dl.GetId(), nil
}

// deadLetterID is the same however often the same input is given up.
func deadLetterID(parts ...string) string {
	h := fnv.New128a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// payload is what a dead letter keeps, so that a redrive finds it as it was; of what is on no log, its row.
func (in *Input) payload() []byte {
	cell := in.cell
	if in.Source == FromTimer || in.Source == FromCall {
		if sealed, err := (&stagev1.CellBody{At: asProto(in.At), Cause: in.id()}).MarshalVT(); err == nil {
			cell = &stagev1.Cell{Key: in.Key, Sealed: sealed}
		}
	}
	if cell != nil {
		if data, err := cell.MarshalVT(); err == nil {
			return data
		}
	}
	return in.Payload
}
