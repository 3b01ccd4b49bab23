package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Config says whose keeper it is.
type Config struct {
	Settings

	// Spec of the stage in the log.
	Spec log.StageSpec
	// Generation of the log.
	Generation log.Generation
	// Replica names the process.
	Replica string
}

// Ports is what a keeper needs from outside.
type Ports struct {
	Broker  log.Broker
	KV      log.KV
	Objects log.Objects
	Store   state.Store
	Clock   clock.Clock
	Logger  *slog.Logger
	Meter   metric.MeterProvider
	Points  failpoint.Points
	// Decode of the stage.
	Decode Decode
	// Owned lists the partitions that this process owns and runs now.
	Owned func() []int
	// Waiting lists the partitions that this process is to own and could not take over yet; nil: there are none. They
	// are trimmed as well, and where their stream is pressed snapshots are taken of them: a full chain takes no new
	// owner before there is room.
	Waiting func() []int
	// Answered says whether nothing is left to do about a dead letter of the stage; nil: none is trimmed.
	Answered func(ctx context.Context, letter *stagev1.DeadLetter) (bool, error)
	// Pinned reads the stage's rows; nil if they name no catalogs.
	Pinned Pinned
	// Collect removes catalogs that nothing needs, where the owner of the first partition is to do that; nil elsewhere.
	Collect func(ctx context.Context) error
}

// Keeper builds the snapshots of the partitions that a process owns, trims the log behind them, compares the
// state store with them, and does what operators ask for. It works on one thing at a time.
type Keeper struct {
	cfg     Config
	ports   Ports
	library *Library
	records records
	trim    trimmer
	audit   auditor
	metrics *metrics

	owned  map[int]*upkeep
	turned int           // which partition is compared next
	next   time.Duration // when
	swept  time.Duration // when uploads that were broken off were last looked for; 0 if never
	gather time.Duration // when catalogs that nothing needs are looked for next
}

// upkeep is what a keeper knows of a partition that its process owns.
type upkeep struct {
	check   time.Duration // when it is looked at next
	builds  int           // since the take-over
	part    int           // that is compared next
	pins    time.Duration // when it is looked at next what it pins
	rebuilt time.Duration // when its states were last found wrong and thrown away; 0 if never
	asked   map[stagev1.UpkeepKind]string
}

// NewKeeper makes a keeper; it does nothing before Run.
func NewKeeper(cfg Config, ports Ports) *Keeper {
	cfg.Settings = cfg.Settings.WithDefaults()
	library := NewLibrary(ports.Objects, ports.KV, cfg.Generation.Number)
	r := records{broker: ports.Broker, clock: ports.Clock, decode: ports.Decode}
	return &Keeper{
		cfg: cfg, ports: ports, library: library, records: r, metrics: newMetrics(cfg.Spec.Name, ports.Meter),
		trim: trimmer{
			broker: ports.Broker, kv: ports.KV, library: library, points: ports.Points, spec: cfg.Spec, settings: cfg.Settings, now: ports.Clock.Now,
			answered: ports.Answered,
		},
		audit: auditor{library: library, records: r, store: ports.Store, spec: cfg.Spec},
		owned: map[int]*upkeep{},
	}
}

// Run works until ctx ends. What fails is logged and tried again; the stage does not depend on it.
func (k *Keeper) Run(ctx context.Context) {
	k.next, k.gather = k.ports.Clock.Elapsed()+k.cfg.Audit, k.ports.Clock.Elapsed()+k.cfg.Unused/8
	for clock.Sleep(ctx, k.ports.Clock, k.cfg.Look) == nil {
		k.turn(ctx)
	}
}

// turn does what is due.
func (k *Keeper) turn(ctx context.Context) {
	owned := k.ports.Owned()
	all := slices.Clone(owned)
	if k.ports.Waiting != nil {
		all = append(all, k.ports.Waiting()...)
	}
	k.adopt(all)
	k.answer(ctx, owned)
	for _, p := range all {
		if u := k.owned[p]; ctx.Err() == nil && k.ports.Clock.Elapsed() >= u.check {
			k.look(ctx, p)
			u.check = k.ports.Clock.Elapsed() + k.checkEvery()
		}
	}
	k.unused(ctx, owned)
	if len(owned) > 0 && ctx.Err() == nil && k.ports.Clock.Elapsed() >= k.next {
		k.next = k.ports.Clock.Elapsed() + k.cfg.Audit
		k.turned++
		k.compare(ctx, owned[k.turned%len(owned)])
	}
}

// unused sees to it that catalogs go that nothing needs.
func (k *Keeper) unused(ctx context.Context, owned []int) {
	for _, p := range owned {
		if u := k.owned[p]; k.ports.Pinned != nil && ctx.Err() == nil && k.ports.Clock.Elapsed() >= u.pins {
			k.note(ctx, "pin", p, k.pin(ctx, p))
			u.pins = k.ports.Clock.Elapsed() + k.cfg.Unused/4
		}
	}
	if k.ports.Collect != nil && slices.Contains(owned, 0) && ctx.Err() == nil && k.ports.Clock.Elapsed() >= k.gather {
		k.note(ctx, "collect", 0, k.ports.Collect(ctx))
		k.gather = k.ports.Clock.Elapsed() + k.cfg.Unused/8
	}
}

// adopt forgets what was known of partitions that are others' now.
func (k *Keeper) adopt(all []int) {
	now := map[int]*upkeep{}
	for _, p := range all {
		if now[p] = k.owned[p]; now[p] == nil {
			now[p] = &upkeep{asked: map[stagev1.UpkeepKind]string{}, pins: k.ports.Clock.Elapsed() + k.cfg.Unused/16}
		}
	}
	k.owned = now
}

// checkEvery is how often it is looked whether a partition needs a snapshot or can be trimmed.
func (k *Keeper) checkEvery() time.Duration {
	return max(k.cfg.Look, min(k.cfg.Every/16, time.Minute))
}

// owns says whether a partition is still this process's.
func (k *Keeper) owns(partition int) bool {
	return slices.Contains(k.ports.Owned(), partition)
}

// keeps says whether snapshots of a partition are still this process's to take: it owns it, or is to.
func (k *Keeper) keeps(partition int) bool {
	return k.owns(partition) || k.ports.Waiting != nil && slices.Contains(k.ports.Waiting(), partition)
}

// note logs what failed, unless the process ends.
func (k *Keeper) note(ctx context.Context, what string, partition int, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	k.metrics.failed(ctx, what)
	k.ports.Logger.Warn("upkeep waits", "stage", k.cfg.Spec.Name, "partition", partition, "what", what, "error", err)
}

// look takes a snapshot of a partition if one is due, and trims what can go.
func (k *Keeper) look(ctx context.Context, partition int) {
	due, err := k.due(ctx, log.Subject(k.cfg.Spec.Chain, partition), partition)
	if err == nil && due {
		_, err = k.build(ctx, partition)
	}
	k.note(ctx, "build", partition, err)
	k.note(ctx, "trim", partition, k.trim.chain(ctx, partition))
	k.note(ctx, "trim", partition, k.trim.inputs(ctx, partition))
	k.note(ctx, "trim", partition, k.trim.deadLetters(ctx, partition))
}

// due says whether a chain has moved on far enough, or for long enough, since its newest snapshot. One that has no
// owner moves on once there is one, unless its stream is too full for that.
func (k *Keeper) due(ctx context.Context, chain string, partition int) (bool, error) {
	press, err := pressure(ctx, k.ports.Broker, chain) // what is below snapshots can go: the fuller, the sooner
	if err != nil || press < 1 && !k.owns(partition) {
		return false, err
	}
	last, err := k.ports.Broker.Last(ctx, chain)
	if err != nil {
		return false, fmt.Errorf("read the end of %s: %w", chain, err)
	}
	listed, err := k.library.List(ctx, chain)
	if err != nil {
		return false, err
	}
	var newest stagev1.SnapshotListing
	if len(listed) > 0 {
		newest.Sequence, newest.At = listed[0].GetSequence(), listed[0].GetAt()
	}
	if last.Sequence <= newest.GetSequence() {
		return false, nil
	}
	// The stream's sequences count the records of all partitions in it.
	sharing := uint64(max(1, k.cfg.Generation.Partitions/max(1, k.cfg.Generation.Streams))) //nolint:gosec // at least 1
	if (last.Sequence-newest.GetSequence())/sharing >= uint64(k.cfg.Records) {              //nolint:gosec // positive
		return true, nil
	}
	age := k.ports.Clock.Elapsed()
	if at := newest.GetAt(); at != nil {
		age = k.ports.Clock.Now().Sub(at.AsTime()).Abs() // a clock that was far ahead must not stop snapshots
	}
	every := k.cfg.Every - k.cfg.Every/64*time.Duration(partition%8)
	return age >= max(eased(every, press), min(every, k.checkEvery())), nil
}

// build takes a snapshot of a partition at the chain's end, in several if the changes are many.
func (k *Keeper) build(ctx context.Context, partition int) (uint64, error) {
	ctx, cancel := k.ports.Clock.Within(ctx, k.cfg.Grace/2)
	defer cancel()
	chain := log.Subject(k.cfg.Spec.Chain, partition)
	last, err := k.ports.Broker.Last(ctx, chain)
	if err != nil {
		return 0, fmt.Errorf("read the end of %s: %w", chain, err)
	}
	base, err := k.library.Newest(ctx, chain)
	if err != nil {
		return 0, err
	}
	at := uint64(0)
	if base != nil {
		at = base.Listing.GetSequence()
	}
	for at < last.Sequence {
		next, err := k.step(ctx, partition, base, last.Sequence)
		if errors.Is(err, ErrDamaged) && base != nil && errors.Is(k.library.Verify(ctx, base), ErrDamaged) {
			err = errors.Join(err, k.library.Forget(ctx, chain, at)) // the next try builds on an older one
		}
		if err != nil {
			return at, err
		}
		base, at = next, next.Listing.GetSequence()
	}
	u := k.owned[partition]
	if u.builds%cleanEvery == 0 {
		k.note(ctx, "clean", partition, k.clean(ctx, chain))
	}
	u.builds++
	return at, nil
}

// cleanEvery is after how many snapshots of a partition its garbage is looked for.
const cleanEvery = 4

// errLost says that the process does not own the partition any more.
var errLost = errors.New("the partition has another owner")

// step builds one snapshot.
func (k *Keeper) step(ctx context.Context, partition int, base *Snapshot, upto uint64) (*Snapshot, error) {
	began := k.ports.Clock.Elapsed()
	chain := log.Subject(k.cfg.Spec.Chain, partition)
	after := state.Meta{}
	if base != nil {
		after = base.Meta()
	}
	d := NewDelta(after)
	if err := k.records.collect(ctx, chain, d, upto, k.cfg.Changes); err != nil {
		return nil, err
	}
	if !k.keeps(partition) {
		return nil, errLost
	}
	s, err := k.library.Build(ctx, Build{
		Chain: chain, Base: base, Delta: d, Owner: k.cfg.Replica, Now: k.ports.Clock.Now(), Part: k.cfg.Part, Keep: k.cfg.Keep, Points: k.ports.Points,
	})
	if err != nil {
		return nil, err
	}
	k.metrics.add(ctx, k.metrics.snapshots)
	k.ports.Logger.Info("snapshot taken", "stage", k.cfg.Spec.Name, "partition", partition, "sequence", s.Listing.GetSequence(),
		"rows", s.Listing.GetRows(), "bytes", s.Listing.GetSize(), "records", d.Records(), "took", (k.ports.Clock.Elapsed() - began).Round(time.Millisecond).String())
	return s, nil
}

// clean removes garbage of a chain, and now and then of uploads.
func (k *Keeper) clean(ctx context.Context, chain string) error {
	before := k.ports.Clock.Now().Add(-k.cfg.Grace)
	removed, err := k.library.Clean(ctx, chain, before)
	if removed > 0 {
		k.ports.Logger.Info("old snapshots removed", "chain", chain, "objects", removed)
	}
	if err != nil {
		return err
	}
	if now := k.ports.Clock.Elapsed(); k.swept == 0 || now-k.swept >= k.cfg.Grace {
		k.swept = now
		return k.library.Sweep(ctx, before)
	}
	return nil
}

// rebuildAtMost is how often the states of a partition are thrown away because they were found wrong.
const rebuildAtMost = time.Hour

// compare looks at the next part of a partition's newest snapshot. States that are wrong are thrown away; the
// owner makes them again.
func (k *Keeper) compare(ctx context.Context, partition int) {
	chain, u := log.Subject(k.cfg.Spec.Chain, partition), k.owned[partition]
	s, err := k.library.Newest(ctx, chain)
	if err != nil || s == nil || len(s.Index.GetParts()) == 0 {
		k.note(ctx, "compare", partition, err)
		return
	}
	shard := state.Shard{Stage: k.cfg.Spec.Name, Partition: partition}
	number := u.part % len(s.Index.GetParts())
	u.part = number + 1
	wrong, err := k.audit.part(ctx, shard, s, number)
	if errors.Is(err, ErrDamaged) {
		k.ports.Logger.Error("snapshot is damaged; it is not used any more", "chain", chain, "sequence", s.Listing.GetSequence(), "error", err)
		err = errors.Join(err, k.library.Forget(ctx, chain, s.Listing.GetSequence()))
	}
	if err != nil {
		k.note(ctx, "compare", partition, err)
		return
	}
	k.metrics.add(ctx, k.metrics.parts)
	if wrong == "" {
		return
	}
	k.metrics.add(ctx, k.metrics.mismatches)
	now := k.ports.Clock.Elapsed()
	k.ports.Logger.Error("states are not what the log led to", "stage", k.cfg.Spec.Name, "partition", partition, "why", wrong)
	if u.rebuilt != 0 && now-u.rebuilt < rebuildAtMost {
		k.ports.Logger.Error("states are wrong again soon after they were made again; they are left alone", "stage", k.cfg.Spec.Name, "partition", partition)
		return
	}
	u.rebuilt = now
	k.metrics.rebuilt(ctx, "wrong")
	k.note(ctx, "rebuild", partition, k.ports.Store.Reset(ctx, shard))
}
