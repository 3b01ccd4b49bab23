package decide_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/window"
)

func paths(problems []definition.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Path)
	}
	return out
}

func TestCompileActionNamesEveryProblem(t *testing.T) {
	env := schema(t)
	for name, c := range map[string]struct {
		spec string
		want []string
	}{
		"fine":          {`purpose: "marketing" treatments { id: "a" channel: "email" }`, nil},
		"empty":         {``, []string{"spec.purpose", "spec.treatments"}},
		"expressions":   {`purpose: "legal" eligibility: "1" applicability: "event.x" value: "traits.vip" propensity: "'a'" treatments { id: "a" channel: "x" }`, []string{"spec.eligibility", "spec.applicability", "spec.value", "spec.propensity"}},
		"no clock":      {`purpose: "legal" suitability: "now > traits.spent" treatments { id: "a" channel: "x" }`, []string{"spec.suitability"}},
		"bad treatment": {`purpose: "service" treatments { channel: "x" } treatments { id: "a" to: "boss" } treatments { id: "a" channel: "x" }`, []string{"spec.treatments[0].id", "spec.treatments[1].channel", "spec.treatments[1].to", "spec.treatments[2].id"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := decide.CompileAction(&definitionv1.Metadata{Name: "x"}, unmarshal(t, c.spec, &definitionv1.Action{}), env)
			if diff := cmp.Diff(c.want, paths(problems)); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCapsGovernMarketingUnlessTheActionSaysOtherwise(t *testing.T) {
	for name, c := range map[string]struct {
		spec          string
		obeys, counts bool
	}{
		"marketing":          {`purpose: "marketing"`, true, true},
		"service":            {`purpose: "service"`, false, false},
		"service that obeys": {`purpose: "service" obeys_caps: true`, true, false},
		"uncounted":          {`purpose: "marketing" counts_toward_caps: false`, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			meta := &definitionv1.Metadata{Name: "x", Labels: map[string]string{"b": "2", "a": "1"}}
			a, problems := decide.CompileAction(meta, unmarshal(t, c.spec+` treatments { id: "a" channel: "email" }`, &definitionv1.Action{}), schema(t))
			if len(problems) > 0 || a.ObeysCaps != c.obeys || a.CountsTowardCaps != c.counts {
				t.Errorf("got %v %v %v, want %v %v", a.ObeysCaps, a.CountsTowardCaps, problems, c.obeys, c.counts)
			}
			if a.Labels[0].GetName() != "a" || a.Treatment("a").GetTo() != decide.ToCustomer || a.Treatment("b") != nil {
				t.Errorf("got labels %v and treatments %v", a.Labels, a.Treatments)
			}
		})
	}
}

func TestCompilePlacementNamesEveryProblem(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		want []string
	}{
		"fine":               {`filled: "by_mesh" collect: "PT10M" losers { wait: "P3D" }`, nil},
		"on request":         {`filled: "on_request" actions: "a" size: 3`, nil},
		"empty":              {``, []string{"spec.filled"}},
		"periods":            {`filled: "by_mesh" collect: "soon" losers { wait: "later" }`, []string{"spec.collect", "spec.losers.wait"}},
		"for the other way":  {`filled: "by_mesh" actions: "a"`, []string{"spec.actions"}},
		"for the other way2": {`filled: "on_request" collect: "PT1M" losers { wait: "P1D" } actions: "a" actions: "a"`, []string{"spec.collect", "spec.losers", "spec.actions[1]"}},
		"selectors":          {`filled: "on_request" size: 51 takes { purpose: "fun" }`, []string{"spec.size", "spec.takes.purpose[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := decide.CompilePlacement(&definitionv1.Metadata{Name: "x"}, unmarshal(t, c.spec, &definitionv1.Placement{}))
			if diff := cmp.Diff(c.want, paths(problems)); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlacementDefaults(t *testing.T) {
	p, _ := decide.CompilePlacement(&definitionv1.Metadata{Name: "x"}, unmarshal(t, `filled: "by_mesh"`, &definitionv1.Placement{}))
	if p.Size != 1 || p.Collect != (window.Period{}) || p.LosersWait != (window.Period{}) || !p.ByMesh {
		t.Errorf("got %+v", p)
	}
}
