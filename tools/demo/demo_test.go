package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// The sample runs through, and the last line adds up: what README and CI rely on.
func TestDemoOnTheSample(t *testing.T) {
	var out bytes.Buffer
	const shop = "../../examples/retail"
	d := &demo{out: &out, data: shop + "/data/sample.csv", workspace: shop, dir: t.TempDir() + "/mesh", redis: "memory"}
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("demo: %v\n%s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	last := lines[len(lines)-1]
	n := map[string]int{}
	for field := range strings.FieldsSeq(strings.TrimPrefix(last, "demo: ")) {
		name, value, _ := strings.Cut(field, "=")
		var number int
		if _, err := fmt.Sscan(value, &number); err != nil {
			t.Fatalf("%q in %q is no count: %v", field, last, err)
		}
		n[name] = number
	}
	sum := n["sent"] + n["suppressed"] + n["superseded"] + n["expired"] + n["withdrawn"] + n["unknown"] + n["open"]
	if n["proposals"] == 0 || n["proposals"] != sum {
		t.Errorf("proposals are %d, their ends %d: %s", n["proposals"], sum, last)
	}
	for _, name := range []string{"lost", "duplicates", "caps_exceeded", "unknown"} {
		if got, ok := n[name]; !ok || got != 0 {
			t.Errorf("%s: got %d (there: %v), want 0: %s", name, got, ok, last)
		}
	}
	for _, name := range []string{"events", "profiles", "decisions", "sent", "suppressed", "superseded", "deferred"} {
		if n[name] == 0 {
			t.Errorf("%s is 0; the sample should show it: %s", name, last)
		}
	}
}
