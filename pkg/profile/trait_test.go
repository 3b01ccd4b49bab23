package profile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/profile"
)

func testEnv(t testing.TB) *expr.Env {
	t.Helper()
	env, err := expr.NewEnv(expr.Schema{Events: map[string]map[string]expr.Type{
		"order_placed": {"total": expr.Double, "items": expr.Int, "coupon": expr.String, "paid_at": expr.Timestamp},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func aggregate(compute profile.Compute, typ string, a *definitionv1.Aggregate) *definitionv1.TraitDef {
	d := &definitionv1.TraitDef{Type: typ}
	switch compute {
	case profile.Latest:
		d.Compute = &definitionv1.TraitDef_Latest{Latest: a}
	case profile.Count:
		d.Compute = &definitionv1.TraitDef_Count{Count: a}
	case profile.Sum:
		d.Compute = &definitionv1.TraitDef_Sum{Sum: a}
	case profile.First:
		d.Compute = &definitionv1.TraitDef_First{First: a}
	case profile.Last:
		d.Compute = &definitionv1.TraitDef_Last{Last: a}
	case profile.Published:
	}
	return d
}

func TestCompileTraitNamesAllProblems(t *testing.T) {
	tests := []struct {
		name string
		spec *definitionv1.TraitDef
		want []string // path: part of what
	}{
		{"published", &definitionv1.TraitDef{Type: "string"}, nil},
		{"unknown type", &definitionv1.TraitDef{Type: "money"}, []string{"spec.type: unknown type money"}},
		{"count", aggregate(profile.Count, "int", &definitionv1.Aggregate{Event: "order_placed"}), nil},
		{"count of an undeclared event", aggregate(profile.Count, "int", &definitionv1.Aggregate{Event: "seen", Where: `event.x == 1`}), nil},
		{"count as text with a value", aggregate(profile.Count, "string", &definitionv1.Aggregate{Event: "order_placed", Value: "event.total"}),
			[]string{"spec.type: count cannot have the type string", "spec.count.value: has no meaning"}},
		{"sum without value", aggregate(profile.Sum, "double", &definitionv1.Aggregate{Event: "order_placed"}), []string{"spec.sum.value: is missing"}},
		{"no event", aggregate(profile.Sum, "double", &definitionv1.Aggregate{Value: "event.total"}), []string{"spec.sum.event: is missing"}},
		{"both expressions wrong", aggregate(profile.Sum, "double", &definitionv1.Aggregate{Event: "order_placed", Where: "event.total", Value: "event.coupon"}),
			[]string{"spec.sum.where: ", "spec.sum.value: "}},
		{"unknown property", aggregate(profile.Latest, "double", &definitionv1.Aggregate{Event: "order_placed", Value: "event.totl"}), []string{"spec.latest.value: "}},
		{"first time", aggregate(profile.First, "timestamp", &definitionv1.Aggregate{Event: "order_placed"}), nil},
		{"first time as number", aggregate(profile.First, "int", &definitionv1.Aggregate{Event: "order_placed"}), []string{"spec.type: first without value cannot have the type int"}},
		{"account is refused", aggregate(profile.Count, "int", &definitionv1.Aggregate{Event: "order_placed", Where: "account.size > 3"}), []string{"spec.count.where: "}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r, problems := profile.CompileTrait("t", tc.spec, testEnv(t))
			if (r == nil) != (len(tc.want) > 0) || len(problems) != len(tc.want) {
				t.Fatalf("rule %v, problems %v, want %v", r, problems, tc.want)
			}
			for i, p := range problems {
				if !strings.HasPrefix(p.String(), tc.want[i]) {
					t.Errorf("problem %q, want %q", p, tc.want[i])
				}
			}
		})
	}
}

func order(id string, hour int, total float64, items int64) *eventv1.Event {
	return &eventv1.Event{
		Id: id, Tenant: "default", Type: "order_placed", Kind: eventv1.Kind_KIND_TRACK, At: stamp(hour),
		Properties: []*eventv1.Property{
			{Name: "total", Value: event.Number(total)}, {Name: "items", Value: event.Integer(items)},
			{Name: "coupon", Value: event.Text("c" + id)},
		},
	}
}

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func hour(n int) time.Time               { return start.Add(time.Duration(n) * time.Hour) }
func stamp(n int) *timestamppb.Timestamp { return timestamppb.New(hour(n)) }

func TestTraitSteps(t *testing.T) {
	// Out of order on purpose: first and last go by event time.
	events := []*eventv1.Event{order("b", 2, 20.5, 2), order("a", 1, 10, 1), order("c", 3, 5, 9), order("d", 0, 100, 4)}
	tests := []struct {
		name string
		spec *definitionv1.TraitDef
		want *eventv1.Value
		n    uint64
	}{
		{"count", aggregate(profile.Count, "int", &definitionv1.Aggregate{}), event.Integer(4), 4},
		{"count where", aggregate(profile.Count, "int", &definitionv1.Aggregate{Where: "event.total >= 10.0"}), event.Integer(3), 3},
		{"sum of numbers", aggregate(profile.Sum, "double", &definitionv1.Aggregate{Value: "event.total"}), event.Number(135.5), 4},
		{"sum as whole number", aggregate(profile.Sum, "int", &definitionv1.Aggregate{Value: "event.total"}), event.Integer(136), 4},
		{"sum of whole numbers", aggregate(profile.Sum, "int", &definitionv1.Aggregate{Value: "event.items"}), event.Integer(16), 4},
		{"latest", aggregate(profile.Latest, "string", &definitionv1.Aggregate{Value: "event.coupon"}), event.Text("cc"), 1},
		{"first value", aggregate(profile.First, "double", &definitionv1.Aggregate{Value: "event.total"}), event.Number(100), 1},
		{"first time", aggregate(profile.First, "timestamp", &definitionv1.Aggregate{}), event.Text("2026-03-01T00:00:00Z"), 1},
		{"last time", aggregate(profile.Last, "timestamp", &definitionv1.Aggregate{}), event.Text("2026-03-01T03:00:00Z"), 1},
		{"latest of what is never there", aggregate(profile.Latest, "string", &definitionv1.Aggregate{Value: "event.coupon", Where: "has(event.paid_at)"}), nil, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for _, a := range []*definitionv1.Aggregate{tc.spec.GetLatest(), tc.spec.GetCount(), tc.spec.GetSum(), tc.spec.GetFirst(), tc.spec.GetLast()} {
				if a != nil {
					a.Event = "order_placed"
				}
			}
			r, problems := profile.CompileTrait("t", tc.spec, testEnv(t))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var trait *profilev1.Trait
			for _, e := range events {
				var err error
				if trait, err = r.Step(trait, e); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, trait.GetValue(), protocmp.Transform()); diff != "" || trait.GetCount() != tc.n {
				t.Errorf("count %d, want %d; value (-want +got):\n%s", trait.GetCount(), tc.n, diff)
			}
		})
	}
}
