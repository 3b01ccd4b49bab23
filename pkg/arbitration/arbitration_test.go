package arbitration_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/arbitration"
)

func draw(t *rapid.T) []arbitration.Candidate {
	n := rapid.IntRange(0, 12).Draw(t, "n")
	factor := rapid.SampledFrom([]float64{-1, 0, 1e-9, 0.1, 0.5, 1, 10, math.NaN(), math.Inf(1)})
	var out []arbitration.Candidate
	for i := range n {
		c := arbitration.Candidate{
			ID:    fmt.Sprintf("a%02d", i),
			Class: rapid.Int32Range(-1, 2).Draw(t, "class"),
			Factors: arbitration.Factors{
				Propensity: factor.Draw(t, "p"), Context: 1, Value: factor.Draw(t, "v"), Levers: 1,
			},
		}
		if d := rapid.IntRange(0, 3).Draw(t, "deadline"); d > 0 {
			c.Deadline = time.Unix(int64(d), 0)
		}
		out = append(out, c)
	}
	return out
}

// beats is the rule, written down once more without sorting: is x before y?
func beats(x, y arbitration.Candidate, floor float64) bool {
	worth := func(c arbitration.Candidate) bool {
		return c.Factors.Value > 0 && arbitration.Score(0, c.Factors).GetTotal() > floor
	}
	if worth(x) != worth(y) {
		return worth(x)
	}
	if x.Class != y.Class {
		return x.Class > y.Class
	}
	if a, b := arbitration.Score(0, x.Factors).GetTotal(), arbitration.Score(0, y.Factors).GetTotal(); a != b {
		return a > b
	}
	far := time.Unix(1<<40, 0)
	a, b := x.Deadline, y.Deadline
	if a.IsZero() {
		a = far
	}
	if b.IsZero() {
		b = far
	}
	if !a.Equal(b) {
		return a.Before(b)
	}
	return x.ID < y.ID
}

func TestRankEqualsTheNaiveReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := draw(t)
		rule := arbitration.Rule{}
		floor := math.Inf(-1)
		if rapid.Bool().Draw(t, "floor") {
			floor = rapid.SampledFrom([]float64{-20, -1, 0, 1}).Draw(t, "at")
			rule = arbitration.Rule{NoAction: floor, HasFloor: true}
		}
		places := arbitration.Rank(all, rule)
		if len(places) != len(all)+1 {
			t.Fatalf("got %d places for %d candidates, want one more", len(places), len(all))
		}
		for i, p := range places {
			if p.Index < 0 {
				continue
			}
			before := 0
			for j := range all {
				if j != p.Index && beats(all[j], all[p.Index], floor) {
					before++
				}
			}
			if !p.Worth {
				before++ // doing nothing
			}
			if before != i {
				t.Fatalf("%s is at place %d, the reference says %d", all[p.Index].ID, i, before)
			}
		}
	})
}

func TestTheOrderOfTheArgumentsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := draw(t)
		mixed := rapid.Permutation(all).Draw(t, "mixed")
		a, b := arbitration.Rank(all, arbitration.Rule{}), arbitration.Rank(mixed, arbitration.Rule{})
		for i := range a {
			x, y := name(all, a[i]), name(mixed, b[i])
			if x != y {
				t.Fatalf("place %d: got %s and %s", i, x, y)
			}
		}
	})
}

func name(all []arbitration.Candidate, p arbitration.Place) string {
	if p.Index < 0 {
		return arbitration.NoAction
	}
	return all[p.Index].ID
}

func TestThePartsOfAScoreAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		factor := rapid.Float64()
		s := arbitration.Score(3, arbitration.Factors{Propensity: factor.Draw(t, "p"), Context: factor.Draw(t, "c"), Value: factor.Draw(t, "v"), Levers: factor.Draw(t, "l")})
		sum := s.GetPropensity() + s.GetContext() + s.GetValue() + s.GetLevers()
		if s.GetTotal() != sum || math.IsNaN(sum) || math.IsInf(sum, 0) {
			t.Fatalf("got total %v of parts %v", s.GetTotal(), sum)
		}
	})
}

func TestNothingBeatsOnlyWhatIsWorthNothing(t *testing.T) {
	one := arbitration.Factors{Propensity: 1, Context: 1, Value: 1e-9, Levers: 1}
	none := arbitration.Factors{Propensity: 1, Context: 1, Value: 0, Levers: 1}
	places := arbitration.Rank([]arbitration.Candidate{
		{ID: "heavy-but-worthless", Class: 9, Factors: none}, {ID: "tiny", Factors: one},
	}, arbitration.Rule{})
	if places[0].Index != 1 || places[1].Index != -1 || places[2].Index != 0 {
		t.Fatalf("got %+v, want tiny, no_action, heavy-but-worthless", places)
	}
}
