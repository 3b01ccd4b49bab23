//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/rpc"
	"refrain.dev/tools/internal/fleet"
)

// contactCall is what a caller who makes its own contacts was told about one of them.
type contactCall struct {
	ID string `json:"id"`
	// Reserved: room was taken. Committed and Released: that was confirmed. Gone: the reservation was over.
	Reserved, Committed, Released, Gone bool
}

// callFor is how long a caller asks again until it has an answer.
const callFor = 20 * time.Second

// reserve takes room for a contact, and mostly uses it or gives it back.
func (t *traffic) reserve(ctx context.Context) {
	c := t.clients
	call := contactCall{ID: fmt.Sprintf("call-%06d", t.next())}
	who := &eventv1.Identifier{Kind: "user_id", Value: userOf(t.someone())}
	then, random := t.random.IntN(5), rand.New(rand.NewPCG(t.random.Uint64(), 2)) //nolint:gosec // choices of a test
	c.do(func() {
		err := c.ask(ctx, random, "suppression", "reserve", func(ctx context.Context, conn *grpc.ClientConn) error {
			answer, err := contactv1.NewContactServiceClient(conn).Reserve(ctx, &contactv1.ReserveRequest{
				Identifier: who, Id: call.ID, Contact: &contactv1.Contact{Action: "call", Channel: "email", Purpose: "marketing", Topic: "news"},
			})
			call.Reserved = answer.GetKind() == contactv1.VerdictKind_VERDICT_KIND_APPROVED
			return err
		})
		switch {
		case err != nil || !call.Reserved:
		case then == 0:
			call.Released = c.ask(ctx, random, "suppression", "release", func(ctx context.Context, conn *grpc.ClientConn) error {
				_, err := contactv1.NewContactServiceClient(conn).Release(ctx, &contactv1.ReleaseRequest{Identifier: who, Id: call.ID})
				return err
			}) == nil
		case then > 1:
			err := c.ask(ctx, random, "suppression", "commit", func(ctx context.Context, conn *grpc.ClientConn) error {
				_, err := contactv1.NewContactServiceClient(conn).Commit(ctx, &contactv1.CommitRequest{Identifier: who, Id: call.ID})
				return err
			})
			call.Committed, call.Gone = err == nil, status.Code(err) == codes.NotFound
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls = append(c.calls, call)
	})
}

// query asks for the next best action, now and then with room reserved for it.
func (t *traffic) query(ctx context.Context) {
	who, reserve := &eventv1.Identifier{Kind: "user_id", Value: userOf(t.someone())}, t.random.IntN(4) == 0
	random := rand.New(rand.NewPCG(t.random.Uint64(), 3)) //nolint:gosec // choices of a test
	c := t.clients
	c.do(func() {
		_ = c.ask(ctx, random, "decision", "query", func(ctx context.Context, conn *grpc.ClientConn) error {
			answer, err := decisionv1.NewDecisionServiceClient(conn).NextBestActions(ctx, &decisionv1.NextBestActionsRequest{
				Identifier: who, Placement: "home", Reserve: reserve,
			})
			if err == nil && len(answer.GetDegraded()) > 0 {
				c.world.tally.add("clients: queries answered degraded", 1)
			}
			return err
		})
	})
}

// ask asks any replica of a service until there is an answer, for some time.
func (c *clients) ask(ctx context.Context, random *rand.Rand, service, what string, do func(context.Context, *grpc.ClientConn) error) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	for {
		replicas := c.world.of(service)
		err := c.once(ctx, replicas[random.IntN(len(replicas))], what, do)
		_, wrong := errors.AsType[*refusalError](err)
		if err == nil || wrong || status.Code(err) == codes.NotFound {
			return err
		}
		fleet.Pause(ctx, between(random, 50*time.Millisecond, 300*time.Millisecond))
		if ctx.Err() != nil {
			return err
		}
	}
}

func (c *clients) once(ctx context.Context, r *replica, what string, do func(context.Context, *grpc.ClientConn) error) error {
	addr := r.Addr("grpc")
	if addr == "" {
		return errNowhere
	}
	conn, err := rpc.Dial(addr, rpc.ClientConfig{})
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the answer is there or not
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := do(ctx, conn); err != nil {
		return c.judge(what, err)
	}
	c.world.tally.add("clients: "+what+" answered", 1)
	return nil
}
