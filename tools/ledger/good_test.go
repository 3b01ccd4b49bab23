package ledger

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// Two customers: ann at home in partition 0, bob in partition 1.
const (
	ann = "default/c/aa11"
	bob = "default/c/bb22"
)

const (
	sent       = decisionv1.Resolution_RESOLUTION_SENT
	suppressed = decisionv1.Resolution_RESOLUTION_SUPPRESSED
	superseded = decisionv1.Resolution_RESOLUTION_SUPERSEDED
	unknown    = decisionv1.Resolution_RESOLUTION_UNKNOWN

	accepted  = dispatchv1.Status_STATUS_ACCEPTED
	requeued  = dispatchv1.Status_STATUS_QUEUED
	uncertain = dispatchv1.Status_STATUS_UNKNOWN
)

// worldDefinitions are the rules of worlds.
func worldDefinitions() *Definitions {
	return &Definitions{
		Zone: "Europe/London", Channels: []string{"email", "push", "sms"}, Topics: []string{"news", "rare"},
		Policies: []Policy{{
			Name: "cadence", Selects: true, Purposes: []string{"marketing"}, Channels: []string{"email", "push"},
			Limits: []Limit{
				{Max: 3, Rolling: 2 * time.Hour}, {Max: 4, Calendar: "day"}, {Max: 2, Rolling: 24 * time.Hour, Action: "offer"},
				{Max: 1, Calendar: "day", Zone: "UTC", Topic: "rare"}, {Max: 1, Rolling: 12 * time.Hour, Label: "tone=loud"},
			},
			Gap: 5 * time.Minute, Quiet: &Quiet{From: 20 * 60, To: 8 * 60}, Consent: "required",
		}},
		Actions: map[string]Action{"offer": {Obeys: true, Counts: true}},
	}
}

func at(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

func (w *world) event(id, kind string) *eventv1.Event {
	return &eventv1.Event{Id: id, Tenant: "default", Type: kind, Kind: eventv1.Kind_KIND_TRACK, At: at(w.now)}
}

func profileIn(zone string, version uint64) []byte {
	p := &profilev1.Profile{Tenant: "default", Version: version, Leaves: []*profilev1.Leaf{{}}}
	if zone != "" {
		p.Leaves[0].Zone = &profilev1.Zone{Name: zone, Provenance: "trait"}
	}
	return must(p.MarshalVT())
}

func applied(e *eventv1.Event, created bool) *profilev1.Fact {
	return &profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: &profilev1.EventApplied{Event: e, Created: created}}}
}

func consented(given bool, channel, topic string, when time.Time) *profilev1.Fact {
	state := eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
	if given {
		state = eventv1.ConsentState_CONSENT_STATE_GIVEN
	}
	return &profilev1.Fact{Fact: &profilev1.Fact_ConsentChanged{ConsentChanged: &profilev1.ConsentChanged{Record: &profilev1.ConsentRecord{
		Consent: &eventv1.Consent{State: state, Channel: channel, Topic: topic}, At: at(when),
	}}}}
}

// states makes an event one about permission: given or taken away for a channel and a topic, at an instant by its
// publisher. It returns what the profile then has in force.
func states(e *eventv1.Event, given bool, channel, topic string, when time.Time) *profilev1.Fact {
	f := consented(given, channel, topic, when)
	r := f.GetConsentChanged().GetRecord()
	r.Cause, e.At, e.Kind, e.Consent = e.GetId(), at(when), eventv1.Kind_KIND_CONSENT, r.GetConsent()
	return f
}

type encoder = interface{ MarshalVT() ([]byte, error) }

func made(id, action string, labels ...*decisionv1.Label) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_ProposalMade{ProposalMade: &decisionv1.ProposalMade{Proposal: about(id, action, labels...)}}}
}

// stepped lets an enrollment come to a step, which waits until then; the zero time: it does not wait.
func stepped(enrollment, step string, until time.Time) *decisionv1.Fact {
	entered := &decisionv1.StepEntered{Enrollment: enrollment, Step: step}
	if !until.IsZero() {
		entered.Until = timestamppb.New(until)
	}
	return &decisionv1.Fact{Fact: &decisionv1.Fact_StepEntered{StepEntered: entered}}
}

// left ends an enrollment.
func left(enrollment string) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_EnrollmentEnded{EnrollmentEnded: &decisionv1.EnrollmentEnded{Enrollment: enrollment}}}
}

func about(id, action string, labels ...*decisionv1.Label) *decisionv1.Proposal {
	return &decisionv1.Proposal{Id: id, Action: action, Purpose: "marketing", Labels: labels}
}

func chosen(id, action string) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_DispatchTreatment{DispatchTreatment: &decisionv1.DispatchTreatment{Proposal: about(id, action)}}}
}

func lost(id string) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_ProposalResolved{ProposalResolved: &decisionv1.ProposalResolved{Proposal: id, Resolution: superseded}}}
}

func verdict(kind contactv1.VerdictKind, id, action string, t *decisionv1.TreatmentRef, until time.Time) *contactv1.Fact {
	v := &contactv1.VerdictGiven{Kind: kind, Request: &decisionv1.DispatchTreatment{Proposal: about(id, action)}, Treatment: t}
	switch kind {
	case contactv1.VerdictKind_VERDICT_KIND_APPROVED:
		v.NotAfter = at(until)
	case contactv1.VerdictKind_VERDICT_KIND_DEFERRED:
		v.Until = at(until)
	default:
	}
	return &contactv1.Fact{Fact: &contactv1.Fact_VerdictGiven{VerdictGiven: v}}
}

func resolved(id string, how decisionv1.Resolution) *contactv1.Fact {
	return &contactv1.Fact{Fact: &contactv1.Fact_ProposalResolved{ProposalResolved: &decisionv1.ProposalResolved{Proposal: id, Resolution: how}}}
}

func queued(id, channel string) *dispatchv1.Fact {
	return &dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryQueued{DeliveryQueued: &dispatchv1.DeliveryQueued{Proposal: id, Channel: channel}}}
}

func intending(id, channel string, attempt uint32) *dispatchv1.Fact {
	return &dispatchv1.Fact{Fact: &dispatchv1.Fact_IntentDeclared{IntentDeclared: &dispatchv1.IntentDeclared{Proposal: id, Channel: channel, Attempt: attempt}}}
}

func reporting(id string, status dispatchv1.Status) *dispatchv1.Fact {
	return &dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryReported{DeliveryReported: &dispatchv1.DeliveryReported{Proposal: id, Status: status}}}
}

// route says how a proposal goes through the stages.
type route struct {
	id, action, channel, topic string
	key                        string
	p                          int
	// tries are what the provider says to each request; the last but one and those before are refusals.
	tries  []Request
	ends   decisionv1.Resolution
	status dispatchv1.Status
	labels []*decisionv1.Label
}

func (r route) row() []byte { return []byte("row of " + r.id) }

// The steps of a proposal, a second each.

func (w *world) choose(r route) {
	w.tick(time.Second)
	w.decide(decision, r.p, is{key: r.key, facts: []encoder{made(r.id, r.action, r.labels...), chosen(r.id, r.action)}, state: r.row()})
}

func (w *world) approve(r route) {
	w.tick(time.Second)
	ref := &decisionv1.TreatmentRef{Id: "t", Channel: r.channel, Topic: r.topic}
	w.decide(suppression, r.p, is{key: r.key, state: r.row(), facts: []encoder{
		verdict(contactv1.VerdictKind_VERDICT_KIND_APPROVED, r.id, r.action, ref, w.now.Add(15*time.Minute)),
	}})
}

func (w *world) deliverIt(r route, facts ...encoder) {
	w.tick(time.Second)
	w.decide(dispatch, r.p, is{key: r.key, state: r.row(), facts: facts})
}

func (w *world) request(r route, try Request) {
	w.tick(100 * time.Millisecond)
	try.Proposal, try.Channel, try.Customer, try.Started = r.id, r.channel, hexOf(r.key), w.now
	w.received = append(w.received, try)
}

func (w *world) resolve(r route) {
	w.tick(time.Second)
	w.decide(suppression, r.p, is{key: r.key, state: r.row(), facts: []encoder{resolved(r.id, r.ends)}})
	w.tick(time.Second)
	w.decide(decision, r.p, is{key: r.key, state: r.row()})
}

// send takes a proposal from being made to its end, one request a try, and lets six minutes pass.
func (w *world) send(r route) {
	w.choose(r)
	w.approve(r)
	w.deliverIt(r, queued(r.id, r.channel))
	for n, try := range r.tries {
		w.deliverIt(r, intending(r.id, r.channel, uint32(n+1)))
		w.request(r, try)
		status := requeued
		if n == len(r.tries)-1 {
			status = r.status
		}
		w.deliverIt(r, reporting(r.id, status))
	}
	w.resolve(r)
	w.tick(6 * time.Minute)
}

func list(kind stagev1.DeltaKind, name, value string, keep uint32) *stagev1.Delta {
	return &stagev1.Delta{Name: name, Kind: kind, Value: []byte(value), Keep: keep}
}

const (
	addTo  = stagev1.DeltaKind_DELTA_KIND_APPEND
	trimTo = stagev1.DeltaKind_DELTA_KIND_TRIM
	member = stagev1.DeltaKind_DELTA_KIND_ADD
	dropIt = stagev1.DeltaKind_DELTA_KIND_DROP
)

// goodWorld is a history with a bit of everything, in which nothing is wrong.
//
// What is handed over happens in its middle, three hours after the last send.
func goodWorld(t testing.TB, also ...func(*world)) *world {
	w := newWorld(t)
	w.tick(time.Second)
	first, yes := w.event("e1", "order_placed"), w.event("e2", "consent_given")
	w.publish("live", 0, first).Identifiers = []string{"user_id:ann"}
	w.publish("control", 0, yes)
	w.tick(time.Second)
	w.decide(profile, 0,
		is{key: "default/i/01", state: []byte("identifier"), deltas: []*stagev1.Delta{
			list(member, "default/i/01/seen/20260115", "e1", 0), list(member, "default/i/01/seen/20260112", "old", 0), list(dropIt, "default/i/01/seen/20260112", "", 0),
		}},
		is{key: ann, facts: []encoder{consented(true, "email", "*", w.now), consented(true, "push", "*", w.now), applied(yes, false)}, state: profileIn("Europe/London", 1)},
		is{key: ann, facts: []encoder{applied(first, true)}, state: profileIn("Europe/London", 2), deltas: []*stagev1.Delta{
			list(addTo, ann+"/timeline", "one", 0), list(addTo, ann+"/timeline", "two", 0), list(addTo, ann+"/timeline", "three", 0), list(trimTo, ann+"/timeline", "", 2),
		}},
	)
	w.forward()
	w.giveUp()
	w.tick(time.Second)
	w.decide(decision, 0, is{key: ann, state: []byte("journey"), wake: w.now.Add(48 * time.Hour)}, is{key: "default/c/gone", state: []byte("short"), wake: w.now.Add(time.Second)})
	w.decide(decision, 0, is{key: "default/c/gone", gone: true})
	w.decide(decision, 1, is{key: bob, state: []byte("journey"), facts: []encoder{made("p-lost", "offer"), lost("p-lost")}})

	yesIt := []Request{{Accepted: true}}
	w.send(route{id: "p1", action: "offer", channel: "email", topic: "news", key: ann, tries: yesIt, ends: sent, status: accepted})
	w.send(route{id: "p2", action: "hello", channel: "email", topic: "news", key: ann, tries: []Request{{Refused: true}, {Accepted: true}}, ends: sent, status: accepted})
	w.takeOver(0)
	w.send(route{id: "p3", action: "hello", channel: "email", topic: "news", key: bob, p: 1, tries: []Request{{}}, ends: unknown, status: uncertain})
	w.send(route{
		id: "p4", action: "offer", channel: "push", topic: "news", key: bob, p: 1, ends: sent, status: accepted,
		tries: []Request{{Key: "k4", Accepted: true, Message: "m4", Refused: true}, {Key: "k4", Accepted: true, Message: "m4"}},
	})
	w.tick(3 * time.Hour)
	w.decide(decision, 0, is{key: ann, facts: []encoder{made("p5", "hello"), chosen("p5", "hello"), made("p6", "hello"), chosen("p6", "hello")}})
	w.tick(time.Second)
	w.decide(suppression, 0, is{key: ann, state: []byte("waits"), wake: w.now.Add(20 * time.Hour), facts: []encoder{
		verdict(contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, "p5", "hello", nil, time.Time{}), resolved("p5", suppressed),
		verdict(contactv1.VerdictKind_VERDICT_KIND_DEFERRED, "p6", "hello", nil, w.now.Add(20*time.Hour)),
	}})
	for _, f := range also {
		f(w)
	}
	w.optOut("e9", 0, ann, "email")
	w.tick(time.Minute)
	w.settle()
	return w
}

// forward lets an event of bob, stored in partition 0, be applied in partition 1, and bob give consent.
func (w *world) forward() {
	fwd := w.event("e3", "product_viewed")
	w.publish("live", 0, fwd)
	w.publish("live", 0, fwd) // again, within the horizon: no effect
	letter := &profilev1.Letter{Letter: &profilev1.Letter_Forwarded{Forwarded: &profilev1.ForwardedEvent{Event: fwd}}}
	other := &profilev1.Letter{Letter: &profilev1.Letter_Claim{Claim: &profilev1.ClaimIdentifier{Tenant: "default", Cause: "e3"}}}
	w.tick(time.Second)
	from := w.decide(profile, 0, is{key: "default/i/03", state: []byte("moved"), deltas: []*stagev1.Delta{list(member, "default/i/03/seen/20260115", "e3", 0)}})
	from.record.Addressed = []*stagev1.Addressed{
		{Stage: "profile", Partition: 1, Payload: must(letter.MarshalVT()), Depth: 1},
		{Stage: "profile", Partition: 1, Payload: must(other.MarshalVT()), Depth: 1},
	}
	w.deliver(profile, 0, from)
	w.deliver(profile, 0, from) // the relay starts again: a repeat
	yes := w.event("e4", "consent_given")
	w.publish("control", 1, yes)
	w.tick(time.Second)
	w.decide(profile, 1,
		is{key: bob, state: profileIn("Europe/Berlin", 1), facts: []encoder{applied(fwd, true)}, cause: "box.profile/1/1"},
		is{key: bob, state: profileIn("Europe/Berlin", 1), cause: "box.profile/2/1"},
		is{key: bob, state: profileIn("Europe/Berlin", 2), facts: []encoder{consented(true, "*", "*", w.now), applied(yes, false)}},
	)
}

// giveUp lets an event end in the dead letters.
func (w *world) giveUp() {
	bad := w.event("e5", "order_placed")
	a := w.put("evt.bulk", 1, w.arrival(bad))
	w.sent = append(w.sent, Sent{ID: "e5", Acknowledged: w.now})
	w.tick(time.Second)
	r := w.decide(profile, 1, is{key: bob, state: profileIn("Europe/Berlin", 3)})
	r.record.Gaps = []*stagev1.Gap{w.bury("profile", 1, "evt.bulk", place{a.sequence, 1}, must(bad.MarshalVT()))}
}

// takeOver lets another process own a partition.
func (w *world) takeOver(p int) {
	for stage := range stages {
		w.open(stage, p, "two")
		attempt := w.decide(stage, p)
		attempt.record.Kind = stagev1.RecordKind_RECORD_KIND_ATTEMPT
		attempt.record.Attempt = &stagev1.Attempt{Input: "prf", Sequence: 1, Index: 1, Number: 1}
	}
}

// optOut lets a customer take permission for a channel away.
func (w *world) optOut(id string, p int, key, channel string) {
	w.optOutAt(w.now, id, p, key, channel)
}

// optOutAt lets a customer do so by a clock of his own.
func (w *world) optOutAt(when time.Time, id string, p int, key, channel string) {
	no := w.event(id, "consent_withdrawn")
	said := states(no, false, channel, "*", when)
	w.publish("control", p, no).OptOut = &OptOut{Channel: channel, Topic: "*"}
	w.tick(time.Second)
	w.decide(profile, p, is{key: key, facts: []encoder{said, applied(no, false)}, state: profileIn("Europe/London", 9)})
}

// optIn lets a customer give permission by a clock of his own.
func (w *world) optIn(when time.Time, id string, p int, key, channel string) {
	yes := w.event(id, "consent_given")
	said := states(yes, true, channel, "*", when)
	w.publish("control", p, yes)
	w.decide(profile, p, is{key: key, facts: []encoder{said, applied(yes, false)}, state: profileIn("Europe/London", 10)})
}

// settle lets every stage cover what there is, and one partition close its chains.
func (w *world) settle() {
	for p := range worldPartitions {
		for stage := range stages {
			w.decide(stage, p)
		}
		for stage := range stages {
			if p == 0 {
				w.decide(stage, p).record.Kind = stagev1.RecordKind_RECORD_KIND_CLOSE
			}
		}
	}
}

func TestNothingIsWrong(t *testing.T) {
	report := Verify(goodWorld(t).history())
	for _, v := range report.Violations {
		t.Error(v)
	}
	if len(report.Unchecked) > 0 {
		t.Errorf("not checked: %q", report.Unchecked)
	}
	const want = "events=6 profiles=2 decisions=0 proposals=7 sent=3 suppressed=1 superseded=1 expired=0 withdrawn=0 unknown=1 open=1 deferred=1 lost=0 duplicates=0 caps_exceeded=0"
	if got := report.Totals.String(); got != want {
		t.Errorf("totals are\n%s, want\n%s", got, want)
	}
}

// What is not known is not checked, and that is said.
func TestUnknown(t *testing.T) {
	h := goodWorld(t).history()
	h.Sent, h.Received, h.States, h.Definitions, h.Sets, h.Settled = nil, nil, nil, nil, nil, false
	report := Verify(h)
	if report.Count != 0 || len(report.Unchecked) != 6 {
		t.Errorf("got %v, not checked: %q; want nothing wrong and six things not checked", report.Violations, report.Unchecked)
	}
}

func label(name, value string) *decisionv1.Label { return &decisionv1.Label{Name: name, Value: value} }
