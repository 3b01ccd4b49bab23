package stage

import (
	"context"
	"errors"
	"fmt"

	"refrain.dev/pkg/log"
)

// lostInputError says that an input cannot be read on from where the chain says that it is covered.
type lostInputError struct {
	subject string
	err     error
}

func (e *lostInputError) Error() string { return fmt.Sprintf("read %s: %v", e.subject, e.err) }
func (e *lostInputError) Unwrap() error { return e.err }

// lost is why a reader can never go on, of the errors of its tail.
func (r *reader) lost(err error) error {
	if errors.Is(err, log.ErrLogLostData) || errors.Is(err, log.ErrGone) {
		return &lostInputError{r.subject, err}
	}
	return fmt.Errorf("read %s: %w", r.subject, err)
}

// compareStreams finds, once their feed is open, the readers of a stream that is not the one that was provisioned.
func compareStreams(ctx context.Context, broker log.Broker, gen log.Generation, readers []*reader) error {
	usage, err := broker.Usage(ctx, readers[0].subject)
	if err != nil {
		return fmt.Errorf("look at the stream of %s: %w", readers[0].subject, err)
	}
	if err := gen.Anew(readers[0].subject, usage); err != nil {
		for _, r := range readers {
			r.anew = err
		}
	}
	return nil
}

// lostLooks is how often an input that cannot be read on is opened again before the partition is halted: while a
// broker elects a leader, what it says of a position may be wrong.
const lostLooks = 3

// lostInput deals with an input that cannot be read on; true means that the partition must not go on. A stream that
// was made anew never comes back by itself.
func (p *partition) lostInput(ctx context.Context, lost *lostInputError, back *backoff) bool {
	_, anew := errors.AsType[*log.AnewError](lost.err)
	p.losses++
	if anew || p.losses > lostLooks {
		p.halt(ctx, &HaltError{Subject: lost.subject, Why: lost.err.Error()})
		return true
	}
	p.ports.Logger.Warn("an input is opened again", "stage", p.cfg.Spec.Name, "partition", p.number, "error", lost)
	p.rejectAll()
	return back.wait(ctx, lost) != nil || !p.cfg.Ownership.Owns(p.number) || p.retake(ctx) != nil
}
