package crash

import (
	"context"
	"errors"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// heads are the sequences of the last records of all chains.
func heads(ctx context.Context, broker log.Broker, gen log.Generation) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, spec := range log.Stages() {
		for p := range gen.Partitions {
			msg, err := broker.Last(ctx, log.Subject(spec.Chain, p))
			if err != nil {
				return nil, fmt.Errorf("read the end of %s.%d: %w", spec.Chain, p, err)
			}
			out[log.Subject(spec.Chain, p)] = msg.Sequence
		}
	}
	return out, nil
}

// unread lists what the stages have not covered, by the last records of their chains: a message behind the
// cover that holds anything to decide.
func unread(ctx context.Context, broker log.Broker, gen log.Generation) ([]string, error) {
	var out []string
	for _, spec := range log.Stages() {
		inputs := append([]string{log.Box(spec.Name)}, spec.Before...)
		if spec.After != "" {
			inputs = append(inputs, spec.After)
		}
		for p := range gen.Partitions {
			msg, err := broker.Last(ctx, log.Subject(spec.Chain, p))
			if err != nil {
				return nil, fmt.Errorf("read the end of %s.%d: %w", spec.Chain, p, err)
			}
			rec := &stagev1.Record{}
			if err := rec.UnmarshalVT(msg.Data); err != nil {
				return nil, fmt.Errorf("read the end of %s.%d: %w", spec.Chain, p, err)
			}
			covers := map[string]*stagev1.Cover{}
			for _, c := range rec.GetCovers() {
				covers[c.GetInput()] = c
			}
			for _, input := range inputs {
				more, err := behind(ctx, broker, log.Subject(input, p), covers[input])
				if err != nil {
					return nil, err
				}
				if more != "" {
					out = append(out, fmt.Sprintf("%s.%d has not covered %s", spec.Name, p, more))
				}
			}
		}
	}
	return out, nil
}

// behind names the first message of a subject behind a cover that holds anything to decide; "" if none does.
func behind(ctx context.Context, broker log.Broker, subject string, cover *stagev1.Cover) (string, error) {
	after, index := cover.GetSequence(), cover.GetIndex()
	if after > 0 { // the covered message may be covered in part
		after--
	}
	for {
		msg, err := broker.Next(ctx, subject, after)
		if errors.Is(err, log.ErrNotFound) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", subject, err)
		}
		done := uint32(0)
		if msg.Sequence == cover.GetSequence() {
			done = index
		}
		if n := items(subject, msg.Data); n > done {
			return fmt.Sprintf("%s at %d: %d of %d done", subject, msg.Sequence, done, n), nil
		}
		after = msg.Sequence
	}
}

// items counts what there is to decide in a message.
func items(subject string, data []byte) uint32 {
	if rec := (&stagev1.Record{}); isChain(subject) && rec.UnmarshalVT(data) == nil {
		n := 0
		for _, c := range rec.GetCells() {
			body := &stagev1.CellBody{}
			if body.UnmarshalVT(c.GetSealed()) == nil && len(body.GetFacts()) > 0 {
				n = len(rec.GetCells())
			}
		}
		return uint32(n) //nolint:gosec // cells are few
	}
	if letter := (&stagev1.Letter{}); subject[:3] == "box" && letter.UnmarshalVT(data) == nil {
		return uint32(len(letter.GetItems())) //nolint:gosec // items are few
	}
	arrivals := &stagev1.Arrivals{}
	if arrivals.UnmarshalVT(data) != nil {
		return 1
	}
	return uint32(len(arrivals.GetItems())) //nolint:gosec // items are few
}

func isChain(subject string) bool {
	for _, spec := range log.Stages() {
		if len(subject) > len(spec.Chain) && subject[:len(spec.Chain)+1] == spec.Chain+"." {
			return true
		}
	}
	return false
}
