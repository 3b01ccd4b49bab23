package journey_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/journey/scripttest"
)

// drawSteps makes steps of every kind, branches nested up to a depth.
func drawSteps(t *rapid.T, count *int, depth int) []*definitionv1.Step {
	var out []*definitionv1.Step
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		*count++
		s := &definitionv1.Step{Id: fmt.Sprint("s", *count)}
		switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); {
		case kind == 0:
			s.Action = "a"
		case kind == 1 || depth == 0:
			s.Wait = rapid.SampledFrom([]string{"PT0S", "PT1H", "P1D", "P1M"}).Draw(t, "wait")
		default:
			for i := range rapid.IntRange(1, 3).Draw(t, "cases") {
				c := &definitionv1.Case{When: rapid.SampledFrom([]string{"traits.vip", "!traits.vip", "event.total > 5.0"}).Draw(t, fmt.Sprint("when", i))}
				if c.Exit = rapid.IntRange(0, 4).Draw(t, "exit") == 0; !c.Exit {
					c.Steps = drawSteps(t, count, depth-1)
				}
				s.Branch = append(s.Branch, c)
			}
		}
		out = append(out, s)
	}
	return out
}

func drawJourney(t *rapid.T, env *expr.Env) *journey.Definition {
	count := 0
	spec := &definitionv1.Journey{
		Entry: &definitionv1.Entry{Event: "order_placed"}, Reentry: "always", Steps: drawSteps(t, &count, 2),
	}
	d, problems := journey.Compile("j", spec, env)
	if len(problems) > 0 {
		t.Fatalf("compile: %v", problems)
	}
	again, _ := journey.Compile("j", spec.CloneVT(), env)
	if other, _ := journey.Compile("k", spec, env); d.Hash != again.Hash || d.Hash == other.Hash {
		t.Fatalf("hashes: %s, the same again %s, another name %s", d.Hash, again.Hash, other.Hash)
	}
	return d
}

// There is no way back: every enrollment ends, after at most as many steps as the journey has, each with a
// visit of its own, and what is not waited for changes nothing.
func TestEveryEnrollmentEndsAndNoStepComesTwice(t *testing.T) {
	schema := schema(t)
	rapid.Check(t, func(t *rapid.T) {
		d := drawJourney(t, schema)
		env := journey.Env{Now: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Tenant: "default", Customer: []byte("customer-0123456")}
		ev := journey.Event{Name: "order_placed", Event: scripttest.Event("order_placed",
			scripttest.Command{Values: map[string]string{"id": "o1", "total": "7"}, Names: []string{"id", "total"}}, env.Now)}
		r, memory := d.Enter(ev, journey.Past{}, env)
		if memory != nil {
			t.Fatal("an entry is remembered that no rule looks at")
		}
		seen := map[string]bool{}
		visits := uint32(0)
		for n := 0; ; n++ {
			visits = follow(t, r.Facts, seen, visits)
			e := r.Enrollment
			if e == nil {
				break
			}
			if n > len(d.Steps)+1 {
				t.Fatal("it does not end")
			}
			env.Traits = nil
			env.Traits = append(env.Traits, scripttest.Trait("vip", fmt.Sprint(rapid.Bool().Draw(t, "vip"))))
			e = unmoved(t, d, e, env)
			if e.GetProposal() != "" {
				env.Now = env.Now.Add(time.Hour)
				r = must(t, d, e, journey.Resolved{Proposal: e.GetProposal()}, env)
				e = r.Enrollment
			} else if e.GetWakeAt().AsTime().After(env.Now) {
				env.Now = e.GetWakeAt().AsTime()
			}
			r = must(t, d, e, journey.Due{}, env)
		}
	})
}

func must(t *rapid.T, d *journey.Definition, e *decisionv1.Enrollment, in journey.Input, env journey.Env) journey.Result {
	r, err := d.Step(e, in, env)
	if err != nil {
		t.Fatalf("step: %v", err)
	}
	return r
}

// unmoved gives e what it does not wait for.
func unmoved(t *rapid.T, d *journey.Definition, e *decisionv1.Enrollment, env journey.Env) *decisionv1.Enrollment {
	other := &eventv1.Event{Id: "x", Type: "else", At: timestamppb.New(env.Now)}
	inputs := []journey.Input{journey.Resolved{Proposal: "somebody else's"}, journey.Happened{Event: journey.Event{Name: "else", Event: other}}}
	if e.GetProposal() != "" || e.GetWakeAt().AsTime().After(env.Now) {
		inputs = append(inputs, journey.Due{})
	}
	for _, in := range inputs {
		if r := must(t, d, e, in, env); !r.Enrollment.EqualVT(e) || len(r.Facts) > 0 || r.Propose != nil {
			t.Fatalf("%T moved %v to %v", in, e, r.Enrollment)
		}
	}
	return e
}

func follow(t *rapid.T, facts []*decisionv1.Fact, seen map[string]bool, visits uint32) uint32 {
	for _, f := range facts {
		s := f.GetStepEntered()
		if s == nil {
			continue
		}
		if visits++; s.GetVisit() != visits || seen[s.GetStep()] {
			t.Fatalf("step %s at visit %d: seen %v, want visit %d", s.GetStep(), s.GetVisit(), seen[s.GetStep()], visits)
		}
		seen[s.GetStep()] = true
	}
	return visits
}
