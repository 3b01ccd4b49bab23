package shop

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/simulate"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
	"refrain.dev/tools/ledger"
)

// providers are what lies behind all channels: they keep their own record of what reached them, and they do
// not always tell the truth about it.
type providers struct {
	*mesh

	received []*ledger.Request
	receipts []receipt
	busy     int
}

// receipt is a report that a provider still owes.
type receipt struct {
	tenant, token string

	kind  eventv1.OutcomeKind
	times int
	after time.Duration
}

func newProviders(m *mesh) *providers { return &providers{mesh: m} }

// idle says whether no provider owes a report.
func (d *providers) idle() bool { return len(d.receipts) == 0 && d.busy == 0 }

// manner is how a provider treats one request.
type manner int

const (
	honest        manner = iota // takes it and says so
	silent                      // takes it and never answers
	garbled                     // takes it and answers garbage
	refusing                    // does not take it and says so
	lying                       // takes it and says that it did not
	overloaded                  // does not take it and asks to come back
	disappearing                // does not take it and never answers
	afterthoughts               // takes it, says so, and reports it several times
)

// String names a manner in goals.
func (h manner) String() string {
	return []string{"honest", "silent", "garbled", "refusing", "lying", "overloaded", "disappearing", "afterthoughts"}[h]
}

// mannerOf is the same whenever a proposal is sent in a run.
func (d *providers) mannerOf(proposal string, attempt int) manner {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s/%d", d.seed, proposal, attempt)
	switch k := h.Sum64() % 40; {
	case k < 3:
		return silent
	case k < 5:
		return garbled
	case k < 8:
		return refusing
	case k < 9:
		return lying
	case k < 12:
		return overloaded
	case k < 13:
		return disappearing
	case k < 19:
		return afterthoughts
	default:
		return honest
	}
}

// adapters of a dispatch process, by kind.
func (d *providers) adapters(p *simulate.Process) map[string]channel.Factory {
	return map[string]channel.Factory{
		"file": func(def *definitionv1.Channel, _ channel.Options) (channel.Adapter, error) {
			if def.GetConfig()["path"] == "desk.jsonl" {
				return &desk{adapter{d, p}}, nil
			}
			return &adapter{d, p}, nil
		},
	}
}

// adapter is one process's way to the providers.
type adapter struct {
	*providers

	p *simulate.Process
}

// Close implements channel.Adapter.
func (*adapter) Close() error { return nil }

// Send implements channel.Adapter: one request, through a network that loses and delays it. It counts from when it
// left: what the network holds up nobody can call back.
func (a *adapter) Send(ctx context.Context, m channel.Message) delivery.Result {
	var how manner
	left := a.world.Now()
	err := a.p.Outside(ctx, m.Channel, len(m.Body), func() error {
		how = a.arrive(m, left)
		return nil
	})
	switch {
	case err != nil && ctx.Err() == nil, err != nil:
		a.world.Reach("send without an answer")
		return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
	case how == silent || how == disappearing:
		_ = a.p.Sleep(ctx, time.Minute) // the adapter's time-out ends it
		return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
	case how == garbled:
		return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
	case how == refusing || how == lying:
		return delivery.Result{Status: dispatchv1.Status_STATUS_REJECTED, Reasons: []*reasonv1.Reason{{Code: reasonv1.Code_CODE_PROVIDER_REJECTED}}}
	case how == overloaded:
		return delivery.Result{
			Status: dispatchv1.Status_STATUS_UNSENT, Transient: true, RetryAfter: 500 * time.Millisecond,
			Reasons: []*reasonv1.Reason{{Code: reasonv1.Code_CODE_PROVIDER_THROTTLED}},
		}
	}
	return delivery.Result{Status: dispatchv1.Status_STATUS_ACCEPTED, ProviderID: "p-" + m.Proposal}
}

// desk is the way to a provider that can be asked what it has.
type desk struct{ adapter }

// LookUp implements channel.Looker: it tells the truth.
func (d *desk) LookUp(ctx context.Context, proposal string) (delivery.Result, error) {
	has := false
	err := d.p.Outside(ctx, "desk", 0, func() error {
		for _, r := range d.received {
			if r.Proposal == proposal {
				has = has || r.Accepted
				r.Refused = r.Refused || !r.Accepted // told for certain
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return delivery.Result{}, fmt.Errorf("ask the desk: %w", err)
	case has:
		d.world.Reach("looked up: there")
		return delivery.Result{Status: dispatchv1.Status_STATUS_ACCEPTED, ProviderID: "p-" + proposal}, nil
	}
	d.world.Reach("looked up: not there")
	return delivery.Result{Status: dispatchv1.Status_STATUS_UNSENT, Transient: true}, nil
}

// arrive is the providers' side of a request: what is written down here is the truth.
func (d *providers) arrive(m channel.Message, left time.Time) manner {
	attempt := 0
	for _, r := range d.received {
		if r.Proposal == m.Proposal {
			attempt++
		}
	}
	how := d.mannerOf(m.Proposal, attempt)
	r := &ledger.Request{
		Proposal: m.Proposal, Channel: m.Channel, Tenant: m.Tenant, Customer: m.Customer, Address: m.Address, Started: left,
		Accepted: how != refusing && how != overloaded && how != disappearing,
		Refused:  how == refusing || how == overloaded || how == lying,
	}
	if r.Accepted {
		r.Message = fmt.Sprintf("%s/%d", m.Proposal, len(d.received))
	}
	d.received = append(d.received, r)
	d.world.Reach("provider." + how.String())
	switch how { //nolint:exhaustive // the others never report
	case afterthoughts:
		d.receipts = append(d.receipts, receipt{m.Tenant, m.Token, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED, 3, 300 * time.Millisecond})
	case silent, garbled:
		d.receipts = append(d.receipts, receipt{m.Tenant, m.Token, eventv1.OutcomeKind_OUTCOME_KIND_OPENED, 1, 2 * time.Second})
	}
	return how
}

// startCallbacks reports what is owed, through ingest, as any publisher does.
func (d *providers) startCallbacks() {
	d.world.Node("provider", simulate.NodeConfig{RestartAfter: -1}).Start(func(p *simulate.Process) error {
		c := &client{mesh: d.mesh, p: p, number: 9}
		for {
			if err := p.Sleep(p.Context(), 200*time.Millisecond); err != nil {
				return err //nolint:wrapcheck // the end
			}
			if len(d.receipts) == 0 {
				continue
			}
			next := d.receipts[0]
			d.busy++
			d.receipts = d.receipts[1:]
			err := d.report(c, next)
			d.busy--
			if err != nil {
				d.world.Violate(simulate.RuleScenario, err.Error())
				return err
			}
		}
	})
}

func (d *providers) report(c *client, r receipt) error {
	if err := c.p.Sleep(c.p.Context(), r.after); err != nil {
		return err //nolint:wrapcheck // the end
	}
	e := c.event(eventv1.Kind_KIND_OUTCOME, event.OutcomeName(r.kind))
	e.Tenant = r.tenant
	e.At = timestamppb.New(d.world.Now())
	e.Outcome = &eventv1.Outcome{Kind: r.kind, Token: r.token}
	for range r.times {
		if err := c.publish(c.p.Context(), e.CloneVT(), ""); err != nil {
			return fmt.Errorf("provider: %w", err)
		}
		d.world.Reach("receipt")
	}
	return nil
}
