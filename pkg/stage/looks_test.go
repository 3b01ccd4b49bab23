package stage

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/state"
)

// watched notes for which rows timers came that are not due.
type watched struct {
	*ledger

	mu    *sync.Mutex
	looks map[string]int
}

func (f watched) Decide(in Input, rows Rows, env Env) (Outcome, error) {
	if in.Source == FromTimer && in.At.After(env.Now) {
		f.mu.Lock()
		f.looks[in.Key]++
		f.mu.Unlock()
	}
	return f.ledger.Decide(in, rows, env)
}

// Who takes a partition over looks once at every row that has a wake-up, since calls were lost with the owner before.
// A row in which nothing is to be done is not written, and keeps its wake-up.
func TestATakeoverLooksOnceAtWhatHasAWakeUp(t *testing.T) {
	const rows = 40
	m := newMesh(t, 1, 16)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	for n := range rows {
		a := m.add(fmt.Sprint("c", n), 1)
		a.e.Later = time.Hour
		m.publish(m.broker, nil, a)
	}
	eventually(t, "all are added", func() bool { return m.row("profile", fmt.Sprint("c", rows-1)).Sum == 1 })
	stop()
	before := m.records("prf.0")

	f := watched{m.fold, &sync.Mutex{}, map[string]int{}}
	stop = m.run(m.again(f))
	eventually(t, "all rows are looked at", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.looks) == rows })
	stop()
	for k, n := range f.looks {
		if n != 1 {
			t.Errorf("%s was looked at %d times", k, n)
		}
	}
	for _, r := range m.records("prf.0")[len(before):] {
		if cells := r.rec.GetCells(); len(cells) > 0 {
			t.Errorf("a look has written %v", cells)
		}
	}
	dues, err := m.store.Due(t.Context(), state.Shard{Stage: "profile"}, farFuture(), 2*rows)
	if err != nil || len(dues) != rows {
		t.Errorf("%d wake-ups are left (%v), want %d", len(dues), err, rows)
	}
}

// shortSighted fails at every look while it is said to.
type shortSighted struct {
	*ledger

	bad atomic.Bool
}

func (f *shortSighted) Decide(in Input, rows Rows, env Env) (Outcome, error) {
	if f.bad.Load() && in.Source == FromTimer && in.At.After(env.Now) {
		panic("it cannot be looked at")
	}
	return f.ledger.Decide(in, rows, env)
}

// A look that is given up moves its row's wake-up; once it has passed, the wake-up stands where it stood.
func TestALookThatWasGivenUpLeavesTheWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, 16)
		stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
		a := m.add("ann", 1)
		a.e.Later = time.Hour
		m.publish(m.broker, nil, a)
		eventually(t, "it is added", func() bool { return m.row("profile", "ann").Sum == 1 })
		stop()
		f := &shortSighted{ledger: m.fold}
		f.bad.Store(true)
		stop = m.run(m.again(f))
		eventually(t, "the look is given up", func() bool { return len(m.deadLetters("profile", 0)) == 1 })
		f.bad.Store(false)
		sleep(t, 10*time.Minute)
		if got := m.row("profile", "ann").Sum; got != 1 || m.late("ann") != 0 {
			t.Errorf("after the look has passed: got a sum of %d and %d late wake-ups, want 1 and none", got, m.late("ann"))
		}
		sleep(t, time.Hour)
		if got := m.row("profile", "ann").Sum; got != 2 {
			t.Errorf("after the wake-up: got a sum of %d, want 2", got)
		}
		stop()
	})
}

// Processes die of a look, or of the try after one that has failed: it is left out, and the wake-up has its effect at
// its time.
func TestALookThatKillsItsProcessLeavesTheWakeUp(t *testing.T) {
	for name, failed := range map[string]bool{"a look": false, "the try after one that has failed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 1, 16)
				f := &shortSighted{ledger: m.fold}
				early := func(in *Input) bool { return in.Source == FromTimer && in.look != failed }
				s := m.stage("profile", m.broker, clock.Wall{})
				stop := m.run(s)
				a := m.add("ann", 1)
				a.e.Later = 12 * time.Hour
				m.publish(m.broker, nil, a)
				eventually(t, "it is added", func() bool { return m.row("profile", "ann").Sum == 1 })
				stop()
				if failed {
					f.bad.Store(true)
					stop = m.run(m.again(f))
					eventually(t, "the look is given up", func() bool { return len(m.deadLetters("profile", 0)) == 1 })
					stop()
					sleep(t, time.Minute)
				}
				for range 1 + maxAttempts { // the first one dies before anything is announced
					m.diesAt(m.again(f), early)
				}
				f.bad.Store(false)
				stop = m.run(m.again(f))
				sleep(t, 13*time.Hour)
				if got := m.row("profile", "ann").Sum; got != 2 || m.late("ann") != 0 {
					t.Errorf("after its time: got a sum of %d and %d late wake-ups, want 2 and none", got, m.late("ann"))
				}
				stop()
			})
		})
	}
}
