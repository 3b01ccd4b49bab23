package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

const (
	// maxStale is how old the view may be that a send rests on.
	maxStale = 5 * time.Second
	// pingEvery is how often a partition is pinged while there is something to send.
	pingEvery = time.Second
	// freshWithin is how long a send waits for a fresh view.
	freshWithin = 4 * time.Second
	profileName = "profile"
	// maxSkew is by how much our clock may differ from the time at which the broker stored our own fresh
	// append; beyond it quiet hours and expiry would be judged wrongly, and nobody is contacted.
	maxSkew = 2 * time.Second
)

var (
	// errStale says that no fresh view of the profile could be had.
	errStale = errors.New("the view of the profile is stale")
	// errSkew says that this machine's clock is not the log's.
	errSkew = errors.New("the clock of this machine differs from the log's")
)

// freshness reads profiles and knows how old what it reads is. A ping in the control lane that was
// appended at m0 (by our own monotonic clock) and is covered by the profile stage proves that everything
// acknowledged before m0 is in the row. Neither clocks of other machines nor the age of the row matter.
type freshness struct {
	reader Reader
	pinger Pinger
	clock  clock.Clock
	owner  string
	// released says that inputs are released instant by instant (the replay clock): then the rows of an
	// instant are complete before anything is sent in it, and what arrived for later instants must not count.
	released func() bool

	mu    sync.Mutex
	pings map[int]*pings
}

// pings of one partition.
type pings struct {
	mu   sync.Mutex
	sent []sentPing // oldest first, all younger than maxStale when the last was sent
}

type sentPing struct {
	sequence uint64
	at       time.Time
}

func newFreshness(reader Reader, pinger Pinger, clock clock.Clock) *freshness {
	return &freshness{
		reader: reader, pinger: pinger, clock: clock,
		released: func() bool { return false }, pings: map[int]*pings{},
	}
}

// profile reads the profile in a row, not older than maxStale. It is nil if there is none. errStale is
// wrapped with why no fresh view could be had in time.
func (f *freshness) profile(ctx context.Context, partition int, key string) (*profilev1.Profile, error) {
	ctx, cancel := context.WithTimeout(ctx, freshWithin)
	defer cancel()
	var last error
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if !f.released() {
			last = errors.Join(last, f.ping(ctx, partition))
		}
		row, fresh, err := f.read(ctx, partition, key)
		if err == nil && fresh {
			return decodeProfile(row)
		}
		if err != nil {
			last = err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(errStale, last)
		case <-timer.C:
		}
	}
}

func (f *freshness) read(ctx context.Context, partition int, key string) (row []byte, fresh bool, err error) {
	view, err := f.reader.Read(ctx, partition, state.Query{
		Metas: []string{profileName}, Rows: []state.Row{{Stage: profileName, Key: key}},
	})
	if err != nil {
		return nil, false, fmt.Errorf("read profile: %w", err)
	}
	meta := view.Metas[profileName]
	if meta.Applied == 0 {
		return nil, false, nil
	}
	if f.released() {
		return view.Rows[0], true, nil
	}
	asOf := f.of(partition).covered(meta.Origins[log.LaneControl])
	return view.Rows[0], !asOf.IsZero() && time.Since(asOf) <= maxStale, nil
}

func (f *freshness) of(partition int) *pings {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pings[partition] == nil {
		f.pings[partition] = &pings{}
	}
	return f.pings[partition]
}

// ping appends a ping unless the last one is younger than pingEvery.
func (f *freshness) ping(ctx context.Context, partition int) error {
	p := f.of(partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	m0 := time.Now()
	if n := len(p.sent); n > 0 && m0.Sub(p.sent[n-1].at) < pingEvery {
		return nil
	}
	now := timestamppb.New(f.clock.Now())
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: now, At: now, Item: &stagev1.Arrival_Ping{Ping: &stagev1.Ping{Owner: f.owner}},
	}}}).MarshalVT()
	if err != nil {
		return fmt.Errorf("encode ping: %w", err)
	}
	subject := log.Subject(log.Lane(log.LaneControl), partition)
	sequence, err := f.pinger.Publish(ctx, subject, data)
	if err != nil {
		return fmt.Errorf("publish ping: %w", err)
	}
	stored, err := f.pinger.Get(ctx, subject, sequence)
	if err != nil {
		return fmt.Errorf("read ping back: %w", err)
	}
	if early, late := m0.Sub(stored.Time), time.Until(stored.Time); early > maxSkew || late > maxSkew {
		return fmt.Errorf("%w by %s; sending stops until it is set", errSkew, max(early, late).Round(time.Millisecond))
	}
	for len(p.sent) > 0 && m0.Sub(p.sent[0].at) > maxStale {
		p.sent = p.sent[1:]
	}
	p.sent = append(p.sent, sentPing{sequence: sequence, at: m0})
	return nil
}

// covered is when the newest ping was sent that a position covers; zero if none is.
func (p *pings) covered(position uint64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ping := range slices.Backward(p.sent) {
		if ping.sequence <= position {
			return ping.at
		}
	}
	return time.Time{}
}

func decodeProfile(row []byte) (*profilev1.Profile, error) {
	if row == nil {
		return nil, nil
	}
	p := &profilev1.Profile{}
	if err := p.UnmarshalVT(row); err != nil {
		return nil, fmt.Errorf("decode profile: %w", err)
	}
	return p, nil
}
