package stage

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/clock/clocktest"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

const week = 7 * 24 * time.Hour

// timely checks that nothing on a chain was decided ahead of the time at which it is stored.
func (m *mesh) timely(subject string) {
	m.t.Helper()
	for _, r := range m.records(subject) {
		msg, err := m.broker.Get(context.Background(), subject, r.seq)
		if err != nil {
			m.t.Fatal(err)
		}
		if by := asTime(r.rec.GetNow()).Sub(msg.Time); by > clock.MaxSkew {
			m.t.Errorf("record %d (%s) was decided %s ahead of the time at which it is stored", r.seq, r.rec.GetKind(), by)
		}
	}
}

// begin is run for a stage that does not get ready.
func (m *mesh) begin(s *Stage) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewFreeRunner().Run(ctx, s) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("stop: %v", err)
		}
	}
}

// refusals tells whether a stage was refused because of a clock since.
func refusals(s *Stage) func() bool {
	refused := &atomic.Bool{}
	s.ports.Points = func(name string) {
		if name == "stage.untimely" {
			refused.Store(true)
		}
	}
	return refused.Load
}

func (m *mesh) batches(subject string) int {
	n := 0
	for _, r := range m.records(subject) {
		if len(r.rec.GetCells()) > 0 {
			n++
		}
	}
	return n
}

// A process whose clock is not the log's owns nothing, in either direction; set right, it does.
func TestAClockThatIsNotTheLogsOwnsNothing(t *testing.T) {
	for _, off := range []time.Duration{3 * time.Second, week, -week} {
		m := newMesh(t, 1, 8)
		c := clocktest.By(off)
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
		s := m.stage("profile", m.broker, c)
		refused := refusals(s)
		stop := m.begin(s)
		eventually(t, "it is refused, or appends", func() bool { return refused() || len(m.records("prf.0")) > 1 })
		if n := len(m.records("prf.0")); n > 1 {
			t.Errorf("off by %s: it appended %d records, and fenced whoever owned the partition", off, n-1)
		}
		other := m.run(m.stage("profile", m.broker, clock.Wall{})) // another one can
		eventually(t, "another one decides", func() bool { return m.row("profile", "ann").Sum == 1 })
		other()
		c.Set(0)
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
		eventually(t, "set right, it decides", func() bool { return m.row("profile", "ann").Sum == 2 })
		stop()
		m.timely("prf.0")
	}
}

// A clock that is set while its process owns a partition decides nothing: neither what comes nor what is due by it.
func TestAnOwnersClockIsSet(t *testing.T) {
	for _, off := range []time.Duration{week, -week} {
		m := newMesh(t, 1, 8)
		c := &clocktest.Off{}
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1, Later: 24 * time.Hour}})
		stop := m.run(m.stage("profile", m.broker, c))
		eventually(t, "it decides", func() bool { return m.row("profile", "ann").Sum == 1 })
		c.Set(off)
		before := len(m.records("prf.0"))
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "bob", Add: 1}})
		eventually(t, "it looks at the log's time", func() bool { return len(m.records("prf.0")) > before })
		if m.row("profile", "bob").Sum != 0 || m.row("profile", "ann").Sum != 1 {
			t.Errorf("off by %s: it decided: ann %d, bob %d", off, m.row("profile", "ann").Sum, m.row("profile", "bob").Sum)
		}
		c.Set(0)
		eventually(t, "set right, it goes on", func() bool { return m.row("profile", "bob").Sum == 1 })
		stop()
		if m.row("profile", "ann").Sum != 1 {
			t.Errorf("off by %s: a timer of tomorrow had its turn", off)
		}
		m.timely("prf.0")
	}
}

// ahead makes a chain whose last record was decided in a week.
func (m *mesh) ahead(subject string) {
	m.t.Helper()
	tail, err := m.broker.Last(m.t.Context(), subject)
	if err != nil {
		m.t.Fatal(err)
	}
	rec := &stagev1.Record{
		Generation: 1, Id: newID(), Prev: tail.Sequence, Kind: stagev1.RecordKind_RECORD_KIND_OPEN, Now: asProto(time.Now().Add(week)),
	}
	data, err := rec.MarshalVT()
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.broker.Append(m.t.Context(), subject, tail.Sequence, data); err != nil {
		m.t.Fatal(err)
	}
}

// A chain that is ahead of the log's time is not decided on: neither at its own time, a week ahead, nor at another.
// An operator mends it; then its owner goes on by itself.
func TestAChainThatIsAheadIsMended(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.ahead("prf.0")
	m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
	s := m.stage("profile", m.broker, clock.Wall{})
	refused := refusals(s)
	stop := m.begin(s)
	eventually(t, "it is refused, or decides", func() bool { return refused() || m.batches("prf.0") > 0 })
	if n := m.batches("prf.0"); n > 0 {
		t.Errorf("%d batches were decided ahead of time", n)
	}
	done, err := Mend(t.Context(), m.broker, clock.Wall{}, "prf.0", "operator")
	if err != nil || done.Now.IsZero() {
		t.Fatalf("mend: %+v, %v", done, err)
	}
	eventually(t, "it goes on", func() bool { return m.row("profile", "ann").Sum == 1 })
	if again, err := Mend(t.Context(), m.broker, clock.Wall{}, "prf.0", "operator"); err != nil || !again.Now.IsZero() {
		t.Errorf("a chain that is right was mended: %+v, %v", again, err)
	}
	stop()
	last := m.records("prf.0")
	if by := time.Since(asTime(last[len(last)-1].rec.GetNow())); by < 0 || by > time.Minute {
		t.Errorf("afterwards it decides %s ago", by)
	}
}

// Mending fences the owner: what it has under way on the time that was wrong is refused.
func TestMendingFencesTheOwner(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.ahead("prf.0")
	before, err := m.broker.Last(t.Context(), "prf.0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Mend(t.Context(), m.broker, clock.Wall{}, "prf.0", "operator"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.broker.Append(t.Context(), "prf.0", before.Sequence, []byte("x")); err == nil {
		t.Error("an append after the record before the mending was taken")
	}
}

// Of two owners whose clocks are right, within what counts as right, the second goes on at the first one's time.
func TestTimeDoesNotGoBackFromOwnerToOwner(t *testing.T) {
	m := newMesh(t, 1, 8)
	for n, off := range []time.Duration{1500 * time.Millisecond, -1500 * time.Millisecond} {
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
		stop := m.run(m.stage("profile", m.broker, clocktest.By(off)))
		eventually(t, "it decides", func() bool { return m.row("profile", "ann").Sum == n+1 })
		stop()
	}
	var before time.Time
	for _, r := range m.records("prf.0") {
		now := asTime(r.rec.GetNow())
		if now.Before(before) {
			t.Errorf("record %d was decided at %s, the one before it at %s", r.seq, now, before)
		}
		before = now
	}
}

// standing is an Ownership of all partitions, unless its process stands by.
type standing struct {
	mu      sync.Mutex
	by      bool
	changed chan struct{}
}

func newStanding() *standing { return &standing{changed: make(chan struct{})} }

func (s *standing) Owns(int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.by
}

func (s *standing) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (*standing) Present(string) bool { return false }

func (s *standing) timely(ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by != !ok {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	s.by = !ok
}

// A process whose clock is proven wrong stands by, so that others own what it owned; set right it owns again.
func TestAProcessWhoseClockIsWrongStandsBy(t *testing.T) {
	for _, off := range []time.Duration{week, -week} {
		m := newMesh(t, 1, 8)
		c, owner := &clocktest.Off{}, newStanding()
		s := m.stage("profile", m.broker, c)
		s.cfg.Ownership, s.ports.Timely = owner, owner.timely
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
		stop := m.run(s)
		eventually(t, "it decides", func() bool { return m.row("profile", "ann").Sum == 1 })
		c.Set(off)
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
		eventually(t, "it stands by", func() bool { return !owner.Owns(0) })
		eventually(t, "it owns nothing", func() bool { return len(s.owned()) == 0 })
		// Where the owner was still careful with what it had taken over, the end leaves the next one as careful.
		all := m.records("prf.0")
		last := all[len(all)-1].rec
		if kind := last.GetKind(); kind != stagev1.RecordKind_RECORD_KIND_CLOSE && (kind != stagev1.RecordKind_RECORD_KIND_BATCH || len(last.GetCells()) > 0) {
			t.Errorf("off by %s: the chain ends with %s, want the end of its ownership", off, last)
		}
		other := m.run(m.stage("profile", m.broker, clock.Wall{}))
		eventually(t, "another one decides", func() bool { return m.row("profile", "ann").Sum == 2 })
		other()
		c.Set(0)
		m.publish(m.broker, nil, arrival{at: time.Now(), e: entry{Customer: "ann", Add: 1}})
		eventually(t, "set right, it decides", func() bool { return m.row("profile", "ann").Sum == 3 })
		stop()
		m.timely("prf.0")
	}
}

// A take-over that is refused after its OPEN, because nothing could be compared before, is no end of which the next owner
// has to think ill: it neither adds to the unclean ends, nor takes anything from what is known of those before it.
func TestARefusedTakeOverIsNoUncleanEnd(t *testing.T) {
	died := &stagev1.Attempt{Input: "evt.live", Sequence: 7, Number: 2}
	for name, c := range map[string]struct {
		tail    *stagev1.Record
		unclean uint32
		careful bool
	}{
		"after a clean end":    {tail: &stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_CLOSE}},
		"after an unclean one": {tail: &stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_ATTEMPT, Attempt: died, Unclean: 1}, unclean: 2, careful: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, 1, 8)
			genesis, err := m.broker.Last(t.Context(), "prf.0")
			if err != nil {
				t.Fatal(err)
			}
			c.tail.Generation, c.tail.Id, c.tail.Prev, c.tail.Now = 1, newID(), genesis.Sequence, asProto(time.Now())
			data, err := c.tail.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.broker.Append(t.Context(), "prf.0", genesis.Sequence, data); err != nil {
				t.Fatal(err)
			}
			m.broker.SetFaults(func(op log.Op) log.Fault { // so that nothing but OPEN tells
				if op.Name == "publish" {
					return log.Fault{Effect: log.Full}
				}
				return log.Fault{}
			})
			p := m.stage("profile", m.broker, clocktest.By(week)).newPartition(0)
			if err := p.takeOver(t.Context()); !isUntimely(err) {
				t.Fatalf("take-over: %v, want it refused", err)
			}
			m.broker.SetFaults(nil)
			next := m.stage("profile", m.broker, clock.Wall{}).newPartition(0)
			if err := next.takeOver(t.Context()); err != nil {
				t.Fatal(err)
			}
			if next.unclean != c.unclean || next.careful.any() != c.careful {
				t.Errorf("the next owner counts %d unclean ends and is careful: %v, want %d, %v", next.unclean, next.careful.any(), c.unclean, c.careful)
			}
			if c.careful && (len(next.suspects) != 1 || !next.suspects[0].is(attemptOf(died)) || next.suspects[0].number != 2) {
				t.Errorf("the next owner suspects %+v, want %+v after two tries", next.suspects, died)
			}
		})
	}
}

// An attempt that was announced and not made, because the clock was set in between, is taken back.
func TestAnAttemptThatIsNotMadeDoesNotCount(t *testing.T) {
	m := newMesh(t, 1, 8)
	p := m.stage("profile", m.broker, clock.Wall{}).newPartition(0)
	if err := p.takeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.careful, p.unclean = careful{stored: 8}, 1
	p.pending = []item{{reader: &reader{name: "evt.live"}, pos: stateAt(3), input: &Input{Source: FromLane, Name: "evt.live"}}}
	if err := p.announce(t.Context()); err != nil || !p.attempt.here {
		t.Fatalf("announce: %v", err)
	}
	p.standDown(t.Context())
	next := m.stage("profile", m.broker, clock.Wall{}).newPartition(0)
	if err := next.takeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(next.suspects) > 0 || next.unclean != 1 {
		t.Errorf("the next owner suspects %+v after %d unclean ends, want nothing after 1", next.suspects, next.unclean)
	}
}

func stateAt(sequence uint64) state.Position { return state.Position{Sequence: sequence, Index: 1} }
