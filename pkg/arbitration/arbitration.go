// Package arbitration orders the candidates of a decision: class before score, score = ln p + ln c +
// ln v + ln l, ties by deadline and id. Doing nothing is always among them.
package arbitration

import (
	"cmp"
	"math"
	"slices"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// Floor is the least factor that goes into a score, so that its logarithm is finite: nothing, less than
// nothing and not-a-number count as this much.
const Floor = 1e-6

// Factors are what a score is made of. One means that the factor does not matter.
type Factors struct {
	// Propensity is the probability of the wanted outcome.
	Propensity float64
	// Context weighs how well it fits the moment.
	Context float64
	// Value is what the outcome is worth.
	Value float64
	// Levers are what the business adds by hand.
	Levers float64
}

// Candidate is what takes part in a ranking.
type Candidate struct {
	// ID is unique in the ranking and breaks the last tie, the smaller first.
	ID string
	// Class goes before any score, the greater first.
	Class int32
	// Factors of the score.
	Factors Factors
	// Deadline breaks ties of score, the sooner first; the zero time is the last.
	Deadline time.Time
}

// Rule says how doing nothing takes part. The zero Rule never prefers it to a candidate of positive value.
type Rule struct {
	// NoAction is the score up to which doing nothing is better, whatever the class; only looked at if
	// HasFloor is set.
	NoAction float64
	// HasFloor says that NoAction applies.
	HasFloor bool
}

// NoAction is the id of doing nothing in a ranking.
const NoAction = "no_action"

// Place is one line of a ranking.
type Place struct {
	// Index of the candidate in the arguments; -1 for doing nothing.
	Index int
	// Score with its parts; all zero but the total (the rule's floor) for doing nothing.
	Score *decisionv1.Score
	// Worth says that it is better than doing nothing.
	Worth bool
}

// Score computes a score and its parts, which add up to the total.
func Score(class int32, f Factors) *decisionv1.Score {
	s := &decisionv1.Score{}
	fill(s, class, f)
	return s
}

func fill(s *decisionv1.Score, class int32, f Factors) {
	s.Propensity, s.Context, s.Value, s.Levers, s.Class = ln(f.Propensity), ln(f.Context), ln(f.Value), ln(f.Levers), class
	s.Total = s.GetPropensity() + s.GetContext() + s.GetValue() + s.GetLevers()
}

func ln(x float64) float64 {
	if !(x > Floor) { // also true of NaN
		x = Floor
	}
	return math.Log(min(x, math.MaxFloat64))
}

// Rank orders the candidates, best first, with doing nothing between those that are worth more than it
// and those that are not: a candidate whose value is not positive, or whose score does not exceed the
// rule's floor, comes after it whatever its class. The result has one line per candidate and one for
// doing nothing. Equal arguments give equal results, and the order of the arguments does not matter.
func Rank(candidates []Candidate, rule Rule) []Place {
	places := make([]Place, 0, len(candidates)+1)
	scores := make([]decisionv1.Score, len(candidates))
	for i, c := range candidates {
		s := &scores[i]
		fill(s, c.Class, c.Factors)
		worth := c.Factors.Value > 0 && (!rule.HasFloor || s.GetTotal() > rule.NoAction)
		places = append(places, Place{Index: i, Score: s, Worth: worth})
	}
	nothing := &decisionv1.Score{}
	if rule.HasFloor {
		nothing.Total = rule.NoAction
	}
	places = append(places, Place{Index: -1, Score: nothing})
	slices.SortFunc(places, func(a, b Place) int { return compare(candidates, a, b) })
	return places
}

// tier is 0 for what is worth doing, 1 for doing nothing, 2 for the rest.
func (p Place) tier() int {
	switch {
	case p.Worth:
		return 0
	case p.Index < 0:
		return 1
	default:
		return 2
	}
}

func compare(candidates []Candidate, a, b Place) int {
	if c := cmp.Compare(a.tier(), b.tier()); c != 0 || a.Index < 0 || b.Index < 0 {
		return c
	}
	x, y := candidates[a.Index], candidates[b.Index]
	return cmp.Or(
		cmp.Compare(y.Class, x.Class),
		cmp.Compare(b.Score.GetTotal(), a.Score.GetTotal()),
		sooner(x.Deadline, y.Deadline),
		cmp.Compare(x.ID, y.ID),
	)
}

func sooner(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	default:
		return a.Compare(b)
	}
}
