package ledger

import (
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// History is everything that is known of a mesh: what was sent to it, all of its log, what its state store
// holds and what its providers received. Verify reads it and changes nothing. What is nil is not known, and
// what would need it is not checked; empty and not nil means known to be nothing.
type History struct {
	// Generation is the number that every record must have.
	Generation uint32
	// Partitions of the generation.
	Partitions int

	// Log holds the messages of every subject ("prf.0", "evt.live.3", "box.profile.1", "dlq.ingest.0"), all
	// of them, in the order of their sequences. A subject without messages may be missing.
	Log map[string][]log.Message
	// Ends is the last sequence of subjects that went on growing after they were read; a position up to
	// there is no position beyond the end. Subjects that are missing end where Log does.
	Ends map[string]uint64
	// Trimmed says that chains and lanes may begin behind their first message. Then what would need their
	// beginning (the fold, accounting of events and proposals) is not checked.
	Trimmed bool

	// States is the state store by stage and partition, read before the log. A shard that is missing is not
	// checked; with Settled an empty one is behind.
	States map[state.Shard]*Shard

	// Sent is the client's own log.
	Sent []Sent
	// AllSent says that Sent names every event that anybody sent, also those that were never acknowledged
	// and those that providers and recipients caused; then an event that is not in it is forged.
	AllSent bool
	// Received is the providers' own record of the requests that reached them, in any order.
	Received []Request
	// Channels are those of which Received has every request; nil: all.
	Channels []string
	// Windows are how long providers keep idempotency keys, by channel. A channel that is missing keeps none:
	// a proposal is sent at most once there, whatever key it carries.
	Windows map[string]time.Duration
	// Read is when Sent and Received were read, before the log was. Unless the mesh is settled, what happened
	// after that is not looked for in them. Zero: they know all that the log knows.
	Read time.Time
	// Definitions are the rules by the catalog revision of the verdicts that they govern; those under ""
	// stand for all other revisions.
	Definitions map[string]*Definitions
	// Tenants are the rules of tenants for all revisions, instead of those in Definitions.
	Tenants map[string]*Definitions
	// Sets say what the revisions of records stand for, where that is known: of every tenant that has definitions the
	// revision of its bundle, which Definitions are by then. Nil: nothing is known of several tenants.
	Sets map[string]map[string]string

	// Settled says that the faults are over and the mesh had time to do all that it will do, until Now if
	// that is set: everything must be covered, delivered, answered and in the store.
	Settled bool
	// Now is the time up to which everything that was due must be done, with Settled. Zero: not checked.
	Now time.Time
	// Bound is how long after the acknowledgement of an opt-out a send may still start; 0 means DefaultBound.
	Bound time.Duration
	// Zones remembers time zones from one check to the next; may be nil.
	Zones *Zones
	// Skew is by how much the clocks of clients, stages and providers may differ.
	Skew time.Duration
}

// read says whether what happened at an instant must be in Sent and Received, if it was there.
func (h *History) read(at time.Time) bool {
	return h.Settled || h.Read.IsZero() || at.Before(h.Read.Add(-h.Skew))
}

// DefaultBound is how long after an acknowledged opt-out a send may still start.
const DefaultBound = 5 * time.Second

// Sent is one event as its publisher knows it: a line of the client's log.
type Sent struct {
	// ID of the event.
	ID string `json:"id"`
	// Tenant; empty means default.
	Tenant string `json:"tenant,omitempty"`
	// Kind is the kind or type of the event, for people.
	Kind string `json:"kind,omitempty"`
	// Identifiers whom it is about, strongest first, as kind:value: they tell the events of two customers apart that have
	// one id.
	Identifiers []string `json:"identifiers,omitempty"`
	// Acknowledged is when its acknowledgement was read; zero if none was (yet): then it may be stored or not.
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	// Position is where it is stored, if the acknowledgement said so.
	Position *Position `json:"position,omitempty"`
	// OptOut is set if the event takes permission away.
	OptOut *OptOut `json:"opt_out,omitempty"`
}

// Position is where an event is stored.
type Position struct {
	Partition int    `json:"partition"`
	Lane      string `json:"lane"`
	Sequence  uint64 `json:"sequence"`
}

// OptOut is what an event takes permission away from.
type OptOut struct {
	// Customer is the hex of the customer's id, if the client knows it; else the log says to whom the event
	// was applied.
	Customer string `json:"customer,omitempty"`
	// Channel and Topic; "*" stands for all.
	Channel string `json:"channel"`
	Topic   string `json:"topic"`
}

// Request is one request that reached a provider: a line of the provider's log.
type Request struct {
	// Proposal that it carried.
	Proposal string `json:"proposal"`
	// Key is the idempotency key that it carried; empty if none.
	Key string `json:"key,omitempty"`
	// Channel, Tenant, Customer (hex) and Address as they were in the request; empty if they were not.
	Channel  string `json:"channel,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	Customer string `json:"customer,omitempty"`
	Address  string `json:"address,omitempty"`
	// Started is when the request began to arrive.
	Started time.Time `json:"started"`
	// Accepted says that the provider made a message of it, whatever it answered.
	Accepted bool `json:"accepted"`
	// Refused says that the provider told the mesh for certain that there is none, in its answer or when it
	// was asked later. A request that was neither accepted nor refused counts as a send.
	Refused bool `json:"refused,omitempty"`
	// Message is the provider's id of the message that it made: the same for repeats that it recognised.
	Message string `json:"message,omitempty"`
}

// Shard is what the state store holds of one stage and partition.
type Shard struct {
	Meta state.Meta
	// Rows by key.
	Rows map[string][]byte
	// Timers is the index of wake-ups by key.
	Timers map[string]time.Time
	// Lists by name, oldest value first, and Sets by name: those that the log speaks of.
	Lists map[string][][]byte
	Sets  map[string]map[string]bool
}

// Definitions are the rules for contact, as far as the check needs them. ReadDefinitions reads them from a
// workspace.
type Definitions struct {
	// Tenant whose customers they are for; empty: all tenants'.
	Tenant string
	// Zone is the workspace's default zone.
	Zone string
	// Region is that of telephone numbers without a country code, such as GB; empty: they are nobody's.
	Region string
	// Policies for contact.
	Policies []Policy
	// Channels and Topics that are defined: statements of permission name them. Nil: they are taken as they are said.
	Channels, Topics []string
	// Actions by name. For one that is missing its purpose decides: marketing obeys caps and counts.
	Actions map[string]Action
	// Staff are the channels whose addresses are values of a trait: what goes there is no contact with a customer.
	Staff map[string]bool
}

// Action says how contacts of an action stand to caps.
type Action struct {
	// Obeys says that caps, gaps and quiet hours apply to it, Counts that it uses up room.
	Obeys, Counts bool
}

// Policy is one contact policy.
type Policy struct {
	Name string
	// Purposes and Channels that it applies to; empty: all. Without Selects it applies to all that obeys caps.
	Selects            bool
	Purposes, Channels []string
	// Caps on contacts; Gap is the least time between two.
	Limits []Limit
	Gap    time.Duration
	// Quiet hours; nil: none.
	Quiet *Quiet
	// Consent is "required", "not_required" or empty: required for marketing.
	Consent string
}

// Limit is a cap: at most Max contacts in a window, of those that all of its selectors match.
type Limit struct {
	Max int
	// Rolling window; else Calendar: "day", "week" or "month" in Zone, an IANA name; empty: the recipient's.
	Rolling        time.Duration
	Calendar, Zone string
	// Channel, Topic, Purpose, Action and Label ("name=value"); empty: all.
	Channel, Topic, Purpose, Action, Label string
}

// Quiet are hours without contact, in the recipient's zone.
type Quiet struct {
	// From and To in minutes after midnight.
	From, To int
	// Workspace says that the default zone stands for an unknown one; else it is quiet wherever it is quiet.
	Workspace bool
}
