package journey

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/identity"
)

// NoBranch is StepEntered.branch where no case was taken.
const NoBranch = -1

// Ways in which an enrollment ends, as in EnrollmentEnded.as, besides an exit's own goal or exit.
const (
	// EndedCompleted says that the last step is over, or a case said exit: true.
	EndedCompleted = "completed"
	// EndedLinked says that the profile was closed.
	EndedLinked = "identity_linked"
)

// Step advances e by one input and says what follows. It does no I/O, reads no clock and draws no
// randomness: equal arguments give equal results, and e is not changed. An input that e is not waiting
// for leaves e as it was. The error says that e does not fit d, which is a bug of the caller.
func (d *Definition) Step(e *decisionv1.Enrollment, in Input, env Env) (Result, error) {
	if e.GetJourneyHash() != d.Hash {
		return Result{}, fmt.Errorf("step enrollment %s: it is pinned to %s, not to %s", e.GetId(), e.GetJourneyHash(), d.Hash)
	}
	at := d.step(e.GetStep())
	if at == Done {
		return Result{}, fmt.Errorf("step enrollment %s: journey %s has no step %q", e.GetId(), d.Name, e.GetStep())
	}
	switch in := in.(type) {
	case Happened:
		return d.happened(e, in.Event, env), nil
	case Linked:
		return end(e, EndedLinked, in.Cause), nil
	case Resolved:
		return resolved(e, in, env), nil
	case Due:
		return d.due(e, at, env), nil
	}
	panic(fmt.Sprintf("journey input %T is not in the closed set", in))
}

func (d *Definition) happened(e *decisionv1.Enrollment, ev Event, env Env) Result {
	if as, ok := d.exit(ev, env); ok {
		return end(e, as, ev.Event.GetId())
	}
	return Result{Enrollment: e}
}

// exit returns how an event ends the journey, if it does.
func (d *Definition) exit(ev Event, env Env) (as string, ok bool) {
	for _, x := range d.Exits {
		if x.Event != "" && x.Event != ev.Name {
			continue
		}
		if ok, err := holds(x.Where, eventInput(ev, env)); ok && err == nil {
			return x.As, true
		}
	}
	return "", false
}

// resolved notes when the proposal ended; going on needs the profile and is left to Due.
func resolved(e *decisionv1.Enrollment, in Resolved, env Env) Result {
	if e.GetProposal() == "" || e.GetProposal() != in.Proposal {
		return Result{Enrollment: e}
	}
	e = e.CloneVT()
	e.Proposal, e.Ready, e.WakeAt = "", true, timestamppb.New(env.Now)
	return Result{Enrollment: e}
}

// due takes the step after, if the current one is over. What is over counts from the instant at which it
// ended, not from the one at which that was noticed.
func (d *Definition) due(e *decisionv1.Enrollment, at int, env Env) Result {
	if e.GetProposal() != "" || e.GetWakeAt() == nil || e.GetWakeAt().AsTime().After(env.Now) {
		return Result{Enrollment: e}
	}
	e = e.CloneVT()
	since := e.GetWakeAt().AsTime()
	e.WakeAt, e.Ready = nil, false
	w := walk{d: d, env: env, since: since, in: entryInput(e, env)}
	return w.run(e, d.Steps[at].Next)
}

// walk goes from step to step until one has to wait.
type walk struct {
	d   *Definition
	env Env
	// since is when the step before ended.
	since time.Time
	in    expr.Input
	facts []*decisionv1.Fact
}

// run changes e, which is the walk's own copy.
func (w *walk) run(e *decisionv1.Enrollment, next int) Result {
	for next != Done {
		s := &w.d.Steps[next]
		e.Step = s.ID
		e.Visit++
		switch s.Kind {
		case StepAction:
			w.entered(e, NoBranch)
			p := w.proposal(e, s)
			e.Proposal = p.ID
			return Result{Enrollment: e, Facts: w.facts, Propose: p}
		case StepWait:
			until := w.env.after(w.since, s.Wait)
			w.waits(e, s, until)
			if until.After(w.env.Now) {
				e.WakeAt = timestamppb.New(until)
				return Result{Enrollment: e, Facts: w.facts}
			}
			w.since, next = until, s.Next
		case StepBranch:
			taken := w.branch(s)
			w.entered(e, taken)
			if taken == NoBranch {
				next = s.Next
				continue
			}
			if s.Cases[taken].Exit {
				next = Done
				continue
			}
			next = s.Cases[taken].First
		default:
			panic(fmt.Sprintf("step kind %d is not in the closed set", s.Kind))
		}
	}
	r := end(e, EndedCompleted, "")
	r.Facts = append(w.facts, r.Facts...)
	return r
}

func (w *walk) branch(s *Step) int {
	for i, c := range s.Cases {
		if ok, err := holds(c.When, w.in); ok && err == nil {
			return i
		}
	}
	return NoBranch
}

// entered notes that e has come to its step, and returns the note.
func (w *walk) entered(e *decisionv1.Enrollment, branch int) *decisionv1.StepEntered {
	entered := &decisionv1.StepEntered{
		Enrollment: e.GetId(), Journey: e.GetJourney(), Step: e.GetStep(), Visit: e.GetVisit(),
		Branch: int32(branch), //nolint:gosec // a journey has at most maxSteps cases
	}
	w.facts = append(w.facts, &decisionv1.Fact{Fact: &decisionv1.Fact_StepEntered{StepEntered: entered}})
	return entered
}

// waits notes that e has come to a wait: when it ends, and in which zone its days were counted.
func (w *walk) waits(e *decisionv1.Enrollment, s *Step, until time.Time) {
	entered := w.entered(e, NoBranch)
	entered.Until, entered.Zone = timestamppb.New(until), w.env.calendar(s.Wait)
}

func (w *walk) proposal(e *decisionv1.Enrollment, s *Step) *Proposal {
	return &Proposal{
		ID:         identity.Derive("proposal", e.GetId(), s.ID, fmt.Sprint(e.GetVisit())),
		Action:     s.Action,
		ValidUntil: w.env.after(w.env.Now, s.Until),
		Cause:      &decisionv1.Cause{Journey: e.GetJourney(), Enrollment: e.GetId(), Step: s.ID, Visit: e.GetVisit()},
		Context:    e.GetEvent(),
	}
}

// end finishes e. Its proposal, if one is not resolved yet, has to be taken back.
func end(e *decisionv1.Enrollment, as, cause string) Result {
	return Result{
		Withdraw: e.GetProposal(),
		Facts: []*decisionv1.Fact{{Fact: &decisionv1.Fact_EnrollmentEnded{EnrollmentEnded: &decisionv1.EnrollmentEnded{
			Enrollment: e.GetId(), Journey: e.GetJourney(), As: as, Event: cause,
		}}}},
	}
}

func eventInput(ev Event, env Env) expr.Input {
	return expr.Input{
		EventType: ev.Event.GetType(), EventID: ev.Event.GetId(), EventAt: ev.Event.GetAt().AsTime(),
		Properties: event.Details(ev.Event), Traits: env.Traits,
	}
}

// entryInput is the entering event as the enrollment keeps it, whenever a step looks at it.
func entryInput(e *decisionv1.Enrollment, env Env) expr.Input {
	return expr.Input{
		EventType: e.GetEventType(), EventAt: e.GetEnteredAt().AsTime(), Properties: e.GetEvent(), Traits: env.Traits,
	}
}

// holds evaluates a condition; a missing one holds.
func holds(p *expr.Program, in expr.Input) (bool, error) {
	if p == nil {
		return true, nil
	}
	return p.Bool(in)
}
