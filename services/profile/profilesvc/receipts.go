package profilesvc

import (
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
)

// Receipts come to the partition in which the delivery lives, since the token names it, and also if the
// customer's profile was closed meanwhile. What they say about the customer is the profile's; what they say
// about the delivery is passed on to the dispatch stage of the same partition.

const dispatchName = "dispatch"

// passOn hands a receipt of a process that had lost its partition to the partition's owner, as it is.
func passOn(e *eventv1.Event, env stage.Env) (stage.Outcome, error) {
	r := &dispatchv1.Receipt{}
	if err := r.UnmarshalVT(e.GetReceipt()); err != nil {
		return stage.Outcome{}, fault.New(fault.Invalid, "decode receipt: %w", err)
	}
	if r.GetTenant() == "" || len(r.GetCustomer()) != identity.IDSize {
		return stage.Outcome{}, fault.New(fault.Invalid, "read receipt: it is about nobody")
	}
	return stage.Outcome{Addressed: []stage.Addressed{{
		Stage: dispatchName, Partition: env.Partition, Payload: e.GetReceipt(),
		From: identity.CustomerKey(r.GetTenant(), r.GetCustomer()),
	}}}, nil
}

// withReceipt adds to an outcome what dispatch has to know of an event, if it is a provider's receipt.
func withReceipt(out stage.Outcome, e *eventv1.Event, env stage.Env) (stage.Outcome, error) {
	o := e.GetOutcome()
	if !event.IsReceipt(o.GetKind()) || o.GetSubjectId() == "" || e.GetIdentifiers()[0].GetKind() != event.KindProfile {
		return out, nil
	}
	customer, err := profile.IdentifierID(identity.Hasher{}, e.GetTenant(), e.GetIdentifiers()[0])
	if err != nil {
		return stage.Outcome{}, err
	}
	payload, err := (&dispatchv1.Receipt{
		Tenant: e.GetTenant(), Customer: customer, Proposal: o.GetSubjectId(), Cause: e.GetId(),
		Report: &dispatchv1.Receipt_Provider{Provider: o.GetKind()},
	}).MarshalVT()
	if err != nil {
		return stage.Outcome{}, fault.New(fault.Internal, "encode receipt: %w", err)
	}
	out.Addressed = append(out.Addressed, stage.Addressed{
		Stage: dispatchName, Partition: env.Partition, Payload: payload, From: identity.CustomerKey(e.GetTenant(), customer),
	})
	return out, nil
}
