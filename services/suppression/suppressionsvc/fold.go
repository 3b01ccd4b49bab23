package suppressionsvc

import (
	"fmt"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/window"
)

const stageName = "suppression"

// fold is the suppression stage: it decodes, asks package contact, and encodes.
type fold struct {
	catalogs Catalogs
	zones    *window.Zones
	lease    time.Duration
	hasher   identity.Hasher
}

// Needs implements stage.Fold.
func (f *fold) Needs(in stage.Input, _ time.Time) (stage.Needs, error) {
	in, _, err := f.read(in)
	if err != nil {
		return stage.Needs{}, err
	}
	if _, space, _, err := identity.ParseKey(in.Key); err != nil || space != "c" {
		return stage.Needs{}, fault.New(fault.Invalid, "read input: %q is not a customer's row", in.Key)
	}
	n := stage.Needs{Rows: []string{in.Key}}
	if in.Source == stage.FromRedrive && origin(in) == stage.FromBefore {
		for _, d := range proposals(in) {
			n.Members = append(n.Members, stage.Member{Set: lostSet(in.ID), Value: d.GetProposal().GetId()})
		}
	}
	return n, nil
}

// proposals are those that decision chose in an input, as far as it can be read.
func proposals(in stage.Input) []*decisionv1.DispatchTreatment {
	var out []*decisionv1.DispatchTreatment
	for _, raw := range in.Facts {
		fact := &decisionv1.Fact{}
		if fact.UnmarshalVT(raw) == nil && fact.GetDispatchTreatment() != nil {
			out = append(out, fact.GetDispatchTreatment())
		}
	}
	return out
}

// Decide implements stage.Fold.
func (f *fold) Decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	out, _, err := f.decide(in, rows, env)
	return out, err
}

// decide also returns the facts as they were before they were encoded.
func (f *fold) decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, []*contactv1.Fact, error) {
	in, letter, err := f.read(in)
	if err != nil {
		return stage.Outcome{}, nil, err
	}
	t, err := f.begin(in, rows, env)
	if err != nil {
		return stage.Outcome{}, nil, err
	}
	var reply any
	switch origin(in) {
	case stage.FromBefore:
		err = t.acted(in)
	case stage.FromAfter:
		err = t.sent(in)
	case stage.FromTimer:
		t.due()
	case stage.FromRPC:
		reply, err = t.asked(in.Request)
	case stage.FromBox:
		err = t.received(letter)
	case stage.FromLane, stage.FromCall, stage.FromRedrive:
		err = fault.New(fault.Invalid, "read input: suppression takes nothing from %s", in.Name)
	}
	if err != nil {
		return stage.Outcome{}, nil, err
	}
	out, err := t.outcome()
	out.Reply, out.Links = reply, links(t.facts)
	return out, t.facts, err
}

// links are the traces of the proposals that are judged.
func links(facts []*contactv1.Fact) []string {
	var links []string
	for _, f := range facts {
		if tp := f.GetVerdictGiven().GetRequest().GetProposal().GetTraceparent(); tp != "" {
			links = append(links, tp)
		}
	}
	return links
}

// origin says from where an input is, redriven or not.
func origin(in stage.Input) stage.Source {
	if in.Source != stage.FromRedrive {
		return in.Source
	}
	switch {
	case in.Redriven == log.Stage(stageName).After:
		return stage.FromAfter
	case isLetter(in):
		return stage.FromBox
	}
	return stage.FromBefore
}

// Gap implements stage.Fold. What an input from before would have told about permission is unknown from now
// on, so contact is closed until a later or the redriven input carries the whole basis; the proposals in it
// are resolved. An input from after leaves its room reserved: what is unsure counts. Without a letter the customer
// goes on to wait for what it brings.
func (f *fold) Gap(in stage.Input, rows stage.Rows, env stage.Env, deadLetter string) stage.Outcome {
	in, _, err := f.read(in)
	if err != nil {
		return stage.Outcome{} // it is known for nobody
	}
	t, err := f.begin(in, rows, env)
	if err != nil {
		return stage.Outcome{}
	}
	why := &reasonv1.Reason{
		Code: reasonv1.Code_CODE_GAP, Revision: t.env.Revision, Evidence: []string{"dead letter " + deadLetter},
		Remedy: "refrain dlq redrive " + deadLetter,
	}
	if t.away = deadLetter; origin(in) == stage.FromBefore {
		t.close(why)
		for _, d := range proposals(in) { // what cannot be read is resolved when it is redriven
			t.lose(d, why)
		}
	}
	t.note(&profilev1.TimelineEntry{What: "input_given_up", Reasons: []*reasonv1.Reason{why}, Id: deadLetter})
	out, err := t.outcome()
	if err != nil {
		return stage.Outcome{}
	}
	return out
}

// turn is one input at work on one row.
type turn struct {
	fold  *fold
	rows  stage.Rows
	defs  *Definitions
	env   stage.Env
	key   string
	at    time.Time
	state *contactv1.State
	// before is the row as it was; nil if there was none.
	before *contactv1.State
	// rearm writes the row although it did not change, so that the timer index follows it.
	rearm bool
	facts []*contactv1.Fact
	notes []*profilev1.TimelineEntry
	// back is the dead letter that the input is, if it is one that came back, and away the one under which it is given up,
	// if it is.
	back, away string
	lost       []string // proposals that ended because their input is given up
	found      bool     // such proposals of the dead letter that came back
	// letters to other profiles, in order.
	letters []*contactv1.Letter
}

func (f *fold) begin(in stage.Input, rows stage.Rows, env stage.Env) (*turn, error) {
	tenant, _, customer, err := identity.ParseKey(in.Key)
	if err != nil {
		return nil, fault.As(fault.Invalid, fmt.Errorf("read input: %w", err))
	}
	defs, ok := f.catalogs.At(env.Revision, tenant)
	if !ok {
		return nil, stage.NotReady("judge contact", env.Revision)
	}
	env.Revision = defs.Revision
	t := &turn{fold: f, rows: rows, defs: defs, env: env, key: in.Key, at: in.At, state: &contactv1.State{Tenant: tenant, Customer: customer}}
	if in.Source == stage.FromRedrive {
		t.back = in.ID
	}
	if row := rows.Own(in.Key); row != nil {
		t.before = &contactv1.State{}
		if err := t.before.UnmarshalVT(row); err != nil {
			return nil, fmt.Errorf("decode contact state: %w", err)
		}
		t.state = t.before
	}
	return t, nil
}

// acted takes a cell of ACTIONS.
func (t *turn) acted(in stage.Input) error {
	redriven := in.Source == stage.FromRedrive
	for _, raw := range in.Facts {
		fact := &decisionv1.Fact{}
		if err := fact.UnmarshalVT(raw); err != nil {
			return fault.New(fault.Invalid, "decode fact of decision: %w", err)
		}
		switch x := fact.GetFact().(type) {
		case *decisionv1.Fact_BasisUpdated:
			t.basis(x.BasisUpdated.GetBasis(), redriven)
		case *decisionv1.Fact_DispatchTreatment:
			if x.DispatchTreatment.GetProposal().GetId() == "" {
				return fault.New(fault.Invalid, "read proposal: it has no id")
			}
			t.proposed(x.DispatchTreatment, redriven)
		case *decisionv1.Fact_WithdrawProposal:
			t.withdraw(x.WithdrawProposal)
		default: // the other facts are decision's own history
		}
	}
	return nil
}

// sent takes a cell of SENDS.
func (t *turn) sent(in stage.Input) error {
	for _, raw := range in.Facts {
		fact := &dispatchv1.Fact{}
		if err := fact.UnmarshalVT(raw); err != nil {
			return fault.New(fault.Invalid, "decode fact of dispatch: %w", err)
		}
		if r := fact.GetDeliveryReported(); r != nil {
			t.reported(r)
		}
	}
	return nil
}

// outcome encodes what the turn led to; nothing if it led to nothing.
func (t *turn) outcome() (stage.Outcome, error) {
	changed := t.before == nil || !t.before.EqualVT(t.state)
	if t.before == nil && len(t.facts) == 0 && len(t.state.GetLedger()) == 0 && t.state.GetBasis() == nil && len(t.letters) == 0 {
		changed = false
	}
	cell := stage.Cell{Key: t.key, Deltas: t.deltas()}
	if changed || t.rearm {
		row, err := t.state.MarshalVT()
		if err != nil {
			return stage.Outcome{}, fmt.Errorf("encode contact state: %w", err)
		}
		cell.State, cell.Wake = row, contact.Wake(t.state)
	}
	for _, f := range t.facts {
		raw, err := f.MarshalVT()
		if err != nil {
			return stage.Outcome{}, fmt.Errorf("encode fact: %w", err)
		}
		cell.Facts = append(cell.Facts, raw)
	}
	if cell.State == nil && cell.Facts == nil && cell.Deltas == nil {
		return stage.Outcome{}, nil
	}
	letters, err := t.addressed()
	return stage.Outcome{Cells: []stage.Cell{cell}, Addressed: letters}, err
}

var _ stage.Fold = (*fold)(nil)
