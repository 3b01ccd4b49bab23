package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// bitter is a ledger that cannot deal with timers and results while it is bad.
type bitter struct {
	*ledger

	bad   atomic.Bool
	tried atomic.Int64
}

func (b *bitter) Decide(in Input, rows Rows, env Env) (Outcome, error) {
	if in.Source == FromTimer || in.Source == FromCall {
		b.tried.Add(1)
		if b.bad.Load() {
			return Outcome{}, errors.New("no catalog has the journey")
		}
	}
	return b.ledger.Decide(in, rows, env)
}

// bitterStage is a stage over a fold that is bad.
func (m *mesh) bitterStage() (*Stage, *bitter) {
	f := &bitter{ledger: m.fold}
	f.bad.Store(true)
	s := m.stage("profile", m.broker, clock.Wall{})
	s.fold = f
	return s, f
}

// again starts another stage over the same fold.
func (m *mesh) again(f Fold) *Stage {
	s := m.stage("profile", m.broker, clock.Wall{})
	s.fold = f
	return s
}

// soon is an entry with a timer that is due in 50 ms.
func (m *mesh) soon(customer string) arrival {
	a := m.add(customer, 1)
	a.e.Later = 50 * time.Millisecond
	return a
}

func (m *mesh) late(customer string) int {
	m.t.Helper()
	view, err := m.store.Read(context.Background(), m.fold.home(customer), state.Query{
		Lists: []state.List{{Stage: "profile", Name: lateList + key(customer), Newest: 2}},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return len(view.Lists[0])
}

// A timer that fails has one dead letter and is tried again, less and less often, also by the next owner; when it
// passes, nothing of it is left.
func TestATimerThatFailsMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, 16)
		s, f := m.bitterStage()
		stop := m.run(s)
		m.publish(m.broker, nil, m.soon("ann"))
		eventually(t, "the timer has failed", func() bool { return len(m.deadLetters("profile", 0)) == 1 })
		sleep(t, 10*time.Minute)
		stop()
		stop = m.run(m.again(f))
		sleep(t, 24*time.Hour)
		if got := f.tried.Load(); got < 10 || got > 20 { // 10 s, 20 s, ... 6 h
			t.Errorf("it was tried %d times in a day", got)
		}
		if got := len(m.records("prf.0")); got > 30 {
			t.Errorf("records: got %d", got)
		}
		letters := m.deadLetters("profile", 0)
		if len(letters) != 1 || letters[0].GetInput() != "timer" {
			t.Fatalf("dead letters: got %v, want one of a timer", letters)
		}
		if m.late("ann") != 1 || m.fate(letters[0]) != Lost {
			t.Errorf("late wake-ups: got %d, want 1; its gap is to be open", m.late("ann"))
		}
		f.bad.Store(false)
		sleep(t, lastAgain)
		if got := m.row("profile", "ann"); got.Sum != 2 {
			t.Errorf("after it has passed: got %+v", got)
		}
		if m.late("ann") != 0 || m.fate(letters[0]) != Settled {
			t.Errorf("late wake-ups: got %d, want none; its gap is to be closed", m.late("ann"))
		}
		stop()
	})
}

func sleep(t *testing.T, d time.Duration) {
	t.Helper()
	if err := clock.Sleep(t.Context(), clock.Wall{}, d); err != nil {
		t.Fatal(err)
	}
}

// What happens to the row meanwhile has it tried at once, and neither adds a dead letter nor loses the timer.
func TestALateTimerIsTriedWhenItsRowChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, 16)
		s, f := m.bitterStage()
		stop := m.run(s)
		m.publish(m.broker, nil, m.soon("ann"))
		sleep(t, time.Hour)
		for range 5 {
			before := f.tried.Load()
			m.publish(m.broker, nil, m.add("ann", 10))
			eventually(t, "it is tried", func() bool { return f.tried.Load() > before })
		}
		if got := len(m.deadLetters("profile", 0)); got != 1 {
			t.Errorf("dead letters: got %d, want 1", got)
		}
		f.bad.Store(false)
		m.publish(m.broker, nil, m.add("ann", 10))
		eventually(t, "the timer has passed", func() bool { return m.row("profile", "ann").Sum == 1+60+1 })
		stop()
	})
}

// A timer's dead letter that comes back has the timer tried at once, and once.
func TestATimerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, 16)
		s, f := m.bitterStage()
		stop := m.run(s)
		m.publish(m.broker, nil, m.soon("ann"))
		sleep(t, time.Hour)
		letter := m.deadLetters("profile", 0)[0]
		m.redrive(letter) // in vain: it is given up as what it was
		eventually(t, "it is given up again", func() bool { return len(m.deadLetters("profile", 0)) == 2 })
		second := m.deadLetters("profile", 0)[1]
		if second.GetRedriven() != "timer" {
			t.Errorf("dead letter: got %v", second)
		}
		if m.fate(letter) != Settled || m.fate(second) != Lost {
			t.Error("the gap is not the second letter's")
		}
		f.bad.Store(false)
		m.redrive(second)
		m.redrive(second)
		eventually(t, "the timer has passed", func() bool { return m.row("profile", "ann").Sum == 2 })
		sleep(t, 2*lastAgain)
		if got := m.row("profile", "ann").Sum; got != 2 || m.late("ann") != 0 {
			t.Errorf("sum: got %d, want 2; late wake-ups %d, want 0", got, m.late("ann"))
		}
		stop()
	})
}

// Results of calls that fail have one dead letter for each call, however often it is made.
func TestAResultThatFailsHasOneDeadLetter(t *testing.T) {
	m := newMesh(t, 1, 16)
	s, f := m.bitterStage()
	stop := m.run(s)
	p := s.owned()[0]
	for n := range 3 {
		p.doors.mu.Lock()
		p.doors.calls++
		p.doors.mu.Unlock()
		p.returned(Input{Source: FromCall, Name: callInput, ID: "pace/1", Key: key("ann"), At: time.Now(), Request: 1})
		eventually(t, "it is tried", func() bool { return f.tried.Load() == int64(n+1) })
	}
	m.publish(m.broker, nil, m.add("bob", 1))
	eventually(t, "what came after it is added", func() bool { return m.row("profile", "bob").Sum == 1 })
	stop()
	letters := m.deadLetters("profile", 0)
	if len(letters) != 1 || letters[0].GetInput() != "call" {
		t.Errorf("dead letters: got %v, want one of a call", letters)
	}
}

// diesAt takes a partition over, gathers, and ends between ATTEMPT and the batch of what is tried; what is decided
// before that is.
func (m *mesh) diesAt(s *Stage, doomed func(*Input) bool) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	if err := s.start(ctx); err != nil {
		m.t.Fatal(err)
	}
	p := s.owned()[0]
	for looks := 0; ; {
		if err := p.gather(ctx, limit{}); err != nil {
			m.t.Fatal(err)
		}
		if len(p.pending) == 0 {
			if looks++; looks > 10_000 {
				m.t.Fatal("what is to kill the process did not come")
			}
			sleep(m.t, time.Millisecond)
			continue
		}
		first := slices.IndexFunc(p.pending, func(it item) bool { return it.input != nil })
		if first >= 0 && doomed(p.pending[first].input) {
			if p.careful.any() {
				if err := p.announce(ctx); err != nil {
					m.t.Fatal(err)
				}
			}
			return
		}
		if _, err := p.stepPending(ctx, limit{}); err != nil {
			m.t.Fatal(err)
		}
	}
}

// A timer of which the process dies is given up after three tries, though other inputs are tried before it each
// time, and stays away until its dead letter comes back.
func TestATimerThatKillsItsProcessIsParked(t *testing.T) {
	m := newMesh(t, 1, 8)
	s := m.stage("profile", m.broker, clock.Wall{})
	stop := m.run(s)
	late := m.soon("ann")
	late.e.Later = time.Millisecond
	m.fold.idle = true
	f := &bitter{ledger: m.fold}
	stop()
	m.publish(m.broker, nil, late)
	m.diesAt(m.again(f), func(in *Input) bool { return in.Source == FromTimer })
	for n := range maxAttempts {
		m.publish(m.broker, nil, m.add(fmt.Sprint("other", n), 1))
		m.diesAt(m.again(f), func(in *Input) bool { return in.Source == FromTimer })
	}
	stop = m.run(m.again(f))
	m.publish(m.broker, nil, m.add("bob", 1))
	eventually(t, "it is given up", func() bool { return len(m.deadLetters("profile", 0)) == 1 })
	eventually(t, "the others go on", func() bool { return m.row("profile", "bob").Sum == 1 })
	if got := f.tried.Load(); got != 0 {
		t.Errorf("it was tried %d times after it was given up", got)
	}
	m.publish(m.broker, nil, m.add("ann", 10)) // puts it back into the index
	eventually(t, "its row changes", func() bool { return m.row("profile", "ann").Sum == 11 })
	eventually(t, "it is away again", func() bool {
		dues, err := m.store.Due(t.Context(), state.Shard{Stage: "profile"}, farFuture(), 1)
		return err == nil && len(dues) == 0
	})
	if got := f.tried.Load(); got != 0 {
		t.Errorf("it was tried %d times though its dead letter has not come back", got)
	}
	m.redrive(m.deadLetters("profile", 0)[0])
	eventually(t, "it has its effect", func() bool { return m.row("profile", "ann").Sum == 12 })
	stop()
}

// A request of which the process dies is answered with an error at its fourth try, also if each of them comes after
// many others.
func TestARequestThatKillsItsProcessIsRefused(t *testing.T) {
	m := newMesh(t, 1, 8)
	ask := func(p *partition, id string) *request {
		r := &request{in: Input{Source: FromRPC, Name: "rpc", ID: id, Key: key("ann"), At: time.Now(), Request: 1}, done: make(chan struct{})}
		p.doors.mu.Lock()
		defer p.doors.mu.Unlock()
		p.doors.requests = append(p.doors.requests, r)
		return r
	}
	f := &bitter{ledger: m.fold}
	round := func(p *partition) *request {
		for n := range 3 * m.batch { // more than are tried alone after one unclean end
			ask(p, fmt.Sprint("other", p.epoch, n))
		}
		return ask(p, "deadly")
	}
	deaths := 0
	for ; deaths < 3*maxUnclean; deaths++ {
		var answer *request
		s := m.again(f)
		if err := s.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := s.owned()[0]
		answer = round(p)
		dead := false
		for !dead {
			if err := p.gather(t.Context(), limit{}); err != nil {
				t.Fatal(err)
			}
			if len(p.pending) == 0 {
				break
			}
			if in := p.pending[0].input; in != nil && in.ID == "deadly" && p.careful.asked > 0 {
				if err := p.announce(t.Context()); err != nil {
					t.Fatal(err)
				}
				dead = !in.poisoned
			} else {
				dead = p.careful.asked == 0 && containsID(p.pending, "deadly")
			}
			if !dead {
				if _, err := p.stepPending(t.Context(), limit{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if dead {
			continue
		}
		<-answer.done
		if fault.Of(answer.err) != fault.Invalid && fault.Of(answer.err) != fault.Internal {
			t.Errorf("the answer is %v, %v", answer.reply, answer.err)
		}
		break
	}
	if deaths > maxUnclean+maxAttempts {
		t.Errorf("the process died %d times", deaths)
	}
}

func containsID(items []item, id string) bool {
	for _, it := range items {
		if it.input != nil && it.input.ID == id {
			return true
		}
	}
	return false
}

// A drain records all results that are there, though they are tried one by one.
func TestADrainRecordsAllResults(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.follow("prf.0", &stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_OPEN})
	s := m.stage("profile", m.broker, clock.Wall{})
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := s.owned()[0]
	for n := range 5 {
		p.doors.calls++
		p.returned(Input{Source: FromCall, Name: callInput, ID: fmt.Sprint(n), Key: key("ann"), At: time.Now(), Request: 1})
	}
	if err := s.stop(t.Context(), limit{}); err != nil {
		t.Fatal(err)
	}
	if got := m.row("profile", "ann").Sum; got != 5 {
		t.Errorf("sum: got %d, want 5", got)
	}
}

func TestAgainAfterGrowsAndEnds(t *testing.T) {
	for failures, want := range map[uint32]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 12: 20480 * time.Second, 13: lastAgain, 1 << 30: lastAgain} {
		if got := againAfter(failures); got != want {
			t.Errorf("after %d failures: got %s, want %s", failures, got, want)
		}
	}
}
