package simulate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate/schedule"
)

// operation is one use of a port.
type operation struct {
	class schedule.Class
	name  string
	on    string
	size  int
	// write says that it changes something, doubles that it may come twice.
	write, doubles bool
	// keep makes the effect independent of what the caller may change after it was answered; may be nil.
	keep func()
	// part does the first n pieces of the effect, for Partial.
	part func(n int)
}

// The operations that a fault knows by name.
const (
	opAppend  = "append"
	opApply   = "apply"
	opRestore = "restore"
)

// errNoAnswer says that an outside call was not answered; it may have been done.
var errNoAnswer = errors.New("no answer")

// do is one port operation: others run before and after it, and it meets its fault.
func (p *Process) do(ctx context.Context, o operation, effect func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	co := p.enter()
	if co == nil {
		return effect()
	}
	co.park()
	if err := ctx.Err(); err != nil {
		return o.unanswered(err)
	}
	p.world.operation(p, o)
	hit := p.world.faults.hit(p, &o)
	if hit != nil {
		return p.suffer(ctx, o, hit, effect)
	}
	err := effect()
	co.park()
	if err == nil && o.write && ctx.Err() != nil {
		return o.unanswered(ctx.Err())
	}
	return err
}

// suffer does an operation under a fault.
func (p *Process) suffer(ctx context.Context, o operation, a *active, effect func() error) error {
	switch a.What { //nolint:exhaustive // the rest does not hit operations
	case schedule.Lost, schedule.LostRead:
	case schedule.Applied:
		_ = effect()
	case schedule.Late:
		p.world.faults.later(a.For, o, effect)
	case schedule.Partial:
		o.part(max(a.Count, 1))
	case schedule.Double:
		err := effect()
		_ = effect()
		p.let()
		return err
	case schedule.Slow:
		if err := p.delay(ctx, a.For); err != nil {
			if o.write { // it is on its way
				p.world.faults.later(a.For/2, o, effect)
			}
			return o.unanswered(err)
		}
		err := effect()
		p.let()
		return err
	case schedule.Pending:
		p.let()
		return fault.As(fault.Unavailable, log.ErrPending)
	case schedule.Full:
		p.let()
		return fault.As(fault.Unavailable, log.ErrFull)
	default:
		p.let()
		return o.unanswered(nil)
	}
	return p.silence(ctx, o)
}

// patience is how long a client waits for an answer that does not come.
const patience = 2 * time.Second

// silence waits for an answer that does not come: until the connection breaks, or the client gives up.
func (p *Process) silence(ctx context.Context, o operation) error {
	d := patience
	if p.world.rng.IntN(2) == 0 {
		d = time.Duration(p.world.rng.Int64N(int64(10 * time.Millisecond)))
	}
	return o.unanswered(p.delay(ctx, d))
}

// unanswered is the error of an operation of which nothing is known; cause may be nil.
func (o *operation) unanswered(cause error) error {
	err := fault.New(fault.Unavailable, "%s %s: no answer", o.name, o.on)
	switch o.class { //nolint:exhaustive // the rest has no error of its own
	case schedule.Log, schedule.KV, schedule.Lease, schedule.Object:
		err = fault.As(fault.Unavailable, fmt.Errorf("%s %s: %w", o.name, o.on, log.ErrUnknown))
	case schedule.Outside:
		err = fault.As(fault.Unavailable, fmt.Errorf("%s %s: %w", o.name, o.on, errNoAnswer))
	}
	if cause != nil {
		return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", err, cause))
	}
	return err
}

// Outside is a call to something that the engine does not know, such as a provider: effect is what it does
// there, and runs at most once or, when the call is repeated on the way, twice. Others run before and after it.
// It meets the faults of the class "out" and the call's name. An error that is not effect's means that nothing
// is known: effect may have run, or may still run. effect must not use the process.
func (p *Process) Outside(ctx context.Context, name string, size int, effect func() error) error {
	return p.do(ctx, operation{class: schedule.Outside, name: "call", on: name, size: size, write: true, doubles: true}, effect)
}
