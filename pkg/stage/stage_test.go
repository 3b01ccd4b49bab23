package stage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// run starts a stage on the wall clock and returns how to stop it, which has to succeed.
func (m *mesh) run(s *Stage) (stop func()) {
	end := m.start(s)
	return func() {
		if err := end(); err != nil {
			m.t.Errorf("stop: %v", err)
		}
	}
}

// start is run for a stop that may fail.
func (m *mesh) start(s *Stage) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	var once sync.Once
	s.ports.Ready = func() { once.Do(func() { close(ready) }) }
	go func() { done <- NewFreeRunner().Run(ctx, s) }()
	select {
	case <-ready:
	case err := <-done:
		m.t.Fatalf("run: %v", err)
	}
	return func() error {
		cancel()
		return <-done
	}
}

func (m *mesh) add(customer string, n int) arrival {
	return arrival{at: time.Now(), e: entry{Customer: customer, Add: n}}
}

func TestFreeRunFoldsAndStops(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := newMesh(t, 2, 16)
	s := m.stage("profile", m.broker, clock.Wall{})
	stop := m.run(s)
	for range 100 {
		m.publish(m.broker, nil, m.add("ann", 1))
		m.publish(m.broker, nil, m.add("bob", 2))
	}
	eventually(t, "both sums are there", func() bool { return m.row("profile", "ann").Sum == 100 && m.row("profile", "bob").Sum == 200 })
	stop()
	for p := range 2 {
		recs := m.records(log.Subject("prf", p))
		if got := recs[len(recs)-1].rec.GetKind(); got != stagev1.RecordKind_RECORD_KIND_CLOSE {
			t.Errorf("last record of partition %d: got %v, want CLOSE", p, got)
		}
	}
}

// An append whose answer is lost after the commit has one effect: the chain is read, not guessed at.
func TestLostAnswersHaveOneEffect(t *testing.T) {
	m := newMesh(t, 1, 4)
	var mu sync.Mutex
	n := 0
	m.broker.SetFaults(func(op log.Op) log.Fault {
		mu.Lock()
		defer mu.Unlock()
		if n++; op.Name == "append" && n%3 == 0 {
			return log.Fault{Effect: log.LostAfter}
		}
		return log.Fault{}
	})
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	for range 50 {
		m.publish(m.broker, nil, m.add("ann", 1))
	}
	eventually(t, "all is added", func() bool { return m.row("profile", "ann").Sum >= 50 })
	stop()
	if got := m.row("profile", "ann").Sum; got != 50 {
		t.Errorf("sum: got %d, want 50", got)
	}
}

// Two owners of one partition: the chain decides, nothing is lost and nothing is done twice.
func TestTwoOwnersLoseNothing(t *testing.T) {
	m := newMesh(t, 1, 4)
	stopA := m.run(m.stage("profile", m.broker, clock.Wall{}))
	for range 20 {
		m.publish(m.broker, nil, m.add("ann", 1))
	}
	stopB := m.run(m.stage("profile", m.broker, clock.Wall{}))
	for range 20 {
		m.publish(m.broker, nil, m.add("ann", 1))
	}
	eventually(t, "all is added", func() bool { return m.row("profile", "ann").Sum >= 40 })
	stopB()
	stopA()
	if got := len(m.facts("prf")[key("ann")]); got != 40 {
		t.Errorf("facts: got %d, want 40", got)
	}
}

// A bad input and a panicking one go to the dead letters with a gap in the state; the others go on.
func TestPoisonDoesNotStopAPartition(t *testing.T) {
	m := newMesh(t, 1, 8)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	bad, worse := m.add("ann", 5), m.add("ann", 7)
	bad.e.Bad, worse.e.Panic = true, true
	m.publish(m.broker, nil, bad)
	m.publish(m.broker, nil, worse)
	m.raw(m.broker, "evt.live.0", &stagev1.Arrivals{Items: []*stagev1.Arrival{{Item: &stagev1.Arrival_Payload{Payload: []byte("{")}}}})
	if _, err := m.broker.Publish(t.Context(), "box.profile.0", []byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "the last is added", func() bool { return m.row("profile", "ann").Sum == 1 })
	if got := len(m.row("profile", "ann").Gaps); got != 2 {
		t.Errorf("gaps: got %d, want 2 (what cannot be read has no customer)", got)
	}
	letters := m.deadLetters("profile", 0)
	if len(letters) != 4 {
		t.Fatalf("dead letters: got %d, want 4", len(letters))
	}
	// Redriven, it has its effect after all, once, however often it is sent back.
	for range 2 {
		m.redrive(letters[0])
		m.redrive(letters[0])
		m.publish(m.broker, nil, m.add("bob", 1))
	}
	eventually(t, "what came after it is added", func() bool { return m.row("profile", "bob").Sum == 2 })
	for _, l := range letters {
		m.redrive(l)
	}
	eventually(t, "both are added", func() bool { return m.row("profile", "ann").Sum >= 1+5+7 })
	stop()
	if got := m.row("profile", "ann").Sum; got != 1+5+7 {
		t.Errorf("sum: got %d, want %d", got, 1+5+7)
	}
}

// What is given up again after it was redriven can be redriven still: its letter says what it was at first.
func TestADeadLetterComesBackTwice(t *testing.T) {
	m := newMesh(t, 2, 8)
	defer m.run(m.stage("decision", m.broker, clock.Wall{}))()
	cell := &stagev1.Cell{Key: key("ann"), Sealed: []byte("\xff")}
	m.follow("prf.1", &stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Cells: []*stagev1.Cell{cell}})
	data, err := cell.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		eventually(t, fmt.Sprintf("it is given up for the %d. time", n+1), func() bool { return len(m.deadLetters("decision", 1)) == n+1 })
		letter := m.deadLetters("decision", 1)[n]
		if cmp.Or(letter.GetRedriven(), letter.GetInput()) != "prf" || !bytes.Equal(letter.GetPayload(), data) {
			t.Fatalf("given up for the %d. time: %v", n+1, letter)
		}
		eventually(t, "it can be redriven", func() bool { return m.fate(letter) == Lost })
		m.redrive(letter)
		eventually(t, "it has come back", func() bool { return m.fate(letter) == Settled })
	}
}

// follow appends a record to a chain.
func (m *mesh) follow(chain string, rec *stagev1.Record) {
	m.t.Helper()
	last, err := m.broker.Last(m.t.Context(), chain)
	if err != nil {
		m.t.Fatal(err)
	}
	rec.Generation, rec.Prev = m.gen.Number, last.Sequence
	data, err := rec.MarshalVT()
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.broker.Append(m.t.Context(), chain, last.Sequence, data); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) fate(l *stagev1.DeadLetter) Fate {
	m.t.Helper()
	got, err := FateOf(m.t.Context(), m.broker, m.store, l)
	if err != nil {
		m.t.Fatal(err)
	}
	return got
}

// An owner that dies between the dead letter and the gap leaves a letter of an input that the next one may apply: it
// is not to take effect again.
func TestADeadLetterWithoutAGapComesBackInVain(t *testing.T) {
	m := newMesh(t, 1, 8)
	a := m.add("ann", 5)
	payload, err := json.Marshal(a.e)
	if err != nil {
		t.Fatal(err)
	}
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	m.publish(m.broker, nil, a)
	eventually(t, "it is applied", func() bool { return m.row("profile", "ann").Sum == 5 })
	letter := &stagev1.DeadLetter{Id: "orphan", Stage: "profile", Input: "evt.live", Sequence: 1, Index: 1, Payload: payload}
	if got := m.fate(letter); got != Settled {
		t.Errorf("fate: got %d, want that it was applied after all", got)
	}
	m.redrive(letter)
	m.publish(m.broker, nil, m.add("bob", 1))
	m.redrive(letter)
	m.publish(m.broker, nil, m.add("bob", 1))
	eventually(t, "what came after it is added", func() bool { return m.row("profile", "bob").Sum == 2 })
	if got := m.row("profile", "ann").Sum; got != 5 {
		t.Errorf("sum: got %d, want 5", got)
	}
}

// What cannot be read on the redrive subject, or names no dead letter, is given up: nothing is passed over in silence.
func TestWhatIsNoRedriveIsGivenUp(t *testing.T) {
	m := newMesh(t, 1, 8)
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	if _, err := m.broker.Publish(t.Context(), "redrive.profile.0", []byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	m.redrive(&stagev1.DeadLetter{Stage: "profile", Input: "evt.live", Payload: mustJSON(entry{Customer: "ann", Add: 5})})
	eventually(t, "both are given up", func() bool { return len(m.deadLetters("profile", 0)) == 2 })
	if got := m.row("profile", "ann").Sum; got != 0 {
		t.Errorf("sum: got %d, want 0", got)
	}
}

// What a dead letter led to may be letters alone: its gap is closed all the same, and by no other input.
func TestAGapIsClosedWithoutACell(t *testing.T) {
	letters := Outcome{Addressed: []Addressed{{Stage: "profile"}}}
	out := letters.closing(&Input{Source: FromRedrive, ID: "a"})
	if len(out.Cells) != 1 || len(out.Cells[0].Deltas) != 1 || out.Cells[0].Deltas[0].GetName() != ":gap/a" || len(out.Addressed) != 1 {
		t.Errorf("came back: got %+v", out)
	}
	if out := letters.closing(&Input{Source: FromBox}); len(out.Cells) != 0 {
		t.Errorf("a letter: got %+v", out)
	}
}

// deadLetters lists those of a partition.
func (m *mesh) deadLetters(stage string, partition int) []*stagev1.DeadLetter {
	m.t.Helper()
	var out []*stagev1.DeadLetter
	for after := uint64(0); ; {
		msg, err := m.broker.Next(m.t.Context(), log.Subject(log.DeadLetters(stage), partition), after)
		if errors.Is(err, log.ErrNotFound) {
			return out
		}
		if err != nil {
			m.t.Fatal(err)
		}
		dl := &stagev1.DeadLetter{}
		if err := dl.UnmarshalVT(msg.Data); err != nil {
			m.t.Fatal(err)
		}
		out = append(out, dl)
		after = msg.Sequence
	}
}

// redrive sends a dead letter back as dispatch does.
func (m *mesh) redrive(l *stagev1.DeadLetter) {
	m.raw(m.broker, log.Subject(log.Redrive(l.GetStage()), int(l.GetPartition())), &stagev1.Arrivals{Items: []*stagev1.Arrival{{Item: &stagev1.Arrival_Redrive{
		Redrive: &stagev1.Redrive{Id: l.GetId(), Payload: l.GetPayload(), Input: cmp.Or(l.GetRedriven(), l.GetInput()), Addressed: l.GetAddressed()},
	}}}})
}

func TestRequestsAreAnsweredAfterTheAppend(t *testing.T) {
	m := newMesh(t, 2, 8)
	s := m.stage("profile", m.broker, clock.Wall{})
	stop := m.run(s)
	p := m.fold.home("ann")
	for want := 1; want <= 3; want++ {
		got, err := s.Do(t.Context(), p, Request{ID: string(rune('a' + want)), Key: key("ann"), Body: 1})
		if err != nil || got != want {
			t.Fatalf("request %d: got %v, %v", want, got, err)
		}
	}
	if got, err := s.Do(t.Context(), p, Request{ID: "b", Key: key("ann"), Body: 1}); err != nil || got != 3 {
		t.Errorf("repeated request: got %v, %v; want 3 and no error", got, err)
	}
	stop()
	if _, err := s.Do(t.Context(), p, Request{ID: "z", Key: key("ann"), Body: 1}); fault.Of(err) != fault.Unavailable {
		t.Errorf("request after the stop: got %v, want Unavailable", err)
	}
}

// The store is a projection: emptied or set back, the next load finds out and the log repairs it.
func TestStoreThatLosesStatesIsRepaired(t *testing.T) {
	m := newMesh(t, 1, 8)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	for range 10 {
		m.publish(m.broker, nil, m.add("ann", 1))
	}
	eventually(t, "ten are added", func() bool { return m.row("profile", "ann").Sum == 10 })
	if err := m.store.Reset(t.Context(), state.Shard{Stage: "profile", Partition: 0}); err != nil {
		t.Fatal(err)
	}
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "the eleventh is added to the ten", func() bool { return m.row("profile", "ann").Sum == 11 })
	stop()
}

// A store that is ahead of its chain means that the log lost data: halt and say so.
func TestStoreAheadOfTheLogHalts(t *testing.T) {
	m := newMesh(t, 1, 8)
	err := m.store.Apply(t.Context(), state.Shard{Stage: "profile"}, state.Batch{Meta: state.Meta{Generation: 1, Applied: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	s := m.stage("profile", m.broker, clock.Wall{})
	halted, ready := make(chan struct{}), false
	s.ports.Points = func(name string) {
		if name == "stage.halted" {
			close(halted)
		}
	}
	s.ports.Ready = func() { ready = true }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- NewFreeRunner().Run(ctx, s) }()
	select {
	case <-halted:
	case <-ctx.Done():
		t.Fatal("the partition was not halted")
	}
	cancel()
	if err := <-ran; err != nil || ready {
		t.Errorf("the run ended with %v, ready %v", err, ready)
	}
	if tail := m.records("prf.0"); len(tail) != 1+1 {
		t.Errorf("a halted chain has %d records, want its genesis and OPEN", len(tail))
	}
}

// After an unclean end inputs are tried alone; one that has killed its process three times is given up.
func TestInputThatKillsItsProcessIsGivenUp(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.publish(m.broker, nil, m.add("ann", 5))
	m.publish(m.broker, nil, m.add("ann", 1))
	for range maxAttempts + 1 { // each of these dies between ATTEMPT and its batch
		ctx, cancel := context.WithCancel(t.Context())
		s := m.stage("profile", m.broker, clock.Wall{})
		if err := s.start(ctx); err != nil {
			t.Fatal(err)
		}
		p := s.owned()[0]
		if err := p.gather(ctx, limit{}); err != nil {
			t.Fatal(err)
		}
		if p.careful.any() {
			if err := p.announce(ctx); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
	}
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	eventually(t, "the second is added", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	if got := m.row("profile", "ann").Gaps; len(got) != 1 {
		t.Errorf("gaps: got %v, want the first input's", got)
	}
}

// A catalog travels down the chains even where nothing happens: reads are answered under the revision in meta.
func TestCatalogTravelsWithoutFacts(t *testing.T) {
	m := newMesh(t, 1, 8)
	stopA := m.run(m.stage("profile", m.broker, clock.Wall{}))
	stopB := m.run(m.stage("decision", m.broker, clock.Wall{}))
	m.raw(m.broker, "evt.control.0", &stagev1.Arrivals{Items: []*stagev1.Arrival{{Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: "r1"}}}}})
	eventually(t, "decision's meta names r1", func() bool {
		view, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{"decision"}})
		return err == nil && view.Metas["decision"].Revision == "r1"
	})
	stopA()
	stopB()
}

// A fact that has passed too many mailboxes goes to the dead letters, and on its way when it is redriven.
func TestLettersThatAnswerEachOtherEnd(t *testing.T) {
	m := newMesh(t, 2, 8)
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	home := m.fold.home("ann")
	fact := &stagev1.Addressed{Stage: "profile", Partition: uint32(home), Depth: maxDepth, Payload: mustJSON(entry{Customer: "ann", Letter: "bob", Add: 1})} //nolint:gosec // few
	data, err := (&stagev1.Letter{Sender: "prf.0", Sequence: 1, Items: []*stagev1.LetterItem{{Index: 1, Fact: fact}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.broker.Publish(t.Context(), log.Subject("box.profile", home), data); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is given up", func() bool { return len(m.deadLetters("profile", home)) == 1 })
	dl := m.deadLetters("profile", home)[0]
	if dl.GetCode() != "LOOP" || int(dl.GetAddressed().GetPartition()) != m.fold.home("bob") {
		t.Errorf("dead letter: got %v", dl)
	}
	eventually(t, "ann has what is hers", func() bool { return m.row("profile", "ann").Sum == 1 })
	if got := m.row("profile", "bob"); got.Sum != 0 {
		t.Errorf("bob: got %+v before it is redriven", got)
	}
	eventually(t, "it can be redriven", func() bool { return m.fate(dl) == Lost })
	m.redrive(dl)
	eventually(t, "bob has his", func() bool { return m.row("profile", "bob").Sum == 1 })
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// A stop finds an append under way: its answer is waited for, and the end is a graceful one.
func TestAStopDuringAnAppendIsGraceful(t *testing.T) {
	m := newMesh(t, 1, 4)
	broker := &heldBroker{Broker: m.broker, held: make(chan struct{}, 1), release: make(chan struct{})}
	stop := m.run(m.stage("profile", broker, clock.Wall{}))
	broker.hold.Store(true)
	m.publish(m.broker, nil, m.add("ann", 1))
	<-broker.held
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	broker.hold.Store(false)
	close(broker.release)
	<-ended
	recs := m.records(log.Subject("prf", 0))
	if got := recs[len(recs)-1].rec.GetKind(); got != stagev1.RecordKind_RECORD_KIND_CLOSE {
		t.Errorf("last record: got %v, want CLOSE", got)
	}
	if got := m.row("profile", "ann").Sum; got != 1 {
		t.Errorf("sum: got %d, want 1", got)
	}
}

// heldBroker keeps appends waiting, and forgets the answer of one whose context ends first.
type heldBroker struct {
	log.Broker

	hold    atomic.Bool
	held    chan struct{}
	release chan struct{}
}

func (b *heldBroker) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	if b.hold.Load() {
		b.held <- struct{}{}
		select {
		case <-b.release:
		case <-ctx.Done():
			_, _ = b.Broker.Append(context.WithoutCancel(ctx), subject, expect, data)
			return 0, log.ErrUnknown
		}
	}
	return b.Broker.Append(ctx, subject, expect, data)
}
