package shop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/state"
	"refrain.dev/tools/ledger"
)

// check hands everything that is known to the ledger.
func (m *mesh) check() {
	h, err := m.history()
	if err != nil {
		m.world.Violate("history", err.Error())
		return
	}
	report := ledger.Verify(h)
	if m.trims() {
		m.checkTrimmed(h)
	}
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
	h, err := m.archive.Load(context.Background(), m.world.Store())
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
	h.Definitions, h.Sets, h.Zones = m.rules(), m.sets(), m.zones
	h.Skew = m.skew()
	if !m.beyond {
		h.Settled, h.Now = true, m.world.Now()
	}
	return h, nil
}

// checkTrimmed holds what an operator would read, the log as it is and nothing beside it, against the same rules:
// what was trimmed must not look like what is wrong.
func (m *mesh) checkTrimmed(known *ledger.History) {
	h, err := ledger.Load(context.Background(), m.world.Log(), m.world.Store(), m.gen)
	if err != nil {
		m.world.Violate("history", err.Error())
		return
	}
	trimmed := *known
	trimmed.Log, trimmed.Ends, trimmed.States, trimmed.Trimmed = h.Log, h.Ends, h.States, true
	if len(h.Log[log.Subject("prf", 0)]) < len(known.Log[log.Subject("prf", 0)]) {
		m.world.Reach("trimmed")
		if small(m.seed) {
			m.world.Reach("trimmed under pressure")
		}
	}
	for _, v := range ledger.Verify(&trimmed).Violations {
		m.world.Violate(string(v.Rule), "as trimmed: "+v.String())
	}
}

// archived is a broker that is archived before a purge.
type archived struct {
	log.Broker
	archive *ledger.Archive
}

// Purge implements log.Broker.
func (b archived) Purge(ctx context.Context, subject string, below uint64) error {
	if err := b.archive.KeepSubject(context.WithoutCancel(ctx), subject); err != nil {
		return err //nolint:wrapcheck // says what it read
	}
	return b.Broker.Purge(ctx, subject, below) //nolint:wrapcheck // it is the broker's answer
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
	for _, b := range m.allBundles() {
		if _, err := source.Get(context.Background(), source.StoreOf(m.world.Log()), b.revision); fault.Of(err) == fault.NotFound {
			m.world.Reach("catalog removed")
		}
	}
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
