package stage

import (
	"testing"
	"time"

	"refrain.dev/pkg/state"
)

// A store that loses everything loses no timer, also when nothing else happens that would notice the loss.
func TestTimersOutliveTheStore(t *testing.T) {
	m := newMesh(t, 1, 4)
	defer m.run(m.stage("profile", m.broker, WallClock{}))()
	later := m.add("ann", 1)
	later.e.Later = 400 * time.Millisecond
	m.publish(m.broker, nil, later)
	eventually(t, "the entry is there", func() bool { return m.row("profile", "ann").Sum == 1 })
	if err := m.store.Reset(t.Context(), state.Shard{Stage: "profile", Partition: 0}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the timer has fired", func() bool { return m.row("profile", "ann").Sum == 2 })
}
