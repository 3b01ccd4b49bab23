package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
)

const (
	// readers are customers who only look.
	readers = 64
	// manyCallers ask at the same time in the second query figure.
	manyCallers = 16
	// callsEach is how many calls a caller makes between two looks at the clock.
	callsEach = 25
)

// echo answers every query with the same bytes.
type echo struct {
	decisionv1.UnimplementedDecisionServiceServer

	answer *decisionv1.NextBestActionsResponse
}

// NextBestActions implements decisionv1.DecisionServiceServer.
func (e *echo) NextBestActions(context.Context, *decisionv1.NextBestActionsRequest) (*decisionv1.NextBestActionsResponse, error) {
	return e.answer, nil
}

// startEcho serves the echo as a mesh serves its queries: by pkg/rpc, on loopback.
func startEcho(ctx context.Context, answer *decisionv1.NextBestActionsResponse) (*grpc.ClientConn, func() error, error) {
	server, err := rpc.NewServer(rpc.ServerConfig{})
	if err != nil {
		return nil, nil, err
	}
	decisionv1.RegisterDecisionServiceServer(server, &echo{answer: answer})
	l, err := run.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	serveCtx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeUntil(serveCtx, l) }()
	conn, err := rpc.Dial(l.Addr().String(), rpc.ClientConfig{})
	if err != nil {
		cancel()
		return nil, nil, errors.Join(err, <-ended)
	}
	return conn, func() error {
		err := conn.Close()
		cancel()
		return errors.Join(err, <-ended)
	}, nil
}

func question(n int) *decisionv1.NextBestActionsRequest {
	return &decisionv1.NextBestActionsRequest{
		Identifier: &eventv1.Identifier{Kind: "user_id", Value: fmt.Sprint("reader-", n%readers)}, Placement: placement,
	}
}

// queries compares asking what to do with asking for bytes.
func queries(ctx context.Context, m *running, _ string) (*suite, error) {
	var names []string
	for n := range readers {
		names = append(names, fmt.Sprint("reader-", n))
	}
	if err := m.newCustomers(ctx, names); err != nil {
		return nil, err
	}
	conn, err := rpc.Dial(m.Addr("grpc").String(), rpc.ClientConfig{})
	if err != nil {
		return nil, err
	}
	ours := &asker{client: decisionv1.NewDecisionServiceClient(conn)}
	answer, err := ours.client.NextBestActions(ctx, question(0))
	if err == nil && len(answer.GetItems()) != 1 {
		err = fmt.Errorf("the mesh answers a query with %v", answer)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	bareConn, closeEcho, err := startEcho(ctx, answer)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	bare := &asker{client: decisionv1.NewDecisionServiceClient(bareConn)}
	s := &suite{close: func() error { return errors.Join(closeEcho(), conn.Close()) }}
	for _, callers := range []int{1, manyCallers} {
		s.figures = append(s.figures, figure{
			name: fmt.Sprintf("query, callers: %d", callers), unit: "query",
			ours: side{what: "NextBestActions over gRPC, eight candidates", step: ours.ask(callers)},
			bare: side{what: "an echo of the same messages through the same server package and codec", step: bare.ask(callers)},
			note: func() string {
				return fmt.Sprintf("%d of %d answers so far were degraded (deadline, stale view).", ours.degraded.Load(), ours.asked.Load())
			},
		})
	}
	return s, nil
}

// asker asks and counts.
type asker struct {
	client          decisionv1.DecisionServiceClient
	asked, degraded atomic.Int64
}

// ask lets several callers ask at the same time, each one question after the other.
func (a *asker) ask(callers int) step {
	return func(ctx context.Context) (int, error) {
		var asking sync.WaitGroup
		errs := make([]error, callers)
		for c := range callers {
			asking.Go(func() {
				for n := range callsEach {
					answer, err := a.client.NextBestActions(ctx, question(c*callsEach+n))
					if err != nil {
						errs[c] = err
						return
					}
					a.asked.Add(1)
					if len(answer.GetDegraded()) > 0 {
						a.degraded.Add(1)
					}
				}
			})
		}
		asking.Wait()
		return callers * callsEach, errors.Join(errs...)
	}
}
