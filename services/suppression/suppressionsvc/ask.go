package suppressionsvc

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/stage"
)

const (
	// askTries bounds how often a request is put to whoever owns its partition. With the pauses between them
	// it outlasts a partition that moves, not a replica that is lost.
	askTries   = 8
	firstPause = 50 * time.Millisecond
	lastPause  = 500 * time.Millisecond
	// passWithin bounds one try with another replica, which may be stopped and say nothing.
	passWithin = 2 * time.Second
	// askAgainAfter is what callers are told when nobody could be asked.
	askAgainAfter = time.Second
)

// asking is a request for the ledger: in the words of the own fold, and in those of another replica's service.
type asking struct {
	id   string // by which the fold knows a repeat
	body request
	held bool // it is about a reservation that was made before
	pass func(context.Context, contactv1.ContactServiceClient) (any, error)
}

// ask puts a request to the fold of the customer's partition, wherever that is owned. While nobody owns it, or
// what became of the request is not known, it is put again: the id makes a repeat harmless.
func (e *engine) ask(ctx context.Context, tenant string, id *eventv1.Identifier, a asking) (any, error) {
	pause := firstPause
	for n := 1; ; n++ {
		who, err := e.find(ctx, tenant, id) // anew each time: a profile may be closed for another meanwhile
		if a.held && fault.Of(err) == fault.NotFound {
			// Who holds a reservation was known when it was made, so the view that does not know the customer may be an old
			// one, and "not found" would say that the reservation is gone.
			return nil, rpc.WithRetryAfter(fault.New(fault.Unavailable, "find the customer of the reservation: %w", err), askAgainAfter)
		}
		if err != nil {
			return nil, err
		}
		reply, err := e.try(ctx, who, a)
		if fault.Of(err) != fault.Unavailable {
			return reply, err
		}
		err = rpc.WithRetryAfter(err, askAgainAfter)
		if n == askTries || isPassedOn(ctx) {
			return nil, err
		}
		if clock.Sleep(ctx, e.clock, pause) != nil {
			return nil, err // that it is unavailable says more than that the time is over
		}
		pause = min(2*pause, lastPause)
	}
}

// try asks once: the owner, or the own fold if that is it, or if nobody knows, or if another replica says so.
func (e *engine) try(ctx context.Context, who customer, a asking) (any, error) {
	if !isPassedOn(ctx) {
		peer, err := e.peers.Owner(who.partition)
		if err != nil {
			return nil, fault.As(fault.Unavailable, err)
		}
		if peer != nil {
			return e.passOn(ctx, who, peer, a)
		}
	}
	reply, err := e.owner.Do(ctx, who.partition, stage.Request{ID: a.id, Key: who.key, At: e.clock.Now(), Body: a.body})
	if err != nil {
		return nil, fmt.Errorf("ask the ledger: %w", err)
	}
	return reply, nil
}

// passOn asks another replica. What it refuses is refused with its own words.
func (e *engine) passOn(ctx context.Context, who customer, peer contactv1.ContactServiceClient, a asking) (any, error) {
	within, cancel := e.clock.Within(ctx, passWithin)
	defer cancel()
	reply, err := a.pass(mark(within), peer)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("ask the owner of partition %d: %w", who.partition, ctx.Err())
	}
	kinded := rpc.FromStatus(err)
	if fault.Of(kinded) == fault.Unavailable {
		return nil, fault.New(fault.Unavailable, "ask the owner of partition %d: it answers %s", who.partition, status.Code(err))
	}
	return nil, refusal{error: kinded, said: status.Convert(err)}
}

// refusal is what another replica answered: our caller gets the same, and we know its kind.
type refusal struct {
	error

	said *status.Status
}

// GRPCStatus gives it to gRPC.
func (r refusal) GRPCStatus() *status.Status { return r.said }

// Unwrap gives the error with its kind.
func (r refusal) Unwrap() error { return r.error }
