package ingestsvc

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// share is the items of a submission that go to one address and stand in one line.
type share struct {
	to     address
	urgent bool
	items  []*item
}

// admit decides what of a submission is taken now. What is not gets a refusal; what is has its place in the
// flows. The answer is why something is refused; nil if nothing is.
//
// Opt-outs, complaints and receipts are always taken. Of the rest each customer's, and then each partition's,
// stands for itself as long as the trouble is theirs alone. When it is everybody's, all that is normal in a
// submission is taken or nothing: parts of many are worth nothing to anybody. The same holds if the publisher
// could not send the same again without its having two effects.
func (d *door) admit(s submission) *overload.RefusedError {
	var worst *overload.RefusedError
	var taken []share
	whole := !repeatable(s)
	for _, sh := range d.shares(s) {
		refusal := d.room(s, sh)
		if refusal == nil {
			taken = append(taken, sh)
			continue
		}
		sh.refuse(refusal)
		whole = whole || refusal.Reason == overload.LogSlow || !d.flows.local(sh.to.lane)
	}
	for _, it := range s.items {
		worst = overload.Later(worst, it.refusal)
	}
	if worst == nil || !whole {
		return worst
	}
	for _, sh := range taken {
		if !sh.urgent {
			d.giveBack(s, sh.items)
			sh.refuse(worst)
		}
	}
	return worst
}

func (sh share) refuse(r *overload.RefusedError) {
	for _, it := range sh.items {
		it.refusal = r
	}
}

// shares groups what has no problems and is not refused by itself by address, in the order of the items.
func (d *door) shares(s submission) []share {
	type line struct {
		address
		urgent bool
	}
	var all []share
	place := map[line]int{}
	for _, it := range s.items {
		if it.stored == nil {
			it.refusal = d.alone(s, it)
		}
		if it.skipped() {
			continue
		}
		l := line{it.to, urgent(s, it)}
		n, ok := place[l]
		if !ok {
			n = len(all)
			place[l] = n
			all = append(all, share{to: it.to, urgent: l.urgent})
		}
		all[n].items = append(all[n].items, it)
	}
	return all
}

// alone is why an item is refused whatever stands beside it: no room in the streams, or its customer has too
// many. What has problems becomes a dead letter, if there is room for one.
func (d *door) alone(s submission, it *item) *overload.RefusedError {
	wrong := len(it.problems) > 0
	if !wrong && urgent(s, it) {
		return nil
	}
	lane := log.LaneLive
	if !wrong {
		lane = it.to.lane
	}
	if r := d.pressure.Full(lane); r != nil {
		return r
	}
	switch {
	case wrong && d.letters.busy():
		return &overload.RefusedError{Reason: overload.LogSlow, Why: "as many refused items as can be are being kept", After: soon}
	case wrong || lane != log.LaneLive || !s.timed:
		return nil
	}
	return d.customers.Take(it.customer, d.clock.Elapsed())
}

// room takes a share's place in its flow. Under a clock that follows the events, waiting for them is no lag.
func (d *door) room(s submission, sh share) *overload.RefusedError {
	if !s.timed {
		return nil
	}
	if sh.urgent {
		d.flows.force(sh.to, len(sh.items))
		return nil
	}
	if delay, most := d.committer.delay(sh.to), d.maxQueue; delay > most || sh.to.lane == log.LaneBulk && 2*delay > most {
		return &overload.RefusedError{Reason: overload.LogSlow, Why: fmt.Sprintf("the log takes %s to store", delay), After: soon}
	}
	return d.flows.take(sh.to, len(sh.items))
}

// giveBack takes items out of their flows: they will not be stored.
func (d *door) giveBack(s submission, items []*item) {
	for _, it := range items {
		if s.timed && !it.skipped() {
			d.flows.settle(it.to, 1, 0, errGivenBack)
		}
	}
}

// closed is why nothing normal is taken in a lane that was asked for, whomever it is about; nil if something is.
func (d *door) closed(lane string) *overload.RefusedError {
	if lane != log.LaneBulk {
		lane = log.LaneLive
	}
	if r := d.pressure.Full(lane); r != nil || !d.stamper.Skew() {
		return r
	}
	return d.flows.closed(lane)
}

// begin waits until a request may be worked on. What is normal is refused before, without a look at it, while
// nothing normal is taken at all.
func (d *door) begin(ctx context.Context, visit *overload.Visit, class overload.Class, lane string) error {
	if class == overload.Normal {
		if r := d.closed(lane); r != nil {
			return fault.As(fault.Unavailable, r)
		}
	}
	if err := visit.Begin(ctx, class); err != nil {
		return fault.As(fault.Unavailable, fmt.Errorf("begin a request: %w", err))
	}
	return nil
}

// classOf is how an entrance's requests stand, as far as the entrance tells.
func classOf(via string) overload.Class {
	if via == viaReceipt || via == viaUnsubscribe {
		return overload.Urgent
	}
	return overload.Normal
}

// urgent says that an item restricts contact or reports about it.
func urgent(s submission, it *item) bool {
	return s.via == viaReceipt || s.via == viaUnsubscribe || it.to.lane == log.LaneControl
}

// repeatable says that the same sent again has the same ids. What restricts contact may be repeated anyway.
func repeatable(s submission) bool {
	for _, it := range s.items {
		if len(it.problems) == 0 && it.madeID && it.event.GetAt() == nil && !urgent(s, it) {
			return false
		}
	}
	return true
}

// maybeUrgent says whether a body that has not been parsed may hold something that restricts contact: the
// words are in it, or something that JSON may spell in another way is.
func maybeUrgent(body []byte) bool {
	for _, sign := range []string{"consent", "complain", `\u`} {
		if bytes.Contains(body, []byte(sign)) {
			return true
		}
	}
	return false
}

// maybeUrgentType is maybeUrgent for the header that names a CloudEvent's type, where % may spell anything.
func maybeUrgentType(value string) bool {
	return maybeUrgent([]byte(value)) || strings.Contains(value, "%")
}

// hasUrgent is maybeUrgent for events.
func hasUrgent(events []*eventv1.Event) bool {
	for _, e := range events {
		if event.IsConsent(e.GetType()) || event.Lane(e) == event.LaneControl {
			return true
		}
	}
	return false
}
