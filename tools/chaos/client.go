//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/rpc"
	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

const (
	// tryWithin bounds one try of a client, which then tries again with the same ids.
	tryWithin = 8 * time.Second
	// mostWaiting bounds the requests under way; what customers do beyond that is not sent.
	mostWaiting = 400
)

// request is events that are sent together, over HTTP, or over gRPC if there are messages.
type request struct {
	path, lane string
	body       []byte
	messages   []*eventv1.Event
	// events as the client's log notes them.
	events []ledger.Sent
}

// clients send requests until they are acknowledged, to any replica, and write down both.
type clients struct {
	world *world
	http  *http.Client
	slots chan struct{}
	wait  sync.WaitGroup

	mu    sync.Mutex
	last  time.Time // of an acknowledgement
	wrong []string
	calls []contactCall
}

func newClients(w *world) *clients {
	return &clients{
		world: w, slots: make(chan struct{}, mostWaiting), last: time.Now(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 5 * time.Second}},
	}
}

// do runs something beside everything else, unless too much is under way.
func (c *clients) do(what func()) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.world.tally.add("clients: not sent, too many waiting", 1)
		return
	}
	c.wait.Go(func() {
		defer func() { <-c.slots }()
		what()
	})
}

// send sends until it is acknowledged or ctx ends.
func (c *clients) send(ctx context.Context, random *rand.Rand, r request) {
	for _, e := range r.events {
		c.record(e)
	}
	began := time.Now()
	for tries := 0; ; tries++ {
		doors := c.world.of("ingest")
		positions, err := c.try(ctx, doors[random.IntN(len(doors))], r)
		if err == nil {
			c.acknowledged(r, positions)
			c.world.tally.took("clients: until acknowledged", time.Since(began))
			c.world.tally.add("clients: tries in vain", tries)
			return
		}
		if refusal, ok := errors.AsType[*refusalError](err); ok {
			c.complainf("the door refused %s: %s", r.events[0].ID, refusal.why)
			return
		}
		fleet.Pause(ctx, between(random, 50*time.Millisecond, 300*time.Millisecond))
		if ctx.Err() != nil {
			c.world.tally.add("clients: requests given up", 1)
			return
		}
	}
}

// refusalError says that an event is wrong, which none of ours is.
type refusalError struct{ why string }

func (e *refusalError) Error() string { return e.why }

var errNowhere = errors.New("it does not listen")

func (c *clients) try(ctx context.Context, door *replica, r request) ([]ledger.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	if len(r.messages) > 0 {
		return c.publish(ctx, door.Addr("grpc"), r)
	}
	return c.post(ctx, door.Addr("ingest-http"), r)
}

func (c *clients) post(ctx context.Context, addr string, r request) ([]ledger.Position, error) {
	if addr == "" {
		return nil, errNowhere
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+r.path, strings.NewReader(string(r.body)))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("chaos", "")
	if r.lane != "" {
		req.Header.Set("X-Refrain-Lane", r.lane)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask ingest: %w", err)
	}
	data, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var got struct {
		Error     string            `json:"error"`
		Refused   []json.RawMessage `json:"refused"`
		Positions []ledger.Position `json:"positions"`
	}
	err = json.Unmarshal(data, &got)
	switch {
	case res.StatusCode == http.StatusBadRequest || len(got.Refused) > 0:
		return nil, &refusalError{string(data)}
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ingest answers %s: %s", res.Status, got.Error)
	case err != nil:
		return nil, &refusalError{"the answer is not understood: " + err.Error()}
	}
	return got.Positions, nil
}

func (c *clients) publish(ctx context.Context, addr string, r request) ([]ledger.Position, error) {
	if addr == "" {
		return nil, errNowhere
	}
	conn, err := rpc.Dial(addr, rpc.ClientConfig{})
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer is there or not
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer chaos")
	answer, err := eventv1.NewIngestServiceClient(conn).PublishEvents(ctx, &eventv1.PublishEventsRequest{Events: r.messages})
	if err != nil {
		return nil, c.judge("publish", err)
	}
	var out []ledger.Position
	for _, res := range answer.GetResults() {
		if res.GetRefusal() != nil {
			return nil, &refusalError{res.GetRefusal().String()}
		}
		p := res.GetPosition()
		out = append(out, ledger.Position{Partition: int(p.GetPartition()), Lane: p.GetLane(), Sequence: p.GetSequence()})
	}
	return out, nil
}

// judge complains about errors that no fault outside of a service excuses.
func (c *clients) judge(what string, err error) error {
	code := status.Code(err)
	c.world.tally.add(fmt.Sprintf("clients: %s answered %s", what, code), 1)
	switch code { //nolint:exhaustive // the others are what faults look like
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unimplemented, codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied:
		c.complainf("%s: %v", what, err)
		return &refusalError{err.Error()}
	}
	return err
}

func (c *clients) acknowledged(r request, positions []ledger.Position) {
	now := time.Now()
	for _, e := range r.events {
		e.Acknowledged = now
		if len(r.events) == 1 && len(positions) == 1 {
			e.Position = &positions[0]
		}
		c.record(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.world.tally.took("clients: without any acknowledgement", now.Sub(c.last))
	c.last = now
}

func (c *clients) record(e ledger.Sent) {
	if err := c.world.sent.Sent(e); err != nil {
		c.complainf("%v", err)
	}
}

func (c *clients) complainf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < 50 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}
