package shop

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"
	"time"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/tools/ledger"
)

//go:embed workspace/*.yaml
var workspace embed.FS

// NewBundles compiles the workspace, and a second one that allows less and says it otherwise: whichever applies
// when, the rules of the first are never broken.
func NewBundles() (*Bundles, error) {
	dir, err := fs.Sub(workspace, "workspace")
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	b := &Bundles{cache: &catalog.Cache{}, zones: &ledger.Zones{}, rules: map[string]*ledger.Definitions{}}
	changed, err := tightened(dir)
	if err != nil {
		return nil, err
	}
	for _, one := range []struct {
		fsys fs.FS
		into *bundle
	}{{dir, &b.first}, {changed, &b.next}} {
		src, diags := definition.Load(one.fsys)
		if err := diagnosed(diags); err != nil {
			return nil, err
		}
		compiled := src.Bundle()
		*one.into = bundle{revision: compiled.GetRevision(), data: definition.Marshal(compiled)}
		if _, err := b.cache.Decode(one.into.data); err != nil {
			return nil, fmt.Errorf("compile the workspace: %w", err)
		}
		rules, err := ledger.ReadDefinitions(one.fsys)
		if err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		b.rules[one.into.revision] = rules
	}
	b.rules[""] = b.rules[b.first.revision]
	return b, nil
}

// tightened is the workspace with smaller caps, a longer gap, no patience in quiet hours, another subject and a
// longer wait.
func tightened(dir fs.FS) (fs.FS, error) {
	out := fstest.MapFS{}
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, path)
		if err != nil {
			return err //nolint:wrapcheck // the caller says what was read
		}
		text := strings.NewReplacer("{max: 3, per: PT1M}", "{max: 2, per: PT1M}", "{max: 2, per: PT15S,", "{max: 2, per: PT30S,",
			"blocked: defer, max_defer: PT1M", "blocked: drop", "gap: PT1S", "gap: PT3S", "How was", "How did you like", "id: again, wait: PT2S", "id: again, wait: PT3S").Replace(string(data))
		out[path] = &fstest.MapFile{Data: []byte(text)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("change the workspace: %w", err)
	}
	return out, nil
}

// check hands everything that is known to the ledger.
func (m *mesh) check() {
	h, err := m.history()
	if err != nil {
		m.world.Violate("history", err.Error())
		return
	}
	report := ledger.Verify(h)
	if m.about != "" {
		fmt.Print(about(h, m.about))
	}
	for _, v := range report.Violations {
		m.world.Violate(string(v.Rule), v.String())
	}
	m.reach(report)
	m.scan(h)
}

func (m *mesh) history() (*ledger.History, error) {
	h, err := ledger.Load(context.Background(), m.world.Log(), m.world.Store(), m.gen)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it read
	}
	h.Sent, h.AllSent, h.Received = []ledger.Sent{}, true, []ledger.Request{}
	for _, s := range m.sent {
		h.Sent = append(h.Sent, *s)
	}
	for _, r := range m.desk.received {
		h.Received = append(h.Received, *r)
	}
	h.Definitions, h.Zones = m.rules, m.zones
	h.Trimmed = m.trims()
	h.Skew = m.skew()
	if !m.beyond {
		h.Settled, h.Now = true, m.world.Now()
	}
	return h, nil
}

// stored is how much has been stored, anywhere.
func (m *mesh) stored() uint64 {
	total := uint64(0)
	for _, spec := range log.Stages() {
		for _, name := range []string{spec.Chain, log.Box(spec.Name), log.DeadLetters(spec.Name), log.Redrive(spec.Name)} {
			total += m.last(name, 0)
		}
	}
	return total + m.last(log.Lane(log.LaneLive), 0)
}

// last is the sequence of the stream that a subject is in.
func (m *mesh) last(name string, partition int) uint64 {
	u, err := m.world.Log().Usage(context.Background(), log.Subject(name, partition))
	if err != nil {
		return 0
	}
	return u.LastSequence
}

// due counts the wake-ups until a moment.
func (m *mesh) due(until time.Time) int {
	n := 0
	for _, spec := range log.Stages() {
		for p := range partitions {
			dues, err := m.world.Store().Due(context.Background(), state.Shard{Stage: spec.Name, Partition: p}, until, 10)
			if err != nil {
				return 1
			}
			n += len(dues)
		}
	}
	return n
}

// unrest says what still moves.
func (m *mesh) unrest() string {
	var all []string
	for _, spec := range log.Stages() {
		for p := range partitions {
			shard := state.Shard{Stage: spec.Name, Partition: p}
			dues, err := m.world.Store().Due(context.Background(), shard, m.world.Now().Add(3*time.Minute), 3)
			last, lerr := m.world.Log().Last(context.Background(), log.Subject(spec.Chain, p))
			all = append(all, fmt.Sprintf("%s.%d at %d, due %v %v", spec.Chain, p, last.Sequence, dues, errors.Join(err, lerr)))
		}
	}
	return strings.Join(all, "; ")
}

// reach counts the goals that the history itself shows.
func (m *mesh) reach(r *ledger.Report) {
	t := r.Totals
	for goal, n := range map[string]int{
		"ended sent": t.Sent, "ended suppressed": t.Suppressed, "ended superseded": t.Superseded, "ended expired": t.Expired,
		"ended withdrawn": t.Withdrawn, "ended unknown": t.Unknown, "deferred": t.Deferred,
	} {
		if n > 0 {
			m.world.Reach(goal)
		}
	}
}
