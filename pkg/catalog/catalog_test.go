package catalog_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/definition/definitiontest"
	"refrain.dev/pkg/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each case loads a directory, compiles it, and expects the diagnostics of both together.
func TestDirectories(t *testing.T) {
	definitiontest.Each(t, "testdata/*.txtar", func(t *testing.T, a definitiontest.Archive) {
		source, list := definition.Load(a.FS())
		broken := definition.HasErrors(list)
		c, more := catalog.Compile(source.Bundle())
		list = definition.Sort(append(list, source.Place(more)...))
		var b strings.Builder
		for _, d := range list {
			b.WriteString(d.String() + "\n")
		}
		if !broken && (c == nil) != definition.HasErrors(list) {
			t.Errorf("catalog is %v", c)
		}
		a.Golden(t, update, b.String())
	})
}

func shop(t *testing.T) *definitionv1.Bundle {
	t.Helper()
	source, list := definition.Load(definitiontest.Read(t, "testdata/shop.txtar").FS())
	if len(list) != 0 {
		t.Fatal(list)
	}
	return source.Bundle()
}

func TestDecode(t *testing.T) {
	b := shop(t)
	c, err := catalog.Decode(definition.Marshal(b))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(c.Revision == b.GetRevision(), c.Tenant, len(c.Traits), len(c.Actions), len(c.Placements), len(c.Journeys), len(c.Policies), len(c.Topics), len(c.Channels))
	if want := "true default 2 1 1 1 1 1 2\n"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if e := c.Event("Order Completed"); e.Name != "order_placed" || e.Dynamic || e.Freshness != catalog.DefaultFreshness {
		t.Errorf("got %+v", e)
	}
	for _, published := range []string{"order_cancelled", "never heard of"} {
		if e := c.Event(published); e.Name != published || !e.Dynamic || e.Spec != nil {
			t.Errorf("got %+v", e)
		}
	}
	if _, ok := c.Kinds.Kind("loyalty_card"); !ok {
		t.Error("the declared identifier kind is not there")
	}
	j := c.Journey("welcome")
	if j == nil || c.JourneyByHash(j.Hash) != j || c.JourneyByHash("") != nil || c.Journey("x") != nil {
		t.Errorf("the journey is not found: %v", j)
	}
}

func TestDecodeRefuses(t *testing.T) {
	if _, err := catalog.Decode([]byte("no proto")); fault.Of(err) != fault.Invalid {
		t.Errorf("got %v", err)
	}
	b := shop(t)
	b.Resources = slices.DeleteFunc(b.Resources, func(r *definitionv1.Resource) bool { return definition.KindOf(r) == "Channel" })
	_, err := catalog.Decode(definition.Marshal(b))
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), `spec.treatments[0].channel: there is no Channel "email"`) || !strings.Contains(err.Error(), `there is no Channel "desk"`) {
		t.Errorf("got %v; want all errors", err)
	}
	if strings.Contains(err.Error(), "warning") {
		t.Errorf("warnings are in the error: %v", err)
	}
}

func TestCompileLeavesTheBundleAlone(t *testing.T) {
	b := shop(t)
	slices.Reverse(b.Resources)
	before := b.CloneVT()
	if c, list := catalog.Compile(b); c == nil {
		t.Fatal(list)
	}
	if !before.EqualVT(b) {
		t.Error("the bundle was changed")
	}
}

func TestEmpty(t *testing.T) {
	c := catalog.Empty()
	if c.Tenant != "default" || c.Kinds == nil || c.Workspace == nil || !c.Event("x").Dynamic || c.Journey("x") != nil {
		t.Errorf("got %+v", c)
	}
}

func TestResourcesWithoutKindOrTwice(t *testing.T) {
	topic := func(name string) *definitionv1.Resource {
		return &definitionv1.Resource{
			Metadata: &definitionv1.Metadata{Name: name}, Position: "a.yaml:1",
			Spec: &definitionv1.Resource_Topic{Topic: &definitionv1.Topic{}},
		}
	}
	_, list := catalog.Compile(&definitionv1.Bundle{Resources: []*definitionv1.Resource{topic("x"), topic("x"), {}}})
	if len(list) != 3 {
		t.Errorf("got %v", list)
	}
}
