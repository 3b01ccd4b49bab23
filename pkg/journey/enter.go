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

	"refrain.dev/pkg/identity"
)

// MaxContext bounds the kept properties of an entering event, in encoded bytes: whole properties in
// their order as long as they fit. Expressions of later steps and templates see only these.
const MaxContext = 1024

// Past is what a customer has been through, as far as entering again depends on it.
type Past struct {
	// Enrollments that are running.
	Enrollments []*decisionv1.Enrollment
	// Entries remembered.
	Entries []*decisionv1.EntryMemory
}

// Enter says what follows from an event that may start the journey: nothing if it is not the journey's
// event or where does not hold; an EntryRefused with its reason if the event is late or the re-entry rule
// says no; else a new enrollment that has come to its first waiting step. Memory is what to remember of
// the entry, nil if nothing is.
func (d *Definition) Enter(ev Event, past Past, env Env) (r Result, memory *decisionv1.EntryMemory) {
	if ev.Name != d.Entry.Event {
		return Result{}, nil
	}
	ok, err := holds(d.Entry.Where, eventInput(ev, env))
	if err != nil {
		return d.refuse(d.failed("entry.where", err, env)), nil
	}
	if !ok {
		return Result{}, nil
	}
	key, err := d.key(ev, env)
	if err != nil {
		return d.refuse(d.failed("key", err, env)), nil
	}
	if reason := d.refusal(ev, key, past, env); reason != nil {
		return d.refuse(reason), nil
	}
	return d.start(ev, key, env), d.remember(key, env)
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

func (d *Definition) refusal(ev Event, key string, past Past, env Env) *reasonv1.Reason {
	if ev.Late {
		return &reasonv1.Reason{
			Code: reasonv1.Code_CODE_LATE_NO_TRIGGER, Rule: d.rule("entry"), Revision: env.Revision,
			Evidence: []string{fmt.Sprintf("%s happened %s", ev.Name, ev.Event.GetAt().AsTime().UTC().Format(time.RFC3339))},
			Remedy:   "publish it sooner, or raise the freshness of the event's definition",
		}
	}
	for _, e := range past.Enrollments {
		if e.GetJourney() == d.Name && e.GetKey() == key {
			return d.again("entered "+stamp(e.GetEnteredAt())+" and not over yet", env)
		}
	}
	for _, m := range past.Entries {
		if m.GetJourney() != d.Name || m.GetKey() != key {
			continue
		}
		switch d.Reentry.Kind {
		case ReentryNever:
			return d.again("entered "+stamp(m.GetAt()), env)
		case ReentryAfter:
			if until := d.Reentry.After.AddTo(m.GetAt().AsTime(), time.UTC); env.Now.Before(until) {
				reason := d.again("last entered "+stamp(m.GetAt()), env)
				reason.Until = timestamppb.New(until)
				return reason
			}
		case ReentryAlways:
		}
	}
	return nil
}

func (d *Definition) start(ev Event, key string, env Env) Result {
	e := &decisionv1.Enrollment{
		Id:      identity.Derive("enrollment", env.Tenant, hex.EncodeToString(env.Customer), d.Name, key, ev.Event.GetId()),
		Journey: d.Name, JourneyHash: d.Hash, Revision: env.Revision, Key: key,
		EnteredAt: timestamppb.New(env.Now),
		Event:     kept(ev.Event.GetProperties()), EventType: ev.Event.GetType(),
	}
	started := &decisionv1.Fact{Fact: &decisionv1.Fact_EnrollmentStarted{EnrollmentStarted: &decisionv1.EnrollmentStarted{
		Enrollment: e.GetId(), Journey: d.Name, Key: key, Event: ev.Event.GetId(),
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

// Forgettable says that a remembered entry of this journey has no effect any more at now.
func (d *Definition) Forgettable(m *decisionv1.EntryMemory, now time.Time) bool {
	switch d.Reentry.Kind {
	case ReentryAlways:
		return true
	case ReentryAfter:
		return !now.Before(d.Reentry.After.AddTo(m.GetAt().AsTime(), time.UTC))
	case ReentryNever:
	}
	return false
}

func (d *Definition) refuse(reason *reasonv1.Reason) Result {
	return Result{Facts: []*decisionv1.Fact{{Fact: &decisionv1.Fact_EntryRefused{EntryRefused: &decisionv1.EntryRefused{
		Journey: d.Name, Reason: reason,
	}}}}}
}

func (d *Definition) again(evidence string, env Env) *reasonv1.Reason {
	return &reasonv1.Reason{
		Code: reasonv1.Code_CODE_DUPLICATE, Rule: d.rule("reentry"), Revision: env.Revision, Evidence: []string{evidence},
	}
}

func (d *Definition) failed(part string, err error, env Env) *reasonv1.Reason {
	return &reasonv1.Reason{
		Code: reasonv1.Code_CODE_NOT_ELIGIBLE, Rule: d.rule(part), Revision: env.Revision,
		Evidence: []string{err.Error()}, Remedy: "mend the expression so that it has a value for every event",
	}
}

func (d *Definition) rule(part string) string { return "Journey/" + d.Name + "." + part }

// kept returns the leading properties that fit MaxContext, each on its own merit.
func kept(all []*eventv1.Property) []*eventv1.Property {
	var out []*eventv1.Property
	room := MaxContext
	for _, p := range all {
		if n := p.SizeVT(); n <= room {
			out = append(out, p)
			room -= n
		}
	}
	return out
}

func stamp(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }
