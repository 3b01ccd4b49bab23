package decide_test

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/journey/scripttest"
	"refrain.dev/pkg/window"
)

var update = flag.Bool("update", false, "write the traces into the scripts")

func schema(t testing.TB) *expr.Env {
	t.Helper()
	env, err := expr.NewEnv(expr.Schema{
		Events: map[string]map[string]expr.Type{"order_placed": {"total": expr.Double}, "cancelled": {}},
		Traits: map[string]expr.Type{"vip": expr.Bool, "spent": expr.Double, "p": expr.Double},
	})
	if err != nil {
		t.Fatalf("make environment: %v", err)
	}
	return env
}

// world is one customer of a script.
type world struct {
	t      *testing.T
	env    *expr.Env
	now    time.Time
	rules  decide.Rules
	pinned map[string]*journey.Definition
	traits []*profilev1.Trait
	state  *decisionv1.State
	names  scripttest.Names
	out    []string
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, env: schema(t), now: time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC),
		rules:  decide.Rules{Revision: "r1", Actions: map[string]*decide.Action{}, Pull: map[string]bool{"web": true}},
		pinned: map[string]*journey.Definition{},
		state:  &decisionv1.State{Tenant: "default", Customer: []byte("customer-0123456")},
	}
}

func TestScripts(t *testing.T) {
	scripttest.Run(t, "testdata/*.txt", *update, func(t *testing.T) func(scripttest.Command) string {
		return newWorld(t).run
	})
}

func (w *world) run(c scripttest.Command) string {
	w.out = nil
	switch c.Name {
	case "journey", "action", "placement":
		w.define(c)
		return strings.Join(w.out, "\n")
	case "remove":
		delete(w.rules.Actions, c.Args[0])
		w.rules.Placements = slices.DeleteFunc(w.rules.Placements, func(p *decide.Placement) bool { return p.Name == c.Args[0] })
		return ""
	case "trait":
		for _, name := range c.Names {
			w.traits = slices.DeleteFunc(w.traits, func(t *profilev1.Trait) bool { return t.GetName() == name })
			w.traits = append(w.traits, scripttest.Trait(name, c.Values[name]))
		}
		slices.SortFunc(w.traits, func(a, b *profilev1.Trait) int { return strings.Compare(a.GetName(), b.GetName()) })
		return ""
	case "query":
		return w.query(c)
	case "event":
		w.event(journey.Event{Name: c.Args[0], Event: scripttest.Event(c.Args[0], c, w.now), Late: c.Has("late"), Fresh: w.now.Add(time.Hour)})
	case "after":
		p, err := window.ParsePeriod(c.Args[0])
		if err != nil {
			w.t.Fatalf("parse period: %v", err)
		}
		w.until(p.AddTo(w.now, time.UTC))
	case "verdict":
		w.verdict(c.Args[0], c.Args[1])
		w.until(w.now)
	case "link":
		s, facts, err := decide.Link(w.state, "identify-1", w.rules, w.deciding())
		w.took(s, facts, err)
	default:
		w.t.Fatalf("unknown command %s", c.Name)
	}
	w.summary()
	return strings.Join(w.out, "\n")
}

func (w *world) define(c scripttest.Command) {
	meta := &definitionv1.Metadata{Name: c.Args[0]}
	var problems []definition.Problem
	switch c.Name {
	case "journey":
		spec := unmarshal(w.t, c.Input, &definitionv1.Journey{})
		var d *journey.Definition
		d, problems = journey.Compile(c.Args[0], spec, w.env)
		w.rules.Journeys = append(w.rules.Journeys, d)
		w.pinned[d.Hash] = d
	case "action":
		spec := unmarshal(w.t, c.Input, &definitionv1.Action{})
		w.rules.Actions[c.Args[0]], problems = decide.CompileAction(meta, spec, w.env)
	case "placement":
		spec := unmarshal(w.t, c.Input, &definitionv1.Placement{})
		var p *decide.Placement
		p, problems = decide.CompilePlacement(meta, spec)
		w.rules.Placements = append(w.rules.Placements, p)
	}
	for _, p := range problems {
		w.out = append(w.out, p.String())
	}
}

func unmarshal[M proto.Message](t testing.TB, text string, m M) M {
	t.Helper()
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("parse definition: %v", err)
	}
	return m
}

func (w *world) deciding() decide.Env {
	return decide.Env{Now: w.now, Traits: w.traits, ProfileVersion: 7, Pinned: w.pinned}
}

// took keeps the result, after having checked that the state went in unchanged and stays within its bounds.
func (w *world) took(s *decisionv1.State, facts []*decisionv1.Fact, err error) {
	if err != nil {
		w.t.Fatalf("decide: %v", err)
	}
	w.state = s
	for _, f := range facts {
		w.out = append(w.out, w.names.Fact(f))
	}
}

func (w *world) due() {
	before := w.state.CloneVT()
	s, facts, err := decide.Due(w.state, w.rules, w.deciding())
	if !w.state.EqualVT(before) {
		w.t.Fatalf("Due changed its argument")
	}
	w.took(s, facts, err)
}

func (w *world) event(ev journey.Event) {
	s, facts, err := decide.Happened(w.state, ev, w.rules, w.deciding())
	w.took(s, facts, err)
	w.due()
	w.until(w.now)
}

// until lets every timer up to an instant fire at its own time.
func (w *world) until(end time.Time) {
	for range 100 {
		wake := decide.Wake(w.state)
		if wake.IsZero() || wake.After(end) {
			w.now = end
			return
		}
		if wake.After(w.now) {
			w.now = wake
			w.out = append(w.out, "-- "+wake.UTC().Format(time.RFC3339))
		}
		w.due()
	}
	w.t.Fatal("the timers do not come to rest")
}

func (w *world) verdict(proposal, resolution string) {
	for _, p := range w.state.GetProposals() {
		if w.names.Of("p", p.GetId()) != proposal {
			continue
		}
		f := &decisionv1.ProposalResolved{
			Proposal: p.GetId(), Resolution: decisionv1.Resolution(decisionv1.Resolution_value["RESOLUTION_"+resolution]),
		}
		s, err := decide.Resolved(w.state, f, w.rules, w.deciding())
		w.took(s, nil, err)
	}
}

func (w *world) query(c scripttest.Command) string {
	q := decide.Question{Placement: w.rules.Placement(c.Args[0])}
	if c.Has("explain") {
		q.Mode = decide.Explain
	}
	q.Limit, _ = strconv.Atoi(c.Values["limit"])
	if refused := c.Values["refuse"]; refused != "" {
		q.Check = func(contact decide.Contact, _ decide.Mode) []*reasonv1.Reason {
			if contact.Treatment.GetId() != refused {
				return nil
			}
			return []*reasonv1.Reason{{Code: reasonv1.Code_CODE_CAP_REACHED}}
		}
	}
	return w.names.Decision(decide.Query(w.state, q, w.rules, w.deciding()))
}

func (w *world) summary() {
	for _, e := range w.state.GetEnrollments() {
		w.out = append(w.out, w.names.Enrollment(e))
	}
	for _, p := range w.state.GetProposals() {
		w.out = append(w.out, fmt.Sprintf("= %s %s %s in %q superseded=%s", w.names.Of("p", p.GetId()), p.GetAction(),
			p.GetStatus().String()[len("PROPOSAL_STATUS_"):], p.GetPlacement(), scripttest.Stamp(p.GetSupersededAt())))
	}
	for _, e := range w.state.GetWaiting() {
		w.out = append(w.out, fmt.Sprintf("= %s waits to enter %s until=%s", e.GetEvent(), e.GetJourney(), scripttest.Stamp(e.GetUntil())))
	}
	for _, p := range w.state.GetPlacements() {
		w.out = append(w.out, fmt.Sprintf("= %s closes=%s", p.GetPlacement(), scripttest.Stamp(p.GetClosesAt())))
	}
}
