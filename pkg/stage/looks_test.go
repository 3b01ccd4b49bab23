package stage

import (
	"fmt"
	"sync"
	"testing"
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
