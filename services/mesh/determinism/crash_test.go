package determinism

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// toldWithCrashes is the story, told to a mesh whose process dies at random writes and whose store is lost
// each time. A publisher repeats what was not acknowledged.
func (m *mesh) toldWithCrashes(bundle *definitionv1.Bundle, bodies [][]byte, end time.Time, rnd *rand.Rand, within int64) (h history, deaths int) {
	m.t.Helper()
	const most = 6
	var p *process
	live := func() {
		p = m.start()
		if deaths < most {
			p.line.breakAt.Store(p.line.writes.Load() + 1 + rnd.Int64N(within))
		}
	}
	die := func() {
		p.kill()
		deaths++
		live()
	}
	p = m.start()
	p.apply(bundle)
	p.line.breakAt.Store(p.line.writes.Load() + 1 + rnd.Int64N(within))
	for _, body := range bodies {
		for !p.publish(body) {
			die()
		}
	}
	for !p.settle(end) {
		die()
	}
	p.line.breakAt.Store(0)
	p.stop()
	return m.facts(), deaths
}

// The end of a replay whose process was killed again and again, and lost its store each time, equals an
// undisturbed one.
func TestFactsDoNotDependOnCrashes(t *testing.T) {
	for _, c := range []struct {
		seed   uint64
		shape  shape
		within []int64 // the greatest number of writes between two deaths
	}{
		{201, shape{1, 500}, []int64{30}},
		{203, shape{3, 3}, []int64{500}},
		{216, shape{8, 20}, []int64{30, 500}},
		{239, shape{3, 3}, []int64{30, 100}},
		{244, shape{8, 20}, []int64{500}},
		{2, shape{32, 1}, []int64{900}},
	} {
		bundle := workspace(t, []string{"", "PT0S"}[c.seed%2])
		bodies, end := story(t, c.seed, 250)
		calm := newMesh(t, c.shape)
		want := calm.told(bundle, bodies, end).unseen(t)
		for _, within := range c.within {
			stormy := newMesh(t, c.shape)
			got, deaths := stormy.toldWithCrashes(bundle, bodies, end, rand.New(rand.NewPCG(c.seed, 2)), within)
			t.Logf("seed %d, %+v: %d deaths", c.seed, c.shape, deaths)
			if deaths == 0 || len(calm.received()) == 0 {
				t.Fatalf("seed %d: the process died %d times, the channels received %d", c.seed, deaths, len(calm.received()))
			}
			if !same(t, want, got.unseen(t)) {
				t.Fatalf("seed %d, %+v: after %d deaths the facts are others", c.seed, c.shape, deaths)
			}
			if diff := cmp.Diff(calm.received(), stormy.received()); diff != "" {
				t.Fatalf("seed %d: the channels received something else (-calm +stormy):\n%s", c.seed, diff)
			}
		}
	}
}

// received lists the proposals in the channels' files, sorted.
func (m *mesh) received() []string {
	m.t.Helper()
	var all []string
	err := filepath.WalkDir(m.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".jsonl" {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // only read
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var line struct{ Proposal string }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				return err
			}
			if line.Proposal == "" {
				return errors.New("a line without a proposal")
			}
			all = append(all, filepath.Base(path)+" "+line.Proposal)
		}
		return lines.Err()
	})
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(all)
	return all
}
