package determinism

import (
	"testing"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// told is the story, told to a mesh without a disturbance.
func (m *mesh) told(bundle *definitionv1.Bundle, bodies [][]byte, end time.Time) history {
	m.t.Helper()
	p := m.start()
	p.apply(bundle)
	for _, body := range bodies {
		p.publish(body)
	}
	p.settle(end)
	p.stop()
	return m.facts()
}

// Facts depend neither on the number of partitions nor on the borders of batches (DESIGN, what is fixed, 7).
func TestFactsDoNotDependOnTheShapeOfTheMesh(t *testing.T) {
	for _, w := range []struct {
		name, collect string
		seeds         []uint64
	}{{"retail", "", []uint64{1, 2}}, {"retail that does not collect", "PT0S", []uint64{3, 4}}} {
		t.Run(w.name, func(t *testing.T) {
			bundle := workspace(t, w.collect)
			for _, seed := range w.seeds {
				bodies, end := story(t, seed, 400)
				var want history
				for _, s := range []shape{{1, 500}, {32, 500}, {1, 1}, {32, 1}, {5, 7}} {
					began := time.Now()
					got := newMesh(t, s).told(bundle, bodies, end)
					t.Logf("seed %d, %+v: %d %d %d %d facts in %s", seed, s, got.count("prf"), got.count("act"),
						got.count("vdc"), got.count("snd"), time.Since(began).Round(time.Millisecond))
					if want == nil {
						want = got
						continue
					}
					if !same(t, want, got) {
						t.Fatalf("seed %d: %+v leads to other facts than one partition with batches of 500", seed, s)
					}
				}
				if want.count("snd") == 0 {
					t.Fatalf("seed %d: nothing was ever sent", seed)
				}
			}
		})
	}
}
