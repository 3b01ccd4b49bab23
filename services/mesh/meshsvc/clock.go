package meshsvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/window"
)

// clockKey keeps the one-way switch to the wall clock.
const clockKey = "clock"

// switched is what is recorded before the replay clock ends.
type switched struct {
	Mode string    `json:"mode"`
	At   time.Time `json:"at"` // the replay instant
	On   time.Time `json:"on"` // the wall clock's time
}

// wasSwitched says whether the mesh's replay has ended for good.
func wasSwitched(ctx context.Context, kv log.KV) (bool, error) {
	_, _, err := kv.Get(ctx, clockKey)
	if errors.Is(err, log.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the clock's state: %w", err)
	}
	return true, nil
}

// clockServer serves the replay clock.
type clockServer struct {
	stagev1.UnimplementedClockServiceServer

	replay     *stage.Replay
	kv         log.KV
	broker     log.Broker
	partitions int
}

func (m *Mesh) clockServer() *clockServer {
	return &clockServer{replay: m.replay, kv: m.deps.KV, broker: m.deps.Broker, partitions: m.deps.Generation.Partitions}
}

// GetClock implements stagev1.ClockServiceServer.
func (s *clockServer) GetClock(context.Context, *stagev1.GetClockRequest) (*stagev1.GetClockResponse, error) {
	st := s.replay.Status()
	mode := stagev1.ClockMode_CLOCK_MODE_REPLAY
	if st.Wall {
		mode = stagev1.ClockMode_CLOCK_MODE_WALL
	}
	return &stagev1.GetClockResponse{
		Mode: mode, Now: timestamppb.New(st.Now), Until: timestamppb.New(st.Until), Settled: st.Settled, Instants: st.Instants,
		Held: heldAt(st.Held), Open: st.Open,
	}, nil
}

func heldAt(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// usualWait is how long an advance waits until all is settled, if its caller does not say.
const usualWait = 5 * time.Second

// AdvanceClock implements stagev1.ClockServiceServer. It answers before its caller gives up waiting for it.
func (s *clockServer) AdvanceClock(ctx context.Context, r *stagev1.AdvanceClockRequest) (*stagev1.AdvanceClockResponse, error) {
	by, err := window.ParsePeriod(r.GetBy())
	if err != nil {
		return nil, fault.New(fault.Invalid, "by: %w", err)
	}
	until := s.replay.Advance(func(from time.Time) time.Time { return by.AddTo(from, time.UTC) })
	wait := usualWait
	if r.GetWait() != nil {
		wait = r.GetWait().AsDuration()
	}
	if by, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(by)*4/5)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	st := s.replay.Await(ctx)
	return &stagev1.AdvanceClockResponse{
		Until: timestamppb.New(until), Settled: st.Settled, Now: timestamppb.New(st.Now), Open: st.Open,
	}, nil
}

// SwitchToWall implements stagev1.ClockServiceServer.
func (s *clockServer) SwitchToWall(ctx context.Context, _ *stagev1.SwitchToWallRequest) (*stagev1.SwitchToWallResponse, error) {
	at, mended, err := s.switchToWall(ctx)
	if err != nil {
		return nil, err
	}
	return &stagev1.SwitchToWallResponse{At: timestamppb.New(at), Mended: mended}, nil
}

// switchToWall records the switch and then makes it. Chains that the replay left ahead of the present time are given
// that: on the machine's clock nothing would be decided in them until it has come so far.
func (s *clockServer) switchToWall(ctx context.Context) (at time.Time, mended uint32, err error) {
	if at, err = end(ctx, s.replay, s.kv); err != nil {
		return time.Time{}, 0, err
	}
	for _, spec := range log.Stages() {
		for p := range s.partitions {
			m, err := s.mend(ctx, log.Subject(spec.Chain, p))
			if err != nil {
				return at, mended, fault.As(fault.Unavailable, fmt.Errorf(
					"the replay ended, but not all chains are at the present time; run 'refrain clock mend': %w", err))
			}
			if !m.Now.IsZero() {
				mended++
			}
		}
	}
	return at, mended, nil
}

// mend tries again when the chain's owner is faster, as long as it makes its own way through what it had begun.
func (s *clockServer) mend(ctx context.Context, chain string) (m stage.Mending, err error) {
	for range mendTries {
		if m, err = stage.Mend(ctx, s.broker, clock.Wall{}, chain, "end of the replay"); fault.Of(err) != fault.Unavailable {
			break
		}
	}
	return m, err //nolint:wrapcheck // says it all
}

// mendTries bounds the tries for one chain.
const mendTries = 10

// end records that the replay ends, and ends it.
func end(ctx context.Context, replay *stage.Replay, kv log.KV) (time.Time, error) {
	value, err := json.Marshal(switched{Mode: ClockWall, At: replay.Now(), On: time.Now()})
	if err != nil {
		return time.Time{}, fmt.Errorf("encode the switch: %w", err)
	}
	if err := kv.Put(ctx, clockKey, value); err != nil {
		return time.Time{}, fmt.Errorf("record the switch to the wall clock: %w", err)
	}
	return replay.Switch(), nil
}

// SwitchToWall ends the replay clock for good and returns the instant at which it ended. The mesh must have
// one.
func (m *Mesh) SwitchToWall(ctx context.Context) (time.Time, error) {
	at, _, err := m.clockServer().switchToWall(ctx)
	return at, err
}
