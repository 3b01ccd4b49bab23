package journey

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
)

// Past is what a customer has been through, as far as entering again depends on it.
type Past struct {
	// Enrollments that are running.
	Enrollments []*decisionv1.Enrollment
	// Entries remembered.
	Entries []*decisionv1.EntryMemory
	// Waiting are events that came while their journey was running.
	Waiting []*decisionv1.WaitingEntry
}

// Enter returns what follows from an event that may start the journey: nothing if it is not the journey's
// event or where does not hold; an EntryRefused with its reason if the event is late or the re-entry rule
// says no; an EntryPostponed if the customer is still in the journey and reentry is always (Result.Wait is
// what to keep for Admit); else a new enrollment that has come to its first waiting step. Memory is what to
// remember of the entry, nil if nothing is.
func (d *Definition) Enter(ev Event, past Past, env Env) (r Result, memory *decisionv1.EntryMemory) {
	if ev.Name != d.Entry.Event {
		return Result{}, nil
	}
	ok, err := holds(d.Entry.Where, eventInput(ev, env))
	if err != nil {
		return d.refuse(asked{event: ev.Event.GetId()}, d.failed("entry.where", err, env)), nil
	}
	if !ok {
		return Result{}, nil
	}
	key, err := d.key(ev, env)
	if err != nil {
		return d.refuse(asked{event: ev.Event.GetId()}, d.failed("key", err, env)), nil
	}
	a := asked{key: key, event: ev.Event.GetId()}
	if ev.Late {
		return d.refuse(a, d.late(ev, env)), nil
	}
	c := candidate{asked: a, eventType: ev.Event.GetType()}
	var reason *reasonv1.Reason
	if c.properties, reason = d.keep(event.Details(ev.Event), env); reason != nil {
		return d.refuse(a, reason), nil
	}
	if inside := past.inside(d.Name, key); inside != "" {
		return d.inside(ev, c, inside, past, env), nil
	}
	if reason := d.again(key, past, env); reason != nil {
		return d.refuse(a, reason), nil
	}
	return d.start(c, env), d.remember(key, env)
}

// asked names an entry that an event asks for.
type asked struct{ key, event string }

// candidate is an entry with what the enrollment keeps of its event.
type candidate struct {
	asked

	eventType  string
	properties []*eventv1.Property
}

func (d *Definition) key(ev Event, env Env) (string, error) {
	if d.Key == nil {
		return "", nil
	}
	v, err := d.Key.Value(eventInput(ev, env))
	if err != nil {
		return "", err
	}
	return keyText(v)
}

// keyText is the text of a scalar; lists, objects and null are no keys.
func keyText(v *eventv1.Value) (string, error) {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		if len(k.Text) > 200 {
			return identity.Derive("key", k.Text), nil
		}
		return k.Text, nil
	case *eventv1.Value_Integer:
		return strconv.FormatInt(k.Integer, 10), nil
	case *eventv1.Value_Number:
		return strconv.FormatFloat(k.Number, 'g', -1, 64), nil
	case *eventv1.Value_Flag:
		return strconv.FormatBool(k.Flag), nil
	case nil, *eventv1.Value_List, *eventv1.Value_Object:
		return "", fmt.Errorf("the key is not text, a number or a flag")
	}
	panic(fmt.Sprintf("value kind %T is not in the closed set", v.GetKind()))
}

func (d *Definition) late(ev Event, env Env) *reasonv1.Reason {
	return &reasonv1.Reason{
		Code: reasonv1.Code_CODE_LATE_NO_TRIGGER, Rule: d.rule("entry"), Revision: env.Revision,
		Evidence: []string{fmt.Sprintf("%s happened %s", ev.Name, ev.Event.GetAt().AsTime().UTC().Format(time.RFC3339))},
		Remedy:   "publish it sooner, or raise the freshness of the event's definition",
	}
}

// again returns why the re-entry rule does not allow an entry; nil if it does.
func (d *Definition) again(key string, past Past, env Env) *reasonv1.Reason {
	for _, m := range past.Entries {
		if m.GetJourney() != d.Name || m.GetKey() != key {
			continue
		}
		switch d.Reentry.Kind {
		case ReentryNever:
			return d.reentryReason("entered "+stamp(m.GetAt()), env)
		case ReentryAfter:
			if until := env.after(m.GetAt().AsTime(), d.Reentry.After); env.Now.Before(until) {
				reason := d.reentryReason("last entered "+stamp(m.GetAt()), env)
				reason.Until = timestamppb.New(until)
				return reason
			}
		case ReentryAlways:
		}
	}
	return nil
}

func (d *Definition) start(c candidate, env Env) Result {
	e := &decisionv1.Enrollment{
		Id:      identity.Derive("enrollment", env.Tenant, hex.EncodeToString(env.Customer), d.Name, c.key, c.event),
		Journey: d.Name, JourneyHash: d.Hash, Revision: env.Revision, Key: c.key,
		EnteredAt: timestamppb.New(env.Now),
		Event:     c.properties, EventType: c.eventType,
	}
	started := &decisionv1.Fact{Fact: &decisionv1.Fact_EnrollmentStarted{EnrollmentStarted: &decisionv1.EnrollmentStarted{
		Enrollment: e.GetId(), Journey: d.Name, Key: c.key, Event: c.event,
	}}}
	w := walk{d: d, env: env, since: env.Now, in: entryInput(e, env), facts: []*decisionv1.Fact{started}}
	return w.run(e, 0)
}

// remember returns the entry's memory, nil where the rule never looks at it.
func (d *Definition) remember(key string, env Env) *decisionv1.EntryMemory {
	if d.Reentry.Kind == ReentryAlways {
		return nil
	}
	return &decisionv1.EntryMemory{Journey: d.Name, Key: key, At: timestamppb.New(env.Now)}
}

// Forgettable reports whether a remembered entry of this journey has no effect any more at env.Now.
func (d *Definition) Forgettable(m *decisionv1.EntryMemory, env Env) bool {
	switch d.Reentry.Kind {
	case ReentryAlways:
		return true
	case ReentryAfter:
		return !env.Now.Before(env.after(m.GetAt().AsTime(), d.Reentry.After))
	case ReentryNever:
	}
	return false
}

func (d *Definition) refuse(a asked, reason *reasonv1.Reason) Result {
	return Result{Facts: []*decisionv1.Fact{Refused(d.Name, a.key, a.event, reason)}}
}

// Refused is the fact that an event does not start a journey.
func Refused(journey, key, cause string, reason *reasonv1.Reason) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_EntryRefused{EntryRefused: &decisionv1.EntryRefused{
		Journey: journey, Key: key, Event: cause, Reason: reason,
	}}}
}

func (d *Definition) reentryReason(evidence string, env Env) *reasonv1.Reason {
	return &reasonv1.Reason{
		Code: reasonv1.Code_CODE_REENTRY, Rule: d.rule("reentry"), Revision: env.Revision, Evidence: []string{evidence},
	}
}

func (d *Definition) failed(part string, err error, env Env) *reasonv1.Reason {
	return &reasonv1.Reason{
		Code: reasonv1.Code_CODE_NOT_ELIGIBLE, Rule: d.rule(part), Revision: env.Revision,
		Evidence: []string{err.Error()}, Remedy: "mend the expression so that it has a value for every event",
	}
}

func (d *Definition) rule(part string) string { return "Journey/" + d.Name + "." + part }

func stamp(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }
