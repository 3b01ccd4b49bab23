package suppressionsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/membership"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

const (
	sharedPartitions = 8
	shoppers         = 400
	replicaTTL       = 2 * time.Second
	replicaHold      = time.Second
)

// shop is several replicas of the service over one log on NATS and one store.
type shop struct {
	*mesh

	site     *log.JetStream
	replicas map[string]*shopReplica
	asked    atomic.Int64
	running  sync.WaitGroup
}

// shopReplica is one of them: service, membership and gRPC server, with a way to the broker that can be cut.
type shopReplica struct {
	name   string
	cut    *gate
	group  *membership.Group
	conn   run.Conn
	stop   context.CancelFunc
	ended  chan struct{}
	failed chan error
}

func newShop(t *testing.T) *shop {
	t.Helper()
	server, err := embed.StartNATS(embed.NATSConfig{Dir: t.TempDir(), DontListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	site, err := log.NewJetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	gen, err := log.Provision(t.Context(), site, log.Generation{Number: 1, Partitions: sharedPartitions, Streams: 1, Replicas: 1},
		log.ProvisionConfig{Owner: "test", MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{site: site, replicas: map[string]*shopReplica{}, mesh: &mesh{
		t: t, stages: map[string]*stage.Stage{}, hasher: identity.NewHasher(gen.Secret, gen.Partitions),
		deps: run.Deps{
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
			Broker: site, KV: site.KV(), Bundles: source.StoreOf(site), Store: state.NewMemory(), Generation: gen, Runner: stage.NewFreeRunner(), Clock: clock.Wall{},
			Ready: func(string, bool) {}, Dial: func(address string) (run.Conn, error) { return rpc.Dial(address, rpc.ClientConfig{}) },
		},
	}}
	s.neighbours()
	s.apply("r1", oneMailPerWeek())
	return s
}

// neighbours run the stages before suppression, each by one process that owns all.
func (s *shop) neighbours() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(func() { cancel(); s.running.Wait() })
	var up sync.WaitGroup
	for _, name := range []string{"profile", "decision"} {
		up.Add(1)
		n := stage.New(stage.Config{Spec: log.Stage(name), Generation: s.deps.Generation, Replica: "neighbour"}, neighbour{}, stage.Ports{
			Broker: s.deps.Broker, KV: s.deps.KV, Store: s.deps.Store, Clock: s.deps.Clock, Logger: s.deps.Logger, Tracer: s.deps.Tracer,
			Meter: s.deps.Meter, Ready: up.Done,
		})
		s.stages[name] = n
		s.running.Go(func() {
			if err := s.deps.Runner.Run(ctx, n); err != nil {
				s.t.Errorf("%s: %v", name, err)
			}
		})
	}
	up.Wait()
}

func shopper(n int) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "user_id", Value: fmt.Sprintf("shopper-%d", n)}
}

// populate makes all shoppers known, with consent.
func (s *shop) populate() {
	s.t.Helper()
	group := clock.NewGroup(s.deps.Clock, 16)
	for n := range shoppers {
		id := s.hasher.ID("default", shopper(n))
		p, key := s.hasher.Partition(id), identity.CustomerKey("default", id)
		group.Go(func() error {
			for _, w := range []struct {
				stage string
				say   say
			}{
				{"profile", say{row: s.raw(&profilev1.Profile{Tenant: "default", Id: id})}},
				{"decision", say{row: []byte("x"), facts: [][]byte{s.raw(basis("Europe/London"))}}},
			} {
				if _, err := s.stages[w.stage].Do(s.t.Context(), p, stage.Request{ID: "test", Key: key, At: s.deps.Clock.Now(), Body: w.say}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// gate is a way to the broker: while it is shut, whatever is sent waits, as it does when a process is stopped,
// and goes on when it opens.
type gate struct {
	log.Broker
	log.Leases

	deaf atomic.Bool // leases alone are out of reach
	mu   sync.Mutex
	open chan struct{}
}

func newGate(site *log.JetStream) *gate {
	g := &gate{Broker: site, Leases: site.Leases(), open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return errors.Join(log.ErrUnknown, ctx.Err())
	}
}

func (g *gate) passLease(ctx context.Context) error {
	if g.deaf.Load() {
		<-ctx.Done()
		return errors.Join(log.ErrUnknown, ctx.Err())
	}
	return g.pass(ctx)
}

// Append implements log.Broker. What waited is sent in the end, whoever gave up on it.
func (g *gate) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	if err := g.pass(context.WithoutCancel(ctx)); err != nil {
		return 0, err
	}
	return g.Broker.Append(context.WithoutCancel(ctx), subject, expect, data)
}

// Last implements log.Broker.
func (g *gate) Last(ctx context.Context, subject string) (log.Message, error) {
	if err := g.pass(ctx); err != nil {
		return log.Message{}, err
	}
	return g.Broker.Last(ctx, subject)
}

// Hold implements log.Leases.
func (g *gate) Hold(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if err := g.passLease(ctx); err != nil {
		return 0, err
	}
	return g.Leases.Hold(ctx, key, value, revision, ttl)
}

// All implements log.Leases.
func (g *gate) All(ctx context.Context, group string) ([]log.Lease, error) {
	if err := g.passLease(ctx); err != nil {
		return nil, err
	}
	return g.Leases.All(ctx, group)
}

// start begins a replica.
func (s *shop) start(name string) *shopReplica {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	r := &shopReplica{name: name, cut: newGate(s.site), stop: cancel, ended: make(chan struct{}), failed: make(chan error, 1)}
	listener, err := run.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{StopWithin: time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	r.group, err = membership.New(membership.Config{
		Service: stageName, Generation: 1, Partitions: sharedPartitions, Replica: name, Incarnation: name, Address: listener.Addr().String(),
		TTL: replicaTTL, Hold: replicaHold,
	}, membership.Ports{Leases: r.cut, Clock: s.deps.Clock, Meter: s.deps.Meter, Logger: s.deps.Logger.With("replica", name)})
	if err != nil {
		s.t.Fatal(err)
	}
	deps := s.deps
	deps.Logger = deps.Logger.With("replica", name)
	deps.Replica, deps.GRPC, deps.Broker, deps.Ownership, deps.Locate = name, server, r.cut, r.group, r.group.Locate
	service, err := New(ctx, Default(), deps)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := r.group.Join(ctx); err != nil {
		s.t.Fatal(err)
	}
	if r.conn, err = rpc.Dial(listener.Addr().String(), rpc.ClientConfig{}); err != nil {
		s.t.Fatal(err)
	}
	context.AfterFunc(ctx, r.group.Leaving)
	go func() {
		defer close(r.ended)
		err := run.Together(ctx, deps.Logger, 20*time.Second,
			run.Part{Name: "membership", Component: r.group}, run.Part{Name: "service", Component: service},
			run.Part{Name: "grpc", Component: run.Func(func(ctx context.Context) error { return server.ServeUntil(ctx, listener) })})
		r.failed <- errors.Join(err, r.group.Leave(context.WithoutCancel(ctx)))
	}()
	s.replicas[name] = r
	s.t.Cleanup(func() { s.end(r); _ = r.conn.Close() })
	return r
}

// end stops a replica gracefully. Idempotent.
func (s *shop) end(r *shopReplica) {
	s.t.Helper()
	r.stop()
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		s.t.Errorf("%s does not end", r.name)
		return
	}
	select {
	case err := <-r.failed:
		if err != nil {
			s.t.Errorf("%s ended with %v", r.name, err)
		}
	default:
	}
}

// owners are the replicas that opened the chains last.
func (s *shop) owners() []string {
	s.t.Helper()
	var out []string
	for p := range sharedPartitions {
		msg, err := s.site.Last(s.t.Context(), log.Subject("vdc", p))
		if err != nil {
			s.t.Fatal(err)
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			s.t.Fatal(err)
		}
		owner := rec.GetOwner()
		if rec.GetKind() == stagev1.RecordKind_RECORD_KIND_CLOSE {
			owner = ""
		}
		out = append(out, owner)
	}
	return out
}

// awaitOwners waits until the partitions belong to these replicas and nobody else, each with its share.
func (s *shop) awaitOwners(names ...string) {
	s.t.Helper()
	var want []string
	for p := range sharedPartitions {
		best := slices.MaxFunc(names, func(a, b string) int {
			if membership.Weight(stageName, p, a) < membership.Weight(stageName, p, b) {
				return -1
			}
			return 1
		})
		want = append(want, best)
	}
	s.eventually(fmt.Sprintf("owners %v", want), func() (bool, string) {
		got := s.owners()
		return slices.Equal(got, want), fmt.Sprint(got)
	})
}

// awaitAsked waits until so many more requests were answered.
func (s *shop) awaitAsked(more int64) {
	s.t.Helper()
	from := s.asked.Load()
	s.eventually("more answers", func() (bool, string) {
		now := s.asked.Load() - from
		return now >= more, fmt.Sprint(now)
	})
}

// flow is callers who reserve and commit, two for each shopper, at any of the replicas that are up.
type flow struct {
	*shop

	mu       sync.Mutex
	targets  []contactv1.ContactServiceClient
	approved map[string]bool // by id: what the caller was told
	unsure   map[codes.Code]int
}

func (f *flow) aim(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = nil
	for _, name := range names {
		f.targets = append(f.targets, contactv1.NewContactServiceClient(f.replicas[name].conn))
	}
}

func (f *flow) client() contactv1.ContactServiceClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.targets[rand.IntN(len(f.targets))] //nolint:gosec // any will do
}

// insist asks until there is an answer, at one replica after the other, with the same id.
func (f *flow) insist(ctx context.Context, ask func(context.Context, contactv1.ContactServiceClient) error) error {
	for {
		within, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := ask(within, f.client())
		cancel()
		code := status.Code(err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled:
			f.asked.Add(1)
			return err
		}
		f.mu.Lock()
		f.unsure[code]++
		f.mu.Unlock()
	}
}

// visit reserves for a shopper, and commits what it got.
func (f *flow) visit(ctx context.Context, n, caller int) error {
	id := fmt.Sprintf("call-%04d-%d", n, caller)
	var res *contactv1.ReserveResponse
	err := f.insist(ctx, func(ctx context.Context, c contactv1.ContactServiceClient) (err error) {
		res, err = c.Reserve(ctx, &contactv1.ReserveRequest{Identifier: shopper(n), Id: id, Contact: &contactv1.Contact{Action: "call", Channel: "email", Purpose: "marketing"}})
		return err
	})
	if err != nil {
		return fmt.Errorf("reserve %s: %w", id, err)
	}
	got := res.GetKind() == contactv1.VerdictKind_VERDICT_KIND_APPROVED
	f.mu.Lock()
	f.approved[id] = got
	f.mu.Unlock()
	if !got {
		return nil
	}
	err = f.insist(ctx, func(ctx context.Context, c contactv1.ContactServiceClient) error {
		_, err := c.Commit(ctx, &contactv1.CommitRequest{Identifier: shopper(n), Id: id})
		return err
	})
	if err != nil {
		return fmt.Errorf("commit %s: %w", id, err)
	}
	return nil
}

// begin lets the callers come, a few at a time, slowly enough to outlast the disturbances.
func (f *flow) begin(ctx context.Context, pace time.Duration) (wait func()) {
	turns := make(chan [2]int)
	var callers sync.WaitGroup
	callers.Go(func() {
		defer close(turns)
		for n := range shoppers {
			for caller := range 2 {
				turns <- [2]int{n, caller}
			}
			_ = clock.Sleep(ctx, f.deps.Clock, pace)
		}
	})
	for range 8 {
		callers.Go(func() {
			for t := range turns {
				if err := f.visit(ctx, t[0], t[1]); err != nil {
					f.t.Error(err)
				}
			}
		})
	}
	return callers.Wait
}

// history is what the chains of verdicts say.
type history struct {
	reserved, committed map[string]int // by id
	perShopper          map[string]int // reservations
	closed, opened      int            // takeovers after a CLOSE of another, and without one
}

func (s *shop) history() history {
	s.t.Helper()
	h := history{reserved: map[string]int{}, committed: map[string]int{}, perShopper: map[string]int{}}
	for p := range sharedPartitions {
		var before *stagev1.Record
		for after := uint64(0); ; {
			msg, err := s.site.Next(s.t.Context(), log.Subject("vdc", p), after)
			if errors.Is(err, log.ErrNotFound) {
				break
			}
			if err != nil {
				s.t.Fatal(err)
			}
			after = msg.Sequence
			rec := &stagev1.Record{}
			if err := rec.UnmarshalVT(msg.Data); err != nil {
				s.t.Fatal(err)
			}
			h.add(s.t, before, rec)
			before = rec
		}
	}
	return h
}

func (h *history) add(t *testing.T, before, rec *stagev1.Record) {
	t.Helper()
	switch {
	case rec.GetKind() != stagev1.RecordKind_RECORD_KIND_OPEN:
		if before != nil && before.GetKind() != stagev1.RecordKind_RECORD_KIND_GENESIS && before.GetOwner() != rec.GetOwner() {
			t.Errorf("%s writes after %s without having opened the chain", rec.GetOwner(), before.GetOwner())
		}
	case before.GetKind() == stagev1.RecordKind_RECORD_KIND_CLOSE:
		h.closed++
	case before.GetKind() != stagev1.RecordKind_RECORD_KIND_GENESIS:
		h.opened++
	}
	for _, c := range rec.GetCells() {
		body := &stagev1.CellBody{}
		if err := body.UnmarshalVT(c.GetSealed()); err != nil {
			t.Fatal(err)
		}
		for _, raw := range body.GetFacts() {
			f := &contactv1.Fact{}
			if err := f.UnmarshalVT(raw); err != nil {
				t.Fatal(err)
			}
			if made := f.GetReservationMade(); made != nil {
				id := made.GetEntry().GetId()
				h.reserved[id]++
				h.perShopper[id[:len(id)-2]]++
			}
			if used := f.GetReservationCommitted(); used != nil {
				h.committed[used.GetId()]++
			}
		}
	}
}

// check holds what callers were told against what was recorded.
func (f *flow) check() {
	f.t.Helper()
	h := f.history()
	approved := 0
	for id, got := range f.approved {
		want := 0
		if got {
			want = 1
			approved++
		}
		if h.reserved[id] != want || h.committed[id] != want {
			f.t.Errorf("%s was told %v; reserved %d times, committed %d times", id, got, h.reserved[id], h.committed[id])
		}
	}
	// On a machine with much else to do a shopper may ask before suppression knows of the consent, twice: that is
	// a no, and right. Nobody has two, and nearly all have one.
	if len(f.approved) != 2*shoppers || approved != len(h.reserved) || approved > shoppers || approved < shoppers*9/10 {
		f.t.Errorf("%d answers, %d approved, %d in the log; want %d, and one for nearly each of %d shoppers", len(f.approved), approved,
			len(h.reserved), 2*shoppers, shoppers)
	}
	for who, n := range h.perShopper {
		if n > 1 {
			f.t.Errorf("%s has %d reservations, more than the cap", who, n)
		}
	}
	f.t.Logf("%d answers, %d partitions handed over, %d taken over; unsure: %v", len(f.approved), h.closed, h.opened, f.unsure)
	if h.closed == 0 {
		f.t.Error("no partition was handed over")
	}
}

// Replicas come, go, and are cut off while callers reserve and commit at any of them: nothing is lost or done
// twice, and every caller gets an answer.
func TestReplicasShareTheLedger(t *testing.T) {
	s := newShop(t)
	s.populate()
	f := &flow{shop: s, approved: map[string]bool{}, unsure: map[codes.Code]int{}}
	s.start("r1")
	f.aim("r1")
	s.awaitOwners("r1")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	wait := f.begin(ctx, 25*time.Millisecond)
	s.awaitAsked(50)

	s.start("r2")
	f.aim("r1", "r2")
	s.awaitOwners("r1", "r2")
	s.awaitAsked(50)

	s.start("r3")
	f.aim("r1", "r2", "r3")
	s.awaitOwners("r1", "r2", "r3")
	f.aim("r2", "r3")
	s.end(s.replicas["r1"])
	s.awaitOwners("r2", "r3")
	s.awaitAsked(50)

	// r2 stands still with whatever it has under way, longer than any lease, and goes on.
	s.replicas["r2"].cut.shut()
	s.awaitOwners("r3")
	s.replicas["r2"].cut.reopen()
	s.awaitOwners("r2", "r3")
	wait()
	f.check()
	if h := s.history(); h.opened == 0 {
		t.Error("nothing was taken over from a replica that stood still")
	}
}

// A replica whose lease cannot be renewed, but that reaches everything else, gives its partitions back, and
// passes on what it is asked.
func TestWithoutALeaseNothingIsOwned(t *testing.T) {
	s := newShop(t)
	s.populate()
	r1, _ := s.start("r1"), s.start("r2")
	s.awaitOwners("r1", "r2")
	r1.cut.deaf.Store(true)
	s.awaitOwners("r2")
	if h := s.history(); h.closed == 0 {
		t.Error("r1 closed no chain")
	}
	for n := range 20 {
		res, err := contactv1.NewContactServiceClient(r1.conn).Reserve(t.Context(), &contactv1.ReserveRequest{
			Identifier: shopper(n), Id: fmt.Sprintf("call-%04d-0", n), Contact: &contactv1.Contact{Action: "call", Channel: "email", Purpose: "marketing"},
		})
		if err != nil || res.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED {
			t.Errorf("r1, which owns nothing, answers %v, %v", res, err)
		}
	}
	_, err := contactv1.NewContactServiceClient(r1.conn).Commit(t.Context(), &contactv1.CommitRequest{Identifier: shopper(0), Id: "call-9999-0"})
	if status.Code(err) != codes.NotFound || !strings.HasPrefix(status.Convert(err).Message(), "ask the ledger: commit call-9999-0") {
		t.Errorf("r1 passes on the refusal %v", err)
	}
	r1.cut.deaf.Store(false)
	s.awaitOwners("r1", "r2")
}
