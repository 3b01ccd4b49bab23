package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// load reads the rows of a batch together with the shard's meta, which must be where the chain is:
// after a failover of the store the batch would otherwise be decided on states that lack their last
// changes. If it is not, the store is repaired first.
func (p *partition) load(ctx context.Context, items []item, now time.Time) (*overlay, error) {
	rows := &overlay{
		own: map[string][]byte{}, members: map[Member]bool{}, foreign: map[state.Row][]byte{},
		known: map[string]bool{}, late: map[string]*stagev1.LateWakeUp{},
	}
	q := p.query(items, now)
	if len(q.Rows) == 0 && len(q.Members) == 0 {
		return rows, nil
	}
	for range 3 {
		view, err := p.ports.Store.Read(ctx, p.number, q)
		if err != nil {
			return nil, err
		}
		meta := view.Metas[p.cfg.Spec.Name]
		if meta.Applied == p.last && !meta.Unfinished {
			err := rows.fill(p.cfg.Spec.Name, q, view, items)
			return rows, err
		}
		if meta.Damaged {
			if err := p.remake(ctx, fmt.Errorf("read states of %s: %w", p.chainName, state.ErrDamaged)); err != nil {
				return nil, err
			}
			continue
		}
		p.ports.Logger.Warn("state store is not where the chain is; repairing", "stage", p.cfg.Spec.Name,
			"partition", p.number, "store", meta.Applied, "chain", p.last)
		p.metrics.repair(ctx)
		if err := p.recover(ctx); err != nil {
			return nil, err
		}
	}
	return nil, fault.New(fault.Unavailable, "read states of partition %d: the store keeps moving away from the chain", p.number)
}

// query collects what the inputs need, each thing once.
func (p *partition) query(items []item, now time.Time) state.Query {
	q := state.Query{Metas: []string{p.cfg.Spec.Name}}
	own, sets, foreign := map[string]bool{}, map[Member]bool{}, map[state.Row]bool{}
	for n := range items {
		in := items[n].input
		if in == nil {
			continue
		}
		needs := p.allNeeds(in, now)
		if in.wakes() {
			q.Lists = append(q.Lists, state.List{Stage: p.cfg.Spec.Name, Name: lateList + in.Key, Newest: 1})
		}
		for _, k := range needs.Rows {
			if !own[k] {
				own[k] = true
				q.Rows = append(q.Rows, state.Row{Stage: p.cfg.Spec.Name, Key: k})
			}
		}
		for _, m := range needs.Members {
			if !sets[m] {
				sets[m] = true
				q.Members = append(q.Members, state.Member{Stage: p.cfg.Spec.Name, Set: m.Set, Value: m.Value})
			}
		}
		for _, f := range needs.Foreign {
			if !foreign[f] {
				foreign[f] = true
				q.Rows = append(q.Rows, f)
			}
			if !slices.Contains(q.Metas, f.Stage) {
				q.Metas = append(q.Metas, f.Stage)
			}
		}
	}
	return q
}

// allNeeds is what the fold needs for an input, and what the runtime does.
func (p *partition) allNeeds(in *Input, now time.Time) Needs {
	var needs Needs
	if in.understood() {
		if needs, in.unloaded = p.needs(in, now); in.unloaded != nil {
			needs = Needs{}
		}
	}
	if in.wakes() {
		needs.Rows = append(slices.Clip(needs.Rows), in.Key)
	}
	if in.Source == FromRedrive {
		needs.Members = append(slices.Clip(needs.Members), gapOf(in.ID))
	}
	if in.Source == FromCall {
		needs.Members = append(slices.Clip(needs.Members), gapOf(in.deadLetter(p.chainName)))
	}
	return needs
}

func (p *partition) needs(in *Input, now time.Time) (n Needs, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Internal, "the fold panicked: %v", r)
		}
	}()
	plain := asDecided(in)
	if c, ok := in.Request.(call); ok {
		plain.Request = c.body
	}
	n, err = p.fold.Needs(plain, now)
	if err == nil && len(n.Foreign) > 0 && plain.Source != FromTimer && plain.Source != FromRPC && plain.Source != FromCall {
		err = fmt.Errorf("the fold asked for rows of another stage with input %s; only timers, requests and results may", in.Name)
	}
	return n, err
}

func (o *overlay) fill(stage string, q state.Query, v state.View, items []item) error {
	for n, r := range q.Rows {
		if r.Stage == stage {
			o.own[r.Key] = v.Rows[n]
			continue
		}
		o.foreign[r] = v.Rows[n]
	}
	for n, m := range q.Members {
		o.members[Member{Set: m.Set, Value: m.Value}] = v.Members[n]
	}
	for s, meta := range v.Metas {
		o.known[s] = meta.Applied > 0 && !meta.Unfinished
	}
	for n, l := range q.Lists {
		if err := o.keepLate(strings.TrimPrefix(l.Name, lateList), v.Lists[n]); err != nil {
			return err
		}
	}
	for n := range items {
		if in := items[n].input; in != nil {
			in.recall(o.late[in.Key])
		}
	}
	return nil
}
