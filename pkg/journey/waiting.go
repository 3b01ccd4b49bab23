package journey

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// MaxWaiting bounds the events that wait for one journey and key. One more is refused.
const MaxWaiting = 8

// inside describes what an entry would collide with: the running enrollment, or the events that wait for it
// to end. It is empty if there is neither.
func (p Past) inside(journey, key string) string {
	for _, e := range p.Enrollments {
		if e.GetJourney() == journey && e.GetKey() == key {
			return "entered " + stamp(e.GetEnteredAt()) + " and not over yet"
		}
	}
	if p.waiting(journey, key) > 0 {
		return "another event waits to enter"
	}
	return ""
}

func (p Past) waiting(journey, key string) int {
	n := 0
	for _, w := range p.Waiting {
		if w.GetJourney() == journey && w.GetKey() == key {
			n++
		}
	}
	return n
}

// inside returns what follows from an event whose customer is still in the journey: it waits if another entry is
// always allowed and there is space, else it is refused.
func (d *Definition) inside(ev Event, a candidate, evidence string, past Past, env Env) Result {
	reason := &reasonv1.Reason{
		Code: reasonv1.Code_CODE_ALREADY_ENROLLED, Rule: d.rule("reentry"), Revision: env.Revision, Evidence: []string{evidence},
		Remedy: "give the journey a key, such as the order's number, to run several at once",
	}
	switch {
	case d.Reentry.Kind != ReentryAlways, !env.Now.Before(ev.Fresh):
		return d.refuse(a.asked, reason)
	case past.waiting(d.Name, a.key) >= MaxWaiting:
		reason.Evidence = append(reason.Evidence, fmt.Sprintf("%d events wait already", MaxWaiting))
		return d.refuse(a.asked, reason)
	}
	reason.Until = timestamppb.New(ev.Fresh)
	return Result{
		Wait: &decisionv1.WaitingEntry{
			Journey: d.Name, Key: a.key, Event: a.event, EventType: a.eventType, Properties: a.properties,
			Since: timestamppb.New(env.Now), Until: timestamppb.New(ev.Fresh),
		},
		Facts: []*decisionv1.Fact{{Fact: &decisionv1.Fact_EntryPostponed{EntryPostponed: &decisionv1.EntryPostponed{
			Journey: d.Name, Key: a.key, Event: a.event, Reason: reason,
		}}}},
	}
}

// Admit lets an event that waited enter, after the enrollment before it has ended: a new enrollment that has
// come to its first waiting step, or an EntryRefused if the event has become too old to start anything.
func (d *Definition) Admit(w *decisionv1.WaitingEntry, env Env) Result {
	a := asked{key: w.GetKey(), event: w.GetEvent()}
	if !env.Now.Before(w.GetUntil().AsTime()) {
		return d.refuse(a, d.waitedTooLong(w, env))
	}
	return d.start(candidate{asked: a, eventType: w.GetEventType(), properties: w.GetProperties()}, env)
}

func (d *Definition) waitedTooLong(w *decisionv1.WaitingEntry, env Env) *reasonv1.Reason {
	return &reasonv1.Reason{
		Code: reasonv1.Code_CODE_LATE_NO_TRIGGER, Rule: d.rule("reentry"), Revision: env.Revision,
		Evidence: []string{"waited since " + stamp(w.GetSince()) + " for the enrollment before it to end"},
		Remedy:   "give the journey a key to run several at once, or raise the freshness of the event's definition",
	}
}

// Drops reports whether an event ends the journey also for an event that waits to enter it.
func (d *Definition) Drops(ev Event, env Env) bool {
	_, ok := d.exit(ev, env)
	return ok
}
