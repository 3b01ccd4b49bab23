package ingestsvc

import (
	"encoding/json"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// item is one thing that a publisher wants stored, as its entrance understood it.
type item struct {
	// raw is the item as it came, for the dead letters and for making an id.
	raw []byte
	// event as far as it is understood; nil with problems.
	event *eventv1.Event
	// fields says where each identifier of the event stood, for refusals.
	fields []string
	// happened is when it happened, by the publisher, the first that can be read counting; sent is when the publisher
	// says it sent the item. Both as they came: they may need a zone (see times).
	happened []stated
	sent     stated
	// sentAt is sent, read; zero if the publisher does not say.
	sentAt time.Time
	// untimed is what is wrong with the times if none could be read.
	untimed []event.Problem
	// problems that the entrance found: the item is refused.
	problems []event.Problem
	// remarks are about what was taken otherwise than it was published; the item is accepted all the same.
	remarks []event.Problem
	// unusable are identifiers that cannot be read. They are set aside unless no other is there.
	unusable []event.Problem
	// lane that was asked for; empty for none.
	lane string
	// forever lets a token be used after it has expired, which only an opt-out may.
	forever bool
	// partition overrides the home; nil for everything but tokens.
	partition *int
	// madeID says that the publisher gave no id and the door made one.
	madeID bool
	// to is where the item goes, and customer the hash that it goes by; set once it is prepared.
	to       address
	customer []byte
	// refusal is why it is not taken now; nil if it is.
	refusal *overload.RefusedError
	// stored is where the item is already; nil if it is not known to be.
	stored *eventv1.Position
}

// skipped says that the item is not stored now: it is wrong, it is not taken, or it is there already.
func (it *item) skipped() bool { return len(it.problems) > 0 || it.refusal != nil || it.stored != nil }

func (it *item) problem(field, why string) {
	it.problems = append(it.problems, event.Problem{Field: field, Why: why})
}

// remark notes what was taken otherwise than it was published.
func (it *item) remark(field, why string) {
	it.remarks = append(it.remarks, event.Problem{Field: field, Why: why})
}

// aside notes that an optional field is left out, and why.
func (it *item) aside(field, why string) { it.remarks = append(it.remarks, event.SetAside(field, why)) }

// identify adds an identifier and remembers where it stood.
func (it *item) identify(field, kind, value string) {
	it.event.Identifiers = append(it.event.Identifiers, &eventv1.Identifier{Kind: kind, Value: value})
	it.fields = append(it.fields, field)
}

// field says where identifier i stood.
func (it *item) field(i int) string {
	if i < len(it.fields) {
		return it.fields[i]
	}
	return "identifiers"
}

// submission is what one request brings.
type submission struct {
	tenant string
	// via is the entrance: segment, cloudevents, grpc, nats, receipt, unsubscribe.
	via   string
	items []*item
	// timed says that time passes by itself: then waiting for the stages is lag.
	timed bool
	// visit is the request's way through the gate; nil if nothing bounds it.
	visit *overload.Visit
}

// receipt is what became of a submission: everything in it is stored or refused.
type receipt struct {
	// results stand in the order of the items.
	results []result
	// replay says that time is driven by the events.
	replay bool
}

// result is what became of one item.
type result struct {
	id       string
	madeID   bool
	position *eventv1.Position
	// refused is empty if the item was accepted.
	refused    []event.Problem
	deadLetter string
	// remarks on an accepted item.
	remarks []event.Problem
}

// stated is a time as it came: where it stood and a text or number; nil if it was not there.
type stated struct {
	field string
	value any
}

func (s stated) said() bool { return s.value != nil && s.value != "" }

// read makes a time of it.
func (s stated) read(zone *time.Location) (event.Instant, error) {
	switch v := s.value.(type) {
	case string:
		return event.ParseInstant(v, zone)
	case json.Number:
		return event.ParseInstant(v.String(), zone)
	}
	return event.Instant{}, event.ErrNotATime
}
