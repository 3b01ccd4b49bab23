package stage

import "context"

const (
	// trialInputs is how many inputs after its application a catalog is on trial for, per partition.
	trialInputs = 200
	// trialFailures is how many of them must have gone to the dead letters for an alarm, if they are also at
	// least half of those decided so far.
	trialFailures = 5
)

// trial watches over a catalog right after it was applied: a bundle that fails many inputs is noticed, and
// named, before the dead letters are many.
type trial struct {
	revision         string
	inputs, failures int
	alarmed          bool
}

// begin puts a revision on trial.
func (t *trial) begin(revision string) { *t = trial{revision: revision} }

// judge counts an input; true says once that the revision fails too many.
func (t *trial) judge(failed bool) bool {
	if t.revision == "" || t.inputs >= trialInputs {
		return false
	}
	t.inputs++
	if failed {
		t.failures++
	}
	if t.alarmed || t.failures < trialFailures || 2*t.failures < t.inputs {
		return false
	}
	t.alarmed = true
	return true
}

// tried counts a decided input in the trial of the revision in force.
func (p *partition) tried(ctx context.Context, failed bool) {
	if !p.trial.judge(failed) {
		return
	}
	p.metrics.badCatalog(ctx)
	p.ports.Logger.Error("a catalog fails many inputs right after it was applied; apply the one before it, then redrive the dead letters",
		"stage", p.cfg.Spec.Name, "partition", p.number, "revision", p.trial.revision, "inputs", p.trial.inputs, "failed", p.trial.failures)
}
