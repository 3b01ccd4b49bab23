package ingestsvc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

const (
	// burstUnderWay is how many events of a partition and lane may be under way before the stages' pace is known: an
	// idle mesh takes them in about two seconds.
	burstUnderWay = 2000
	// leastUnderWay is how many may be whatever the pace.
	leastUnderWay = 50
)

// flows is what this process has under way, by lane and partition, and asks how far the stages have come.
// The control lane has no flow: nothing stops it.
type flows struct {
	log        gauges
	clock      clock.Clock
	every      time.Duration
	metrics    *metrics
	logger     *slog.Logger
	live, bulk *overload.Flows
	partitions int

	wake    chan struct{} // signalled when something was stored
	turn    int           // the partition to begin with at the next look
	failing bool          // the last look found something that could not be read
}

func newFlows(cfg Config, deps run.Deps, m *metrics) *flows {
	live := overload.Limits{Reason: overload.PartitionLags, Wait: cfg.MaxWait.Std(), Lag: cfg.MaxLag.Std(), Burst: burstUnderWay, Least: leastUnderWay}
	bulk := overload.Limits{Reason: overload.BulkWaits, Wait: cfg.BulkMaxWait.Std(), Lag: cfg.MaxLag.Std(), Burst: burstUnderWay, Least: leastUnderWay}
	n := deps.Generation.Partitions
	return &flows{
		log: deps.Broker, clock: deps.Clock, every: cfg.LookEvery.Std(), metrics: m, logger: deps.Logger,
		live: overload.NewFlows(n, live), bulk: overload.NewFlows(n, bulk), partitions: n, wake: make(chan struct{}, 1),
	}
}

// of is an address's flow; nil for the control lane.
func (f *flows) of(a address) *overload.Flow {
	switch a.lane {
	case log.LaneLive:
		return f.live.Of(a.partition)
	case log.LaneBulk:
		return f.bulk.Of(a.partition)
	}
	return nil
}

// take takes n events for an address, or says why not. Live events go before bulk ones.
func (f *flows) take(to address, n int) *overload.RefusedError {
	flow := f.of(to)
	if flow == nil {
		return nil
	}
	if to.lane == log.LaneBulk && f.live.Of(to.partition).Crowded() {
		return &overload.RefusedError{
			Reason: overload.BulkWaits, After: f.every * 10,
			Why: fmt.Sprintf("the bulk lane of partition %d makes room for live events", to.partition),
		}
	}
	return flow.Take(n, f.clock.Elapsed())
}

// force takes n events for an address whatever is under way.
func (f *flows) force(to address, n int) {
	if flow := f.of(to); flow != nil {
		flow.Force(n)
	}
}

// settle says what became of n events that were taken.
func (f *flows) settle(to address, n int, sequence uint64, err error) {
	flow := f.of(to)
	if flow == nil {
		return
	}
	if err != nil {
		flow.Failed(n)
		return
	}
	flow.Stored(n, sequence, f.clock.Elapsed())
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// local says that most partitions of a lane have plenty of room: what is refused there is some partition's own
// trouble.
func (f *flows) local(lane string) bool {
	crowded := f.live.Crowded()
	if lane == log.LaneBulk {
		crowded = max(crowded, f.bulk.Crowded())
	}
	return crowded <= max(1, f.partitions/4)
}

// closed is why nothing of a lane is taken in any partition; nil if something is.
func (f *flows) closed(lane string) *overload.RefusedError {
	now := f.clock.Elapsed()
	if r := f.live.Closed(now); r != nil || lane != log.LaneBulk {
		return r
	}
	return f.bulk.Closed(now)
}

// run looks until ctx ends, as long as something is under way.
func (f *flows) run(ctx context.Context) error {
	for {
		wait := f.every
		if !f.look(ctx) {
			wait = clock.Forever
		}
		var wakes []<-chan struct{}
		if wait == clock.Forever {
			wakes = append(wakes, f.wake)
		}
		if _, err := f.clock.Wait(ctx, wait, wakes...); err != nil {
			return nil //nolint:nilerr // told to stop
		}
	}
}

const (
	// looksAtOnce is how many partitions are asked at a time, mostLooks how many at one look.
	looksAtOnce, mostLooks = 8, 256
)

// look asks how far the stages have come where something is under way, round robin if that is in very many
// partitions. False means that nothing is under way.
func (f *flows) look(ctx context.Context) bool {
	var waiting []int
	for n := range f.partitions {
		p := (f.turn + n) % f.partitions
		if f.live.Of(p).Waiting() || f.bulk.Of(p).Waiting() {
			waiting = append(waiting, p)
		}
	}
	if len(waiting) > mostLooks {
		f.turn = waiting[mostLooks]
		waiting = waiting[:mostLooks]
	}
	if err := f.ask(ctx, waiting); (err != nil) != f.failing && ctx.Err() == nil {
		f.failing = err != nil
		f.logger.WarnContext(ctx, "looking at how far the stages are", "failing", f.failing, telemetry.KeyError, err)
	}
	age, _ := f.live.Oldest(f.clock.Elapsed())
	f.metrics.lags(ctx, age)
	return len(waiting) > 0
}

// ask updates the flows of partitions. It asks all of them; the error is one of those there were.
func (f *flows) ask(ctx context.Context, partitions []int) error {
	ctx, cancel := f.clock.Within(ctx, lookWithin)
	defer cancel()
	var mu sync.Mutex
	var failed error
	g := clock.NewGroup(f.clock, looksAtOnce)
	for _, p := range partitions {
		g.Go(func() error {
			origins, err := f.through(ctx, p)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
				return nil
			}
			now := f.clock.Elapsed()
			f.live.Of(p).Covered(origins[log.LaneLive], now)
			f.bulk.Of(p).Covered(origins[log.LaneBulk], now)
			return nil
		})
	}
	if err := g.Wait(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("look at the stages: %w", err)
	}
	return failed
}

// lookWithin bounds one look.
const lookWithin = 5 * time.Second

// lastStage is the stage behind which an event is through: what dispatch does is up to channels.
const lastStage = "suppression"

// through reads how far each lane of a partition has come through all stages up to suppression.
func (f *flows) through(ctx context.Context, partition int) (map[string]uint64, error) {
	last, err := f.log.Last(ctx, log.Subject(log.Stage(lastStage).Chain, partition))
	if err != nil {
		return nil, fmt.Errorf("read the last record of partition %d: %w", partition, err)
	}
	record := &stagev1.Record{}
	if err := record.UnmarshalVT(last.Data); err != nil {
		return nil, fmt.Errorf("decode the last record of partition %d: %w", partition, err)
	}
	origins := map[string]uint64{}
	for _, o := range record.GetOrigins() {
		origins[o.GetLane()] = o.GetSequence()
	}
	return origins, nil
}
