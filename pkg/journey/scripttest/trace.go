package scripttest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// Names gives ids short names in the order in which they appear, so that traces can be read.
type Names struct{ ids map[string]string }

// Of is the short name of an id: the prefix with a number.
func (n *Names) Of(prefix, id string) string {
	if id == "" {
		return ""
	}
	if n.ids == nil {
		n.ids = map[string]string{}
	}
	if _, ok := n.ids[id]; !ok {
		n.ids[id] = fmt.Sprintf("%s%d", prefix, len(n.ids)+1)
	}
	return n.ids[id]
}

// Fact is one line about a fact.
func (n *Names) Fact(f *decisionv1.Fact) string {
	switch x := f.GetFact().(type) {
	case *decisionv1.Fact_EnrollmentStarted:
		e := x.EnrollmentStarted
		return fmt.Sprintf("started %s %s key=%q by %s", n.Of("e", e.GetEnrollment()), e.GetJourney(), e.GetKey(), e.GetEvent())
	case *decisionv1.Fact_StepEntered:
		e := x.StepEntered
		line := fmt.Sprintf("step %s %s visit=%d branch=%d", n.Of("e", e.GetEnrollment()), e.GetStep(), e.GetVisit(), e.GetBranch())
		if e.GetZone() != "" {
			line += fmt.Sprintf(" until=%s zone=%s", Stamp(e.GetUntil()), e.GetZone())
		}
		return line
	case *decisionv1.Fact_EnrollmentEnded:
		e := x.EnrollmentEnded
		return fmt.Sprintf("ended %s as %s %s", n.Of("e", e.GetEnrollment()), e.GetAs(), e.GetEvent())
	case *decisionv1.Fact_ProposalMade:
		p := x.ProposalMade.GetProposal()
		return fmt.Sprintf("made %s %s until %s for %q", n.Of("p", p.GetId()), p.GetAction(), Stamp(p.GetValidUntil()), p.GetPlacement())
	case *decisionv1.Fact_DecisionMade:
		return n.Decision(x.DecisionMade)
	case *decisionv1.Fact_DispatchTreatment:
		d := x.DispatchTreatment
		var via []string
		for _, t := range d.GetTreatments() {
			via = append(via, t.GetId()+"/"+t.GetChannel())
		}
		return fmt.Sprintf("dispatch %s %s via %s", n.Of("p", d.GetProposal().GetId()), d.GetProposal().GetAction(), strings.Join(via, ","))
	case *decisionv1.Fact_WithdrawProposal:
		return fmt.Sprintf("withdraw %s%s", n.Of("p", x.WithdrawProposal.GetProposal()), Reasons(x.WithdrawProposal.GetReason()))
	case *decisionv1.Fact_ProposalResolved:
		r := x.ProposalResolved
		return fmt.Sprintf("resolved %s %s %s%s", n.Of("p", r.GetProposal()), r.GetAction(), r.GetResolution().String()[len("RESOLUTION_"):], Reasons(r.GetReasons()...))
	case *decisionv1.Fact_EntryPostponed:
		return fmt.Sprintf("postponed %s by %s%s", x.EntryPostponed.GetJourney(), x.EntryPostponed.GetEvent(), Reasons(x.EntryPostponed.GetReason()))
	case *decisionv1.Fact_EntryRefused:
		return fmt.Sprintf("refused %s%s", x.EntryRefused.GetJourney(), Reasons(x.EntryRefused.GetReason()))
	}
	return fmt.Sprintf("%T", f.GetFact())
}

// Decision is a decision with one line per candidate.
func (n *Names) Decision(d *decisionv1.DecisionMade) string {
	var b strings.Builder
	fmt.Fprintf(&b, "decision %s", d.GetPlacement())
	for _, c := range d.GetCandidates() {
		mark := " "
		if c.GetChosen() {
			mark = "*"
		}
		fmt.Fprintf(&b, "\n  %s %d %s %s score=%.3f class=%d%s", mark, c.GetRank(), c.GetAction(), n.Of("p", c.GetProposal()),
			c.GetScore().GetTotal(), c.GetScore().GetClass(), Reasons(c.GetReasons()...))
	}
	return b.String()
}

// Enrollment is one line about an enrollment.
func (n *Names) Enrollment(e *decisionv1.Enrollment) string {
	return fmt.Sprintf("= %s %s at %s wake=%s proposal=%s ready=%v", n.Of("e", e.GetId()), e.GetJourney(), e.GetStep(),
		Stamp(e.GetWakeAt()), n.Of("p", e.GetProposal()), e.GetReady())
}

// Reasons lists codes with what they rest on.
func Reasons(reasons ...*reasonv1.Reason) string {
	var b strings.Builder
	for _, r := range reasons {
		fmt.Fprintf(&b, " %s(%s", strings.TrimPrefix(r.GetCode().String(), "CODE_"), r.GetRule())
		if r.GetUntil() != nil {
			b.WriteString(" until " + Stamp(r.GetUntil()))
		}
		for _, e := range r.GetEvidence() {
			b.WriteString(": " + e)
		}
		b.WriteString(")")
	}
	return b.String()
}

// Stamp is a time as text, "-" for none.
func Stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// Value reads a value as a script writes it: a number, true or false, else text.
func Value(text string) *eventv1.Value {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: n}}
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return &eventv1.Value{Kind: &eventv1.Value_Number{Number: n}}
	}
	if text == "true" || text == "false" {
		return &eventv1.Value{Kind: &eventv1.Value_Flag{Flag: text == "true"}}
	}
	return &eventv1.Value{Kind: &eventv1.Value_Text{Text: text}}
}

// Trait makes a trait.
func Trait(name, value string) *profilev1.Trait {
	return &profilev1.Trait{Name: name, Value: Value(value)}
}

// Event makes an event of a type, with the command's values as properties but for id.
func Event(eventType string, c Command, at time.Time) *eventv1.Event {
	e := &eventv1.Event{Id: c.Values["id"], Tenant: "default", Type: eventType, Kind: eventv1.Kind_KIND_TRACK, At: timestamppb.New(at)}
	for _, name := range c.Names {
		if name != "id" {
			e.Properties = append(e.Properties, &eventv1.Property{Name: name, Value: Value(c.Values[name])})
		}
	}
	return e
}
