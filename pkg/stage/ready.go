package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"refrain.dev/pkg/fault"
)

// NotReadyError says that a fold lacks something that the shell can make ready, such as the catalog that a
// customer's state names. It is the one error of a fold that means "not now": nothing is given up, the shell
// makes ready what is needed and asks again, and while that is not possible the partition waits and says why.
type NotReadyError struct {
	// Needs names what the Preparer is to make ready.
	Needs []string
	// Why says what it is needed for.
	Why string
}

// Error implements error.
func (e *NotReadyError) Error() string {
	return fmt.Sprintf("%s: not ready: %s", e.Why, strings.Join(e.Needs, ", "))
}

// NotReady is a NotReadyError of kind fault.Unavailable.
func NotReady(why string, needs ...string) error {
	return fault.As(fault.Unavailable, &NotReadyError{Needs: needs, Why: why})
}

// decideReady is decide; what the fold lacks is made ready first.
func (p *partition) decideReady(ctx context.Context, lim limit) (*batch, error) {
	b, err := p.decide(ctx, lim)
	lack, ok := errors.AsType[*NotReadyError](err)
	if !ok || p.ports.Preparer == nil {
		return b, err
	}
	for _, need := range lack.Needs {
		if err := p.ports.Preparer.Prepare(ctx, need); err != nil {
			// Whatever kind it is of: the input is right, and what it needs was there once.
			return nil, fault.As(fault.Unavailable, fmt.Errorf("%s: %w", lack.Why, err))
		}
	}
	return p.decide(ctx, lim)
}

// lacks says whether an error of the fold is a NotReadyError.
func lacks(err error) bool {
	_, ok := errors.AsType[*NotReadyError](err)
	return ok
}

// prepare makes a revision ready and decides under it from now on. One that does not compile is not taken: the
// one before it stays in force, and what brings it brings nothing.
func (p *partition) prepare(ctx context.Context, revision string, order uint64) error {
	if p.ports.Preparer != nil && revision != p.revision {
		err := p.ports.Preparer.Prepare(ctx, revision)
		if fault.Of(err) == fault.Invalid && err != nil {
			p.refuse(ctx, revision, err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	if revision != p.revision {
		p.trial.begin(revision)
	}
	p.revision, p.order = revision, order
	return nil
}

// refuse goes on under the revision in force.
func (p *partition) refuse(ctx context.Context, revision string, why error) {
	p.refused = revision
	p.metrics.badCatalog(ctx)
	p.ports.Logger.Error("a catalog does not compile; the one before it stays in force",
		"stage", p.cfg.Spec.Name, "partition", p.number, "revision", revision, "in_force", p.revision, "error", why)
}

// brings says whether an item brings a revision that has to be taken. One whose message was late, so that one that
// was applied after it is in force already, is passed over.
func (p *partition) brings(it *item) bool {
	if it.revision == "" || it.revision == p.refused || it.order < p.order {
		return false
	}
	return it.revision != p.revision || it.order > p.order
}
