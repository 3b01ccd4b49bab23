package dispatchsvc

import (
	"context"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Catalogs gives what dispatch takes from the catalogs of all tenants.
type Catalogs interface {
	// At returns a tenant's definitions at a revision, empty ones if the tenant has none; ok is false if the revision is
	// not loaded.
	At(revision, tenant string) (d Definitions, ok bool)
	// Prepare loads a revision.
	Prepare(ctx context.Context, revision string) error
}

// Definitions is what dispatch takes from one catalog. All functions are pure.
type Definitions struct {
	// Revision of the catalog; "" of a tenant that has none.
	Revision string
	// Channels and Topics by name.
	Channels map[string]*definitionv1.Channel
	Topics   map[string]*definitionv1.Topic
	// Templates finds the texts of an action's treatment; nil if there is no such treatment.
	Templates func(action, treatment string) *decide.Templates
	// LastCheck says why a contact may not be made now, without counting caps; empty: it may.
	LastCheck func(p *profilev1.Profile, c LastContact) []*reasonv1.Reason
	// Address is where an approved treatment is sent: the address that it was approved for, if that may still be used;
	// empty if there is none.
	Address func(p *profilev1.Profile, ref *decisionv1.TreatmentRef) string
	// Kinds of identifiers; nil: those that are there from the start.
	Kinds *event.Kinds
	// Traits are what templates may read.
	Traits func(p *profilev1.Profile) []*profilev1.Trait
}

// LastContact is a contact that is about to be made.
type LastContact struct {
	Proposal  *decisionv1.Proposal
	Treatment *decisionv1.TreatmentRef
	Now       time.Time
}

// Reader reads states.
type Reader interface {
	// Read answers a query on one partition consistently.
	Read(ctx context.Context, partition int, q state.Query) (state.View, error)
}

// Publisher stores messages on subjects.
type Publisher interface {
	// Publish stores data and returns its sequence.
	Publish(ctx context.Context, subject string, data []byte) (uint64, error)
}

// UsageReader says how full streams are.
type UsageReader interface {
	// Usage says how full the stream is that subject belongs to.
	Usage(ctx context.Context, subject string) (log.Usage, error)
}

// Letters reads and publishes single messages, for the dead letters.
type Letters interface {
	Publisher
	// Get returns the message at a sequence of the stream that subject belongs to.
	Get(ctx context.Context, subject string, sequence uint64) (log.Message, error)
	// Next returns the first message on subject after a sequence, or log.ErrNotFound.
	Next(ctx context.Context, subject string, after uint64) (log.Message, error)
}

// Homes knows where customers live.
type Homes interface {
	// ID is the keyed hash of a normalised identifier.
	ID(tenant string, id *eventv1.Identifier) []byte
	// Partition is the home of an id.
	Partition(id []byte) int
}

// Signer signs what deliveries carry.
type Signer interface {
	// Sign encodes a token and its signature as URL-safe text.
	Sign(t *decisionv1.Token) (string, error)
}
