package dispatchsvc

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

// fold is the dispatch stage: it decodes, asks package delivery, and encodes.
type fold struct {
	catalogs Catalogs
	// alone says that there is no other process whose calls could still be under way: under the replay clock
	// one process is the whole mesh, and what became of its calls is asked in the instant in which it begins
	// again.
	alone bool
	// others are the kinds of adapters that were given from outside.
	others map[string]channel.Factory
}

// Needs implements stage.Fold.
func (f *fold) Needs(in stage.Input, _ time.Time) (stage.Needs, error) {
	in, _, err := f.read(in)
	if err != nil {
		return stage.Needs{}, err
	}
	return stage.Needs{Rows: []string{in.Key}}, nil
}

// Decide implements stage.Fold.
func (f *fold) Decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	in, receipt, err := f.read(in)
	if err != nil {
		return stage.Outcome{}, err
	}
	p, err := f.begin(in, rows, env)
	if err != nil {
		return stage.Outcome{}, err
	}
	if receipt != nil {
		p.received(receipt)
		return p.outcome()
	}
	switch in.Source {
	case stage.FromBefore, stage.FromRedrive:
		for _, data := range in.Facts {
			if err := p.verdict(data); err != nil {
				return stage.Outcome{}, err
			}
		}
	case stage.FromCall:
		p.answered(in.Request)
	case stage.FromTimer:
		p.take(delivery.Due(p.state, p.moment))
		p.changed = p.changed || p.known && p.rearms(in.At)
	case stage.FromLane, stage.FromAfter, stage.FromBox, stage.FromRPC:
	}
	return p.outcome()
}

// Gap implements stage.Fold. What an answer was about is not known any more: it may have been sent.
func (f *fold) Gap(in stage.Input, rows stage.Rows, env stage.Env, deadLetter string) stage.Outcome {
	in, _, err := f.read(in)
	if err != nil {
		return stage.Outcome{}
	}
	p, err := f.begin(in, rows, env)
	if err != nil {
		return stage.Outcome{}
	}
	if proposal, attempt, ok := sentBy(in.ID); ok && in.Source == stage.FromCall {
		p.take(delivery.Report(p.state, proposal, delivery.Result{Attempt: attempt, Status: dispatchv1.Status_STATUS_UNKNOWN}, p.moment))
	}
	p.note(entry{what: "gap_noted", id: deadLetter, reasons: []*reasonv1.Reason{{Code: reasonv1.Code_CODE_GAP, Evidence: []string{deadLetter}}}})
	out, err := p.outcome()
	if err != nil {
		return stage.Outcome{}
	}
	return out
}

// play is one input being played against one row.
type play struct {
	env     stage.Env
	key     string
	at      time.Time
	moment  delivery.Moment
	state   *dispatchv1.State
	known   bool
	changed bool
	facts   []*dispatchv1.Fact
	calls   []stage.Call
	notes   []entry
}

func (f *fold) begin(in stage.Input, rows stage.Rows, env stage.Env) (*play, error) {
	tenant, _, customer, err := identity.ParseKey(in.Key)
	if err != nil {
		return nil, fault.As(fault.Invalid, err)
	}
	defs, ok := f.catalogs.At(env.Revision, tenant)
	if !ok {
		return nil, stage.NotReady("carry a delivery on", env.Revision)
	}
	env.Revision = defs.Revision
	p := &play{
		env: env, key: in.Key, at: in.At,
		moment: delivery.Moment{Now: env.Now, Epoch: env.Epoch, Revision: env.Revision, Channels: f.channels(defs)},
		state:  &dispatchv1.State{Tenant: tenant, Customer: customer},
	}
	if row := rows.Own(in.Key); row != nil {
		p.known = true
		if err := p.state.UnmarshalVT(row); err != nil {
			return nil, fmt.Errorf("decode deliveries: %w", err)
		}
	}
	return p, nil
}

// channels describes a tenant's channels to the state machine.
func (f *fold) channels(d Definitions) delivery.Channels {
	return func(name string) delivery.Channel {
		c := settings(d.Channels[name], f.others)
		if f.alone {
			c.Settle = 0
		}
		return c
	}
}

// rearms says whether the row's wake-up has to be written again though nothing else is to be done: it was due, or has
// moved.
func (p *play) rearms(at time.Time) bool {
	return !at.After(p.env.Now) || !delivery.Wake(p.state, p.moment).Truncate(time.Microsecond).Equal(at.Truncate(time.Microsecond))
}

func (p *play) verdict(data []byte) error {
	fact := &contactv1.Fact{}
	if err := fact.UnmarshalVT(data); err != nil {
		return fault.As(fault.Invalid, fmt.Errorf("decode verdict: %w", err))
	}
	switch v := fact.GetFact().(type) {
	case *contactv1.Fact_VerdictGiven:
		p.take(delivery.Queue(p.state, v.VerdictGiven, p.moment))
	case *contactv1.Fact_ApprovalWithdrawn:
		p.take(delivery.Withdraw(p.state, v.ApprovalWithdrawn, p.moment))
	default: // the other facts are for decision
	}
	return nil
}

func (p *play) answered(result any) {
	switch r := result.(type) {
	case paceResult:
		if r.failure != nil {
			p.take(delivery.Report(p.state, r.proposal, *r.failure, p.moment))
			return
		}
		p.take(delivery.Paced(p.state, r.proposal, r.attempt, p.moment))
	case sendResult:
		p.take(delivery.Report(p.state, r.proposal, r.result, p.moment))
	default: // a call that was cut off has no result
	}
}

func (p *play) take(s delivery.Step) {
	if s.State == nil {
		return
	}
	before := p.state
	p.state, p.changed = s.State, true
	p.facts = append(p.facts, s.Facts...)
	for _, f := range s.Facts {
		p.noteFact(f, before)
	}
	for _, a := range s.Asks {
		p.calls = append(p.calls, p.call(a))
	}
}

// call names each call by its cause, so asking again gives the same id.
func (p *play) call(a delivery.Ask) stage.Call {
	d := a.Delivery
	job := job{
		tenant: p.state.GetTenant(), customer: p.state.GetCustomer(), key: p.key,
		proposal: d.GetRequest().GetProposal(), treatment: d.GetTreatment(), attempt: d.GetAttempt(),
		notAfter: d.GetNotAfter().AsTime(), intentAt: p.env.Now, revision: p.env.Revision,
	}
	if a.Kind == delivery.AskLookUp && d.GetRevision() != "" {
		job.revision = d.GetRevision() // the provider that was called is the one to ask
	}
	kinds := map[delivery.AskKind]struct {
		name    string
		request any
	}{
		delivery.AskPace:   {"pace", paceRequest{job}},
		delivery.AskSend:   {"send", sendRequest{job}},
		delivery.AskLookUp: {"look", lookRequest{job}},
	}
	k := kinds[a.Kind]
	return stage.Call{ID: fmt.Sprintf("%s/%s/%d", k.name, d.GetProposal(), d.GetAttempt()), Key: p.key, Request: k.request}
}

// sentBy reads what a send or look-up was about from its call's id.
func sentBy(id string) (proposal string, attempt uint32, ok bool) {
	name, rest, _ := strings.Cut(id, "/")
	i := strings.LastIndexByte(rest, '/')
	if (name != "send" && name != "look") || i < 0 {
		return "", 0, false
	}
	if _, err := fmt.Sscanf(rest[i+1:], "%d", &attempt); err != nil {
		return "", 0, false
	}
	return rest[:i], attempt, true
}

func (p *play) outcome() (stage.Outcome, error) {
	if !p.changed && len(p.notes) == 0 {
		return stage.Outcome{}, nil
	}
	cell := stage.Cell{Key: p.key, Deltas: p.deltas()}
	if p.changed {
		row, err := p.state.MarshalVT()
		if err != nil {
			return stage.Outcome{}, fmt.Errorf("encode deliveries: %w", err)
		}
		cell.State, cell.Wake = row, delivery.Wake(p.state, p.moment)
	}
	for _, f := range p.facts {
		data, err := f.MarshalVT()
		if err != nil {
			return stage.Outcome{}, fmt.Errorf("encode fact: %w", err)
		}
		cell.Facts = append(cell.Facts, data)
	}
	return stage.Outcome{Cells: []stage.Cell{cell}, Calls: p.calls}, nil
}

// stamp keeps a time only if it says something.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

var _ stage.Fold = (*fold)(nil)
