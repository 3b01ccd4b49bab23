// Package channel holds the adapters that carry a treatment to a provider: webhook, smtp, nats and file.
//
// What matters most about an adapter is what its errors prove. ACCEPTED: the provider has it. REJECTED:
// the provider has read it and will never take it. UNSENT: it is certain that the provider does not have
// it. Everything else is UNKNOWN, and is never tried again. No adapter repeats a call by itself.
package channel

import (
	"context"
	"log/slog"
	"time"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
)

// Message is one rendered treatment on its way to a provider. It holds personal data.
type Message struct {
	// Proposal is the key of the send.
	Proposal string
	// Action, Treatment, Channel, Purpose and Topic say what it is.
	Action, Treatment, Channel, Purpose, Topic string
	// Tenant and Customer (hex of the keyed hash) say whom it is about.
	Tenant, Customer string
	// To is the recipient's role: customer or team.
	To string
	// Identifiers of the customer, strongest first; only in a task for the team, and only if the operator lets them see it.
	Identifiers []Identifier
	// Address is the recipient's endpoint; empty if the channel needs none.
	Address string
	// Subject is one line; Body is plain text.
	Subject, Body string
	// Context is what the proposal came from.
	Context []*eventv1.Property
	// Token routes what becomes of it back.
	Token string
	// UnsubscribeURL is the one-click address; empty for what is not about a topic.
	UnsubscribeURL string
	// ListID of the topic.
	ListID string
	// At is the mesh's time.
	At time.Time
}

// Identifier is one identifier of a customer. Personal data.
type Identifier struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// LogValue keeps personal data out of logs.
func (m Message) LogValue() slog.Value {
	return slog.GroupValue(slog.String("proposal", m.Proposal), slog.String("channel", m.Channel))
}

// Adapter carries messages to one provider. Implementations are safe for concurrent use.
type Adapter interface {
	// Send makes one attempt, bounded by ctx. It always comes to a result; Result.Attempt is the caller's.
	Send(ctx context.Context, m Message) delivery.Result
	// Close gives back what the adapter holds.
	Close() error
}

// Looker is an Adapter whose provider can be asked what became of a proposal.
type Looker interface {
	// LookUp says ACCEPTED if the provider has the proposal and UNSENT, transient, if it certainly does
	// not; an error says that it could not be asked. The attempt must be over.
	LookUp(ctx context.Context, proposal string) (delivery.Result, error)
}

func accepted(providerID string) delivery.Result {
	return delivery.Result{Status: dispatchv1.Status_STATUS_ACCEPTED, ProviderID: providerID}
}

// rejected, unsent, later and unknown take evidence that must not hold personal data: no provider's text.

func rejected(evidence ...string) delivery.Result {
	return result(dispatchv1.Status_STATUS_REJECTED, reasonv1.Code_CODE_PROVIDER_REJECTED, evidence)
}

func unsent(code reasonv1.Code, evidence ...string) delivery.Result {
	return result(dispatchv1.Status_STATUS_UNSENT, code, evidence)
}

func later(evidence ...string) delivery.Result {
	r := result(dispatchv1.Status_STATUS_UNSENT, reasonv1.Code_CODE_PROVIDER_THROTTLED, evidence)
	r.Transient = true
	return r
}

// unavailable is a provider that was not reached.
func unavailable(evidence ...string) delivery.Result {
	r := result(dispatchv1.Status_STATUS_UNSENT, reasonv1.Code_CODE_PROVIDER_REJECTED, evidence)
	r.Transient = true
	r.Reasons[0].Remedy = "the provider could not be reached; nothing was written"
	return r
}

func unknown() delivery.Result {
	return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN}
}

func result(status dispatchv1.Status, code reasonv1.Code, evidence []string) delivery.Result {
	return delivery.Result{Status: status, Reasons: []*reasonv1.Reason{{Code: code, Evidence: evidence}}}
}
