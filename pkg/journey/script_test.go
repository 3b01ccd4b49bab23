package journey_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/journey/scripttest"
	"refrain.dev/pkg/window"
)

var update = flag.Bool("update", false, "write the traces into the scripts")

func schema(t testing.TB) *expr.Env {
	t.Helper()
	env, err := expr.NewEnv(expr.Schema{
		Events: map[string]map[string]expr.Type{
			"order_placed": {"total": expr.Double, "order": expr.String, "n": expr.Int},
			"cancelled":    {"order": expr.String},
		},
		Traits: map[string]expr.Type{"vip": expr.Bool, "orders": expr.Int},
	})
	if err != nil {
		t.Fatalf("make environment: %v", err)
	}
	return env
}

func parse(t testing.TB, text string) *definitionv1.Journey {
	t.Helper()
	spec := &definitionv1.Journey{}
	if err := prototext.Unmarshal([]byte(text), spec); err != nil {
		t.Fatalf("parse journey: %v", err)
	}
	return spec
}

// world is one customer of a script.
type world struct {
	t       *testing.T
	d       *journey.Definition
	now     time.Time
	past    journey.Past
	traits  []*profilev1.Trait
	zone    *time.Location
	names   scripttest.Names
	lastOut []string
}

func TestScripts(t *testing.T) {
	scripttest.Run(t, "testdata/*.txt", *update, func(t *testing.T) func(scripttest.Command) string {
		w := &world{t: t, now: time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)}
		return w.run
	})
}

func (w *world) env() journey.Env {
	return journey.Env{Now: w.now, Tenant: "default", Customer: []byte("customer-0123456"), Traits: w.traits, Zone: w.zone, Revision: "r1"}
}

func (w *world) run(c scripttest.Command) string {
	w.lastOut = nil
	switch c.Name {
	case "journey":
		return w.define(c)
	case "trait":
		for _, name := range c.Names {
			w.traits = slices.DeleteFunc(w.traits, func(t *profilev1.Trait) bool { return t.GetName() == name })
			w.traits = append(w.traits, scripttest.Trait(name, c.Values[name]))
		}
		slices.SortFunc(w.traits, func(a, b *profilev1.Trait) int { return strings.Compare(a.GetName(), b.GetName()) })
		return ""
	case "zone":
		loc, err := time.LoadLocation(c.Args[0])
		if err != nil {
			w.t.Fatalf("load zone: %v", err)
		}
		w.zone = loc
		return ""
	case "now":
		now, err := time.Parse(time.RFC3339, c.Args[0])
		if err != nil {
			w.t.Fatalf("parse now: %v", err)
		}
		w.now = now.UTC()
		return ""
	case "after":
		p, err := window.ParsePeriod(c.Args[0])
		if err != nil {
			w.t.Fatalf("parse period: %v", err)
		}
		w.now = p.AddTo(w.now, time.UTC)
		w.step(journey.Due{})
	case "event":
		ev := journey.Event{Name: c.Args[0], Event: scripttest.Event(c.Args[0], c, w.now), Late: c.Has("late")}
		w.step(journey.Happened{Event: ev})
		r, memory := w.d.Enter(ev, w.past, w.env())
		w.follow(r)
		if memory != nil {
			w.past.Entries = append(w.past.Entries, memory)
		}
	case "resolve":
		for _, e := range w.past.Enrollments {
			w.step(journey.Resolved{Proposal: e.GetProposal()})
		}
		w.step(journey.Due{})
	case "link":
		w.step(journey.Linked{Cause: "identify-1"})
	default:
		w.t.Fatalf("unknown command %s", c.Name)
	}
	for _, e := range w.past.Enrollments {
		w.lastOut = append(w.lastOut, w.names.Enrollment(e))
	}
	return strings.Join(w.lastOut, "\n")
}

func (w *world) define(c scripttest.Command) string {
	d, problems := journey.Compile(c.Args[0], parse(w.t, c.Input), schema(w.t))
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	if len(problems) > 0 {
		return strings.Join(out, "\n")
	}
	w.d = d
	for i, s := range d.Steps {
		line := fmt.Sprintf("%d %s next=%d", i, s.ID, s.Next)
		for _, k := range s.Cases {
			line += fmt.Sprintf(" case=%d exit=%v", k.First, k.Exit)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func (w *world) step(in journey.Input) {
	running := w.past.Enrollments
	w.past.Enrollments = nil
	for _, e := range running {
		before := e.CloneVT()
		r, err := w.d.Step(e, in, w.env())
		if err != nil {
			w.t.Fatalf("step: %v", err)
		}
		if !e.EqualVT(before) {
			w.t.Fatalf("Step changed its argument: got %v, want %v", e, before)
		}
		w.follow(r)
	}
}

func (w *world) follow(r journey.Result) {
	for _, f := range r.Facts {
		w.lastOut = append(w.lastOut, w.names.Fact(f))
	}
	if r.Propose != nil {
		w.lastOut = append(w.lastOut, fmt.Sprintf("propose %s %s until %s", w.names.Of("p", r.Propose.ID), r.Propose.Action, r.Propose.ValidUntil.UTC().Format(time.RFC3339)))
	}
	if r.Withdraw != "" {
		w.lastOut = append(w.lastOut, "take back "+w.names.Of("p", r.Withdraw))
	}
	if r.Enrollment != nil {
		w.past.Enrollments = append(w.past.Enrollments, r.Enrollment)
	}
}
