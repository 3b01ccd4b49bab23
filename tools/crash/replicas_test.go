package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/membership"
)

// memberTTL is the lease of the replicas here, and their hold.
const memberTTL = 3 * time.Second

// replicas are the processes of a stage, in the order of the flow.
func replicas(stage string) []string { return []string{stage + "-1", stage + "-2"} }

func newReplicatedFleet(ctx context.Context, t *testing.T) *fleet {
	t.Helper()
	names := []string{"ingest-1", "ingest-2"}
	for _, spec := range log.Stages() {
		names = append(names, replicas(spec.Name)...)
	}
	return newFleetOf(ctx, t, names, "--membership-ttl", memberTTL.String(), "--membership-hold", memberTTL.String())
}

func (f *fleet) process(name string) *process {
	return f.processes[slices.IndexFunc(f.processes, func(p *process) bool { return p.name == name })]
}

// awaitOwners waits until the chains of a stage are owned by these replicas, each with its share.
func (f *fleet) awaitOwners(ctx context.Context, stage string, names ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var want, got []string
	for p := range fleetPartitions {
		want = append(want, slices.MaxFunc(names, func(a, b string) int {
			if membership.Weight(stage, p, a) < membership.Weight(stage, p, b) {
				return -1
			}
			return 1
		}))
	}
	err := await(ctx, "owners", func() bool {
		got = f.owners(ctx, stage)
		return slices.Equal(got, want)
	})
	if err != nil {
		f.trouble()
		f.t.Fatalf("%s is owned by %v, want %v: %v", stage, got, want, err)
	}
}

// owners name who wrote the last record of each chain of a stage, "" if it says that nobody has it.
func (f *fleet) owners(ctx context.Context, stage string) []string {
	var out []string
	for p := range fleetPartitions {
		msg, err := f.site.Last(ctx, log.Subject(log.Stage(stage).Chain, p))
		rec := &stagev1.Record{}
		if err != nil || rec.UnmarshalVT(msg.Data) != nil || rec.GetKind() == stagev1.RecordKind_RECORD_KIND_CLOSE {
			rec = &stagev1.Record{}
		}
		out = append(out, rec.GetOwner())
	}
	return out
}

// shared waits until both replicas of every stage have their share.
func (f *fleet) shared(ctx context.Context) {
	f.t.Helper()
	for _, spec := range log.Stages() {
		f.awaitOwners(ctx, spec.Name, replicas(spec.Name)...)
	}
}

// pausing stops one replica of each stage for longer than any lease, two at once, until the other owns all;
// then it goes on with what it had under way.
func (f *fleet) pausing(ctx context.Context, random *rand.Rand) {
	f.t.Helper()
	stages := log.Stages()
	random.Shuffle(len(stages), func(i, j int) { stages[i], stages[j] = stages[j], stages[i] })
	for pair := range slices.Chunk(stages, 2) {
		frozen := map[string]int{}
		for _, spec := range pair {
			n := random.IntN(2)
			frozen[spec.Name] = n
			f.process(replicas(spec.Name)[n]).freeze()
		}
		pause(ctx, 2*memberTTL)
		for _, spec := range pair {
			f.awaitOwners(ctx, spec.Name, replicas(spec.Name)[1-frozen[spec.Name]])
		}
		pause(ctx, between(random, 0, memberTTL))
		for _, spec := range pair {
			f.process(replicas(spec.Name)[frozen[spec.Name]]).thaw()
		}
		f.trouble()
		f.shared(ctx)
	}
}

// losing kills a replica of a stage for good, or so it seems: it comes back when the other owns all.
func (f *fleet) losing(ctx context.Context, random *rand.Rand) {
	f.t.Helper()
	for _, spec := range log.Stages() {
		n := random.IntN(2)
		p := f.process(replicas(spec.Name)[n])
		p.kill()
		f.awaitOwners(ctx, spec.Name, replicas(spec.Name)[1-n])
		if err := p.start(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.trouble()
	f.shared(ctx)
}

// rolling restarts every process gracefully, one after the other, as a new version is brought out.
func (f *fleet) rolling(ctx context.Context) {
	f.t.Helper()
	for _, p := range f.processes {
		if err := p.stop(); err != nil {
			f.t.Errorf("%s did not stop cleanly: %v", p.name, err)
		}
		if err := p.start(); err != nil {
			f.t.Fatal(err)
		}
		within, cancel := context.WithTimeout(ctx, time.Minute)
		if err := await(within, p.name+" to be ready", p.isReady); err != nil {
			f.t.Error(err)
		}
		cancel()
	}
	f.trouble()
	f.shared(ctx)
}

// takeovers lists how chains changed hands, closed by the owner before or taken from it, and how long after its last
// record the next owner's first one came.
func (f *fleet) takeovers(ctx context.Context) (handed, taken []time.Duration) {
	f.t.Helper()
	for _, spec := range log.Stages() {
		for p := range fleetPartitions {
			before, last := &stagev1.Record{}, time.Time{}
			for after := uint64(0); ; {
				msg, err := f.site.Next(ctx, log.Subject(spec.Chain, p), after)
				if err != nil {
					break
				}
				after = msg.Sequence
				rec := &stagev1.Record{}
				if err := rec.UnmarshalVT(msg.Data); err != nil {
					f.t.Fatal(err)
				}
				switch {
				case rec.GetKind() != stagev1.RecordKind_RECORD_KIND_OPEN || rec.GetOwner() == before.GetOwner():
				case before.GetKind() == stagev1.RecordKind_RECORD_KIND_CLOSE:
					handed = append(handed, msg.Time.Sub(last))
				case !strings.HasPrefix(before.GetOwner(), "test"):
					taken = append(taken, msg.Time.Sub(last))
				}
				before, last = rec, msg.Time
			}
		}
	}
	return handed, taken
}

// TestTwoReplicasOfEverything runs two replicas of every stage while events come in: they share the
// partitions, one of each is stopped for longer than its lease and goes on, one of each is killed, all are
// restarted in turn; nothing is lost or done twice.
func TestTwoReplicasOfEverything(t *testing.T) {
	embedtest.Require(t, "redis")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	f := newReplicatedFleet(ctx, t)
	random := random(t)
	for _, p := range f.processes { // the second ones of the stages come when the first own everything
		if strings.HasSuffix(p.name, "-1") || p.name == "ingest-2" {
			f.begin(p)
		}
	}
	for _, spec := range log.Stages() {
		f.awaitOwners(ctx, spec.Name, replicas(spec.Name)[0])
	}
	events := &traffic{t: t, random: random, urls: f.urls}
	publishing, stop := context.WithCancel(ctx)
	published := make(chan struct{})
	go func() { defer close(published); events.run(publishing, 20) }()
	started := time.Now()
	said := func(what string) { t.Logf("%s: %s", time.Since(started).Round(time.Second), what) }
	for _, spec := range log.Stages() {
		f.begin(f.process(replicas(spec.Name)[1]))
	}
	f.allReady(ctx)
	f.shared(ctx)
	said("both replicas of every stage have their share")
	f.pausing(ctx, plannedBy(random))
	said("one of each was stopped for longer than its lease")
	f.losing(ctx, plannedBy(random))
	said("one of each was killed")
	f.rolling(ctx)
	said("all were restarted")
	stop()
	<-published
	if err := f.quiet(ctx, 100*time.Second); err != nil {
		t.Error(err)
	}
	said(fmt.Sprintf("settled; %d events acknowledged after %d retries", len(events.accepted), events.retries))
	handed, taken := f.takeovers(ctx)
	t.Logf("handed over: %s; taken over, with leases of %s: %s", spread(handed), memberTTL, spread(taken))
	if len(handed) < 4*fleetPartitions || len(taken) < 4*fleetPartitions/2 {
		t.Errorf("the run proves little: %d handed over, %d taken over", len(handed), len(taken))
	}
	f.stopAll()
	f.check(ctx, events)
}

func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	return fmt.Sprintf("%d partitions after %s (half of them), %s (all)", len(all), all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
}

func (f *fleet) begin(p *process) {
	f.t.Helper()
	if err := p.start(); err != nil {
		f.t.Fatal(err)
	}
}
