package stage

import (
	"context"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// Whatever waits, the control lane goes first and the bulk lane last: an import does not delay an opt-out.
func TestControlGoesFirstAndBulkLast(t *testing.T) {
	m := newMesh(t, 1, 16)
	order := []string{"bulk", "live", "control"}
	for _, lane := range order {
		for range 5 {
			m.publish(m.broker, nil, arrival{lane: lane, at: time.Now(), e: entry{Customer: lane, Add: 1}})
		}
	}
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	eventually(t, "all are added", func() bool {
		return m.row("profile", "bulk").Sum == 5 && m.row("profile", "live").Sum == 5 && m.row("profile", "control").Sum == 5
	})
	stop()
	var got []string
	for _, r := range m.records(log.Subject("prf", 0)) {
		for _, c := range r.rec.GetCells() {
			if n := len(got); n == 0 || got[n-1] != c.GetKey() {
				got = append(got, c.GetKey())
			}
		}
	}
	if want := []string{key("control"), key("live"), key("bulk")}; len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("order of the customers in the chain: got %v, want %v", got, want)
	}
}

// A chain without even its genesis was lost with its stream: nobody begins a second history.
func TestAChainThatIsGoneHalts(t *testing.T) {
	m := newMesh(t, 1, 8)
	if m.broker.Recreate("PROFILES-g1-0") == 0 {
		t.Fatal("there was nothing to lose")
	}
	s := m.stage("profile", m.broker, clock.Wall{})
	halted := make(chan struct{})
	s.ports.Points = func(name string) {
		if name == "stage.halted" {
			close(halted)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- NewFreeRunner().Run(ctx, s) }()
	select {
	case <-halted:
	case <-ctx.Done():
		t.Error("the partition was not halted")
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if all := m.records("prf.0"); len(all) != 0 {
		t.Errorf("somebody began the chain anew, with %d records", len(all))
	}
}
