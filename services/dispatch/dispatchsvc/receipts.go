package dispatchsvc

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/stage"
)

// read decodes an input that is not keyed by its row, a receipt; others are as they are. The key is a
// customer's.
func (f *fold) read(in stage.Input) (stage.Input, *dispatchv1.Receipt, error) {
	var receipt *dispatchv1.Receipt
	if in.Source == stage.FromBox || in.Source == stage.FromRedrive && strings.HasPrefix(in.Redriven, "box.") {
		receipt = &dispatchv1.Receipt{}
		if err := receipt.UnmarshalVT(in.Payload); err != nil {
			return in, nil, fault.As(fault.Invalid, fmt.Errorf("decode receipt: %w", err))
		}
		in.Key = identity.CustomerKey(receipt.GetTenant(), receipt.GetCustomer())
	}
	if _, _, _, err := identity.ParseKey(in.Key); err != nil {
		return in, nil, fault.As(fault.Invalid, err)
	}
	return in, receipt, nil
}

func (p *play) received(r *dispatchv1.Receipt) {
	switch report := r.GetReport().(type) {
	case *dispatchv1.Receipt_Provider:
		p.take(delivery.Reported(p.state, r.GetProposal(), report.Provider, p.moment))
	case *dispatchv1.Receipt_Call:
		p.take(delivery.Found(p.state, r.GetProposal(), resultOf(report.Call), p.moment))
	}
}

// orphans publishes what a call has found out after its process has lost the partition.
type orphans struct {
	publisher Publisher
	clock     clock.Clock
}

// Orphan implements stage.Orphans: the result comes back through EVENTS, as a receipt, to whoever owns the
// partition now. That there was room in a channel is nobody's business any more.
func (o orphans) Orphan(ctx context.Context, partition int, id, key string, result any) error {
	sent, ok := result.(sendResult)
	if !ok {
		return nil
	}
	tenant, _, customer, err := identity.ParseKey(key)
	if err != nil {
		return fmt.Errorf("publish receipt: %w", err)
	}
	now := timestamppb.New(o.clock.Now())
	e := &eventv1.Event{
		Id:     identity.Derive("receipt", tenant, id, sent.result.Status.String(), strconv.FormatUint(uint64(sent.result.Attempt), 10)),
		Tenant: tenant, Type: "receipt", Kind: eventv1.Kind_KIND_RECEIPT, At: now, ReceivedAt: now,
		Identifiers: []*eventv1.Identifier{{Kind: event.KindProfile, Value: hex.EncodeToString(customer)}},
	}
	if e.Receipt, err = (&dispatchv1.Receipt{
		Tenant: tenant, Customer: customer, Proposal: sent.proposal, Cause: e.GetId(),
		Report: &dispatchv1.Receipt_Call{Call: callResult(sent.result)},
	}).MarshalVT(); err != nil {
		return fmt.Errorf("encode receipt: %w", err)
	}
	payload, err := e.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode receipt: %w", err)
	}
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: now, At: now, Item: &stagev1.Arrival_Payload{Payload: payload},
	}}}).MarshalVT()
	if err != nil {
		return fmt.Errorf("encode receipt: %w", err)
	}
	if _, err := o.publisher.Publish(ctx, log.Subject(log.Lane(event.Lane(e)), partition), data); err != nil {
		return fmt.Errorf("publish receipt: %w", err)
	}
	return nil
}

func callResult(r delivery.Result) *dispatchv1.CallResult {
	out := &dispatchv1.CallResult{
		Attempt: r.Attempt, Status: r.Status, Transient: r.Transient, Again: r.Again,
		ProviderId: r.ProviderID, Reasons: r.Reasons, ProfileVersion: r.ProfileVersion,
	}
	if r.RetryAfter > 0 {
		out.RetryAfter = durationpb.New(r.RetryAfter)
	}
	return out
}

func resultOf(r *dispatchv1.CallResult) delivery.Result {
	return delivery.Result{
		Attempt: r.GetAttempt(), Status: r.GetStatus(), Transient: r.GetTransient(), Again: r.GetAgain(),
		RetryAfter: r.GetRetryAfter().AsDuration(), ProviderID: r.GetProviderId(), Reasons: r.GetReasons(),
		ProfileVersion: r.GetProfileVersion(),
	}
}

var _ stage.Orphans = orphans{}
