package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func drawFault(rt *rapid.T) Fault {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "profile-0", "log:prf.", `a "b" c`, "x=y", " ", "\\", "ü\n"}), rapid.String())
	f := Fault{
		What: rapid.SampledFrom(Specs()).Draw(rt, "spec").Kind, Node: text.Draw(rt, "node"), On: text.Draw(rt, "on"),
		Times: rapid.IntRange(0, 9).Draw(rt, "times"), Count: rapid.IntRange(-9, 9).Draw(rt, "count"),
		For: time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(rt, "for")),
	}
	switch rapid.IntRange(0, 2).Draw(rt, "when") {
	case 0:
		f.When = When{Step: rapid.Uint64().Draw(rt, "step")}
	case 1:
		f.When = When{At: time.Duration(rapid.Int64Range(0, 1e13).Draw(rt, "at"))}
	default:
		f.When = When{Point: rapid.SampledFrom([]string{"stage.appended", "a b", "x"}).Draw(rt, "point"), Pass: rapid.IntRange(1, 99).Draw(rt, "pass")}
	}
	return f
}

// What is printed is parsed back.
func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := Case{Seed: rapid.Uint64().Draw(rt, "seed")}
		for range rapid.IntRange(0, 5).Draw(rt, "faults") {
			c.Schedule.Faults = append(c.Schedule.Faults, drawFault(rt))
		}
		for range rapid.IntRange(0, 5).Draw(rt, "operations") {
			c.Schedule.Operations = append(c.Schedule.Operations, Operation{
				At: time.Duration(rapid.Int64Range(0, 1e13).Draw(rt, "at")), Client: rapid.IntRange(0, 9).Draw(rt, "client"), Do: rapid.String().Draw(rt, "do"),
			})
		}
		got, err := ParseCase("\n" + c.String())
		if err != nil {
			rt.Fatalf("%v in\n%s", err, c)
		}
		if diff := cmp.Diff(c, got, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("%s in\n%s", diff, c)
		}
		if lines := strings.Count(c.String(), "\n"); lines != 1+len(c.Schedule.Faults)+len(c.Schedule.Operations) {
			rt.Fatalf("%d lines in\n%s", lines, c)
		}
	})
}

func TestTextIsReadable(t *testing.T) {
	s := Schedule{
		Faults: []Fault{
			{When: When{Step: 120}, What: Late, Node: "profile-0", On: "log:prf.", Times: 2, For: 20 * time.Millisecond},
			{When: When{Point: "stage.appended", Pass: 3}, What: Crash, For: -1},
		},
		Operations: []Operation{{At: 12 * time.Millisecond, Client: 1, Do: "publish customer=3"}},
	}
	want := `when=step:120 what=late node=profile-0 on=log:prf. times=2 for=20ms
when=point:stage.appended#3 what=crash for=-1ns
at=12ms client=1 do="publish customer=3"
`
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Error(diff)
	}
	if got, err := Parse("# a comment\n\n  " + want); err != nil || !cmp.Equal(got, s) || got.Clients() != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWrongText(t *testing.T) {
	for _, text := range []string{
		"when=step:1", "when=step:1 what=nothing", "when=soon what=crash", "when=step:x what=crash", "when=point:a#0 what=crash", "when=point:#1 what=crash",
		"when=at:1 what=crash", "when=step:1 what=crash for=1", "when=step:1 what=crash times=x", "when=step:1 what=crash why=x",
		"crash", `when=step:1 what="crash`, "at=1ms client=-1 do=x", "at=1ms client=1 does=x", "at=x client=1 do=x",
	} {
		if s, err := Parse("\n" + text); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: got %+v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "when=step:1 what=crash", "seed=x\n"} {
		if c, err := ParseCase(text); err == nil {
			t.Errorf("%q: got %+v", text, c)
		}
	}
}

func testProfile() Profile {
	return Profile{Least: 2, Most: 9, Steps: 1000, Span: time.Minute, AtPoints: 30, Targets: Targets{
		Nodes: []string{"a", "b"}, Points: []string{"p", "q"},
		Places: map[Class][]string{Log: {"prf."}, Stream: {"S"}, Feed: {"evt."}, KV: {"k"}, State: {"0", "1"}, RPC: {"a"}, Fold: {"decision/3"}},
	}}
}

// Whatever is drawn is possible, the same seed draws the same, and every kind within the model is drawn.
func TestGenerate(t *testing.T) {
	p := testProfile()
	drawn, points, steps, times := map[Kind]int{}, 0, 0, 0
	for seed := range uint64(2000) {
		faults := Generate(seed, p)
		if !cmp.Equal(faults, Generate(seed, p)) || len(faults) < 2 || len(faults) > 9 {
			t.Fatalf("seed %d: %v", seed, faults)
		}
		for _, f := range faults {
			drawn[f.What]++
			spec, _ := SpecOf(f.What)
			class, name := Place(f.On)
			switch {
			case spec.Beyond, spec.Node == (f.On != ""), spec.Node && !slices.Contains(p.Targets.Nodes, f.Node):
				t.Fatalf("%s", f)
			case !spec.Node && (!slices.Contains(spec.Classes, class) || !slices.Contains(p.Targets.Places[class], name)):
				t.Fatalf("%s", f)
			case spec.For && f.For == 0, f.For.Abs() > 10*time.Second, f.When.Step > 1000, f.When.At > time.Minute:
				t.Fatalf("%s", f)
			}
			switch {
			case f.When.Point != "":
				points++
			case f.When.Step > 0:
				steps++
			default:
				times++
			}
		}
	}
	for _, s := range Specs() {
		if (drawn[s.Kind] == 0) != s.Beyond {
			t.Errorf("%s was drawn %d times", s.Kind, drawn[s.Kind])
		}
	}
	if points == 0 || steps == 0 || times == 0 {
		t.Errorf("%d at points, %d at steps, %d at times", points, steps, times)
	}
}

func TestGenerateByWeight(t *testing.T) {
	p := testProfile()
	p.Weights = []Weight{{Crash, 9}, {Suffix, 1}, {Double, 0}}
	drawn := map[Kind]int{}
	for seed := range uint64(500) {
		for _, f := range Generate(seed, p) {
			drawn[f.What]++
		}
	}
	if len(drawn) != 2 || drawn[Crash] < 6*drawn[Suffix] || drawn[Suffix] == 0 {
		t.Errorf("drawn %v", drawn)
	}
	p.Targets = Targets{}
	if got := Generate(1, p); got != nil {
		t.Errorf("without targets: %v", got)
	}
}

func TestSingles(t *testing.T) {
	all := Singles([]string{"p", "q"}, 2, []Kind{Crash, Applied, Late}, time.Second)
	if len(all) != 12 {
		t.Fatalf("got %d", len(all))
	}
	if got := all[1].String() + ", " + all[11].String(); got != "when=point:p#2 what=crash for=1s, when=point:q#2 what=late for=1s" {
		t.Errorf("got %s", got)
	}
}

// needs fails if both a crash of b and the operation "buy" are there.
func needs(c Case) string {
	crash := slices.ContainsFunc(c.Schedule.Faults, func(f Fault) bool {
		return f.What == Crash && f.Node == "b" && f.For >= 100*time.Millisecond && f.When.Step >= 10
	})
	buy := slices.ContainsFunc(c.Schedule.Operations, func(o Operation) bool { return o.Do == "buy" })
	switch {
	case crash && buy && c.Seed%3 == 1:
		return "sold twice"
	case buy:
		return "something else"
	}
	return ""
}

func TestShrink(t *testing.T) {
	c := Case{Seed: 4}
	for n := range 30 {
		c.Schedule.Faults = append(c.Schedule.Faults, Fault{When: When{Step: uint64(200 + n)}, What: Pause, Node: "a", For: time.Minute}) //nolint:gosec // few
		c.Schedule.Operations = append(c.Schedule.Operations, Operation{At: time.Duration(n) * time.Second, Do: fmt.Sprint("look ", n)})
	}
	c.Schedule.Faults = slices.Insert(c.Schedule.Faults, 17, Fault{When: When{Step: 700}, What: Crash, Node: "b", For: 9 * time.Second, Count: 3})
	c.Schedule.Operations = slices.Insert(c.Schedule.Operations, 11, Operation{At: time.Hour, Do: "buy"})
	before := c.String()
	runs := 0
	s := Shrinker{Runs: 2000, Fails: func(c Case) string {
		runs++
		return needs(c)
	}}
	got, made := s.Shrink(c, "sold twice")
	if made != runs || made > 2000 || c.String() != before {
		t.Errorf("%d runs, said %d", runs, made)
	}
	if len(got.Schedule.Faults) != 1 || len(got.Schedule.Operations) != 1 {
		t.Fatalf("got\n%s", got)
	}
	f, o := got.Schedule.Faults[0], got.Schedule.Operations[0]
	if f.For > time.Second || f.Count != 0 || f.When.Step > 30 || o.At != 0 || needs(got) != "sold twice" {
		t.Errorf("got\n%s", got)
	}
	if got, made := s.Shrink(c, "another rule"); made != 1 || got.String() != before {
		t.Errorf("a case that does not fail so: %d runs,\n%s", made, got)
	}
	s.Runs = 7
	if got, made := s.Shrink(c, "sold twice"); made > 7 || needs(got) != "sold twice" {
		t.Errorf("7 runs: made %d,\n%s", made, got)
	}
}
