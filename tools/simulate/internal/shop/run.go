package shop

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/source"
	"refrain.dev/tools/ledger"
)

// partitions of the simulated mesh.
const partitions = 2

// Options say how a run is watched.
type Options struct {
	// Trace is told of every step; nil: nobody is.
	Trace func(line string)
	// Logger of the services; nil: they are silent.
	Logger *slog.Logger
	// Watchdog is the real time that a step may take; 0 means the engine's default.
	Watchdog time.Duration
	// Beyond says that the schedule has a fault that the mesh need not survive: it must notice. Then nothing has
	// to come to rest, and only what is never excused is checked.
	Beyond bool
	// About prints, at the end, what all chains say about it: a proposal, a customer's id; empty: nothing.
	About string
}

// mesh is one run.
type mesh struct {
	*Bundles
	world    *simulate.World
	catalogs [2]*bundle // the first tenant's; the first applies from the begin
	others   []*bundle  // the second tenant's, if there is one
	gen      log.Generation
	seed     uint64
	schedule schedule.Schedule
	logger   *slog.Logger
	about    string
	clients  []*client
	desk     *providers
	beyond   bool
	archive  *ledger.Archive // what was trimmed is still in it
	reserved []string        // reservations that were answered
	removed  bool            // the second tenant has removed its definitions
	sent     []*ledger.Sent
}

// Run runs one seed with its schedule.
func (b *Bundles) Run(seed uint64, s schedule.Schedule, o Options) simulate.Result {
	w := simulate.New(simulate.Config{
		Seed: seed, Schedule: s, Trace: o.Trace, Begin: begin(seed), Time: time.Hour, Watchdog: o.Watchdog,
	})
	m := &mesh{Bundles: b, world: w, seed: seed, schedule: s, logger: o.Logger, about: o.About, beyond: o.Beyond}
	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}
	m.desk = newProviders(m)
	var err error
	if m.catalogs, err = b.pair(seed); err == nil && twoTenants(seed) {
		m.others, err = b.second(seed)
	}
	if err == nil {
		err = m.provision()
	}
	if err != nil {
		w.Violate(simulate.RuleScenario, err.Error())
		return w.Run(func(context.Context, *simulate.Process) error { return nil })
	}
	m.startServices()
	return w.Run(m.scenario)
}

// begin is the time of day at which a run begins: as a rule in the morning, and now and then a minute before
// quiet hours begin or end, or the day does.
func begin(seed uint64) time.Time {
	// As a rule an ordinary Monday; else clocks change that day, somewhere, or the year does.
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	if n := int(seed / 16 % 8); n < 4 { //nolint:gosec // less than 8
		day = []time.Time{
			time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC),
			time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC),
		}[n]
	}
	switch seed % 16 {
	case 3:
		return day.Add(19*time.Hour + 59*time.Minute + 30*time.Second)
	case 7:
		return day.Add(7*time.Hour + 59*time.Minute + 30*time.Second)
	case 11:
		return day.Add(14*time.Hour + 59*time.Minute + 30*time.Second) // midnight in Tokyo
	default:
		return day.Add(9*time.Hour + time.Duration(seed%7)*time.Hour/2)
	}
}

// provision makes the generation and applies the first catalog, before anything can go wrong.
func (m *mesh) provision() error {
	site := m.world.Log()
	secret := make([]byte, 32)
	copy(secret, "a secret of the simulated mesh")
	gen, err := log.Provision(context.Background(), site, log.Generation{
		Number: 1, Partitions: partitions, Streams: 1, Replicas: 1, Secret: secret,
	}, log.ProvisionConfig{Owner: "simulator", MaxBytes: m.streamSize()})
	if err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	m.gen, m.archive = gen, ledger.NewArchive(site, gen)
	for _, b := range m.catalogs {
		if err := source.Put(context.Background(), source.StoreOf(site), b.stored()); err != nil {
			return fmt.Errorf("store the catalog: %w", err)
		}
	}
	return source.Activate(context.Background(), source.StoreOf(site), site, partitions, m.catalogs[0].revision, m.world.Now())
}

// streamSize is how much fits into a stream; 0 is the standard.
func (m *mesh) streamSize() int64 {
	if small(m.seed) {
		return 96 << 10
	}
	return 0
}

// scenario lets the clients work, ends the faults, waits for quiet and checks.
func (m *mesh) scenario(ctx context.Context, p *simulate.Process) error {
	m.startClients()
	if !p.Until(ctx, clocksWrong, 250*time.Millisecond, m.clientsDone) {
		m.setClocks()
	}
	if !p.Until(ctx, 5*time.Minute, 250*time.Millisecond, m.clientsDone) && !m.beyond {
		return fmt.Errorf("the clients are not done after %s: %s", m.world.Elapsed(), m.waiting())
	}
	m.world.Calm()
	m.setClocks()
	if m.beyond {
		_ = p.Sleep(ctx, time.Minute)
		m.check()
		return nil
	}
	if !p.Until(ctx, 30*time.Minute, 500*time.Millisecond, m.quiet()) {
		return fmt.Errorf("the mesh does not come to rest: %s", m.unrest())
	}
	m.check()
	return nil
}

// clocksWrong is how long it takes an operator to see that clocks are wrong: where all of a service's are, it stands still,
// and in small streams so do the clients.
const clocksWrong = time.Minute

// setClocks makes every clock right again, as an operator would: while one is wrong nothing is sent there.
func (m *mesh) setClocks() {
	for _, name := range nodes() {
		m.world.Node(name, simulate.NodeConfig{}).SetClock()
	}
}

// skew is by how much the clocks of the run may have been apart without anything having to notice it: a process whose
// clock is off by more than clock.MaxSkew decides nothing, so no step of days is tolerated.
func (m *mesh) skew() time.Duration {
	total := time.Duration(0)
	for _, f := range m.schedule.Faults {
		switch f.What { //nolint:exhaustive // the rest leaves clocks alone
		case schedule.ClockStep:
			if f.For.Abs() <= 2*clock.MaxSkew { // one from behind the log's time to ahead of it
				total = min(total+f.For.Abs(), 2*clock.MaxSkew)
			}
		case schedule.ClockDrift:
			total += 200 * time.Millisecond // in as many seconds as clients are at work
		}
	}
	return total
}

// quiet returns a question: has nothing been stored for a while, and is nothing due soon?
func (m *mesh) quiet() func() bool {
	const soon = 6 * time.Minute
	still := 13 * time.Second
	if small(m.seed) { // a stage may wait for room until it was looked twice what can be trimmed
		still = 26 * time.Second
	}
	var before uint64
	since := m.world.Elapsed()
	return func() bool {
		if now := m.stored(); now != before {
			before, since = now, m.world.Elapsed()
		}
		return m.world.Elapsed()-since >= still && m.due(m.world.Now().Add(soon)) == 0
	}
}

// rules of the catalogs, by revision.
func (m *mesh) rules() map[string]*ledger.Definitions {
	all := map[string]*ledger.Definitions{"": m.catalogs[0].rules}
	for _, b := range m.allBundles() {
		all[b.revision] = b.rules
	}
	return all
}

// allBundles are all tenants' in this run.
func (m *mesh) allBundles() []*bundle { return append(m.catalogs[:], m.others...) }
