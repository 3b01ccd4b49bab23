package schedule

import (
	"math/rand/v2"
	"time"
)

// Profile says what schedules Generate makes.
type Profile struct {
	// Least and Most faults.
	Least, Most int
	// Steps is the last step at which a fault begins.
	Steps uint64
	// Span is the last virtual time at which a fault begins; used for half of the faults if both are set.
	Span time.Duration
	// AtPoints is how many of 100 faults begin at a point.
	AtPoints int
	// Passes is the last passage of a point at which a fault begins; 0 means 20.
	Passes int
	// Weights of the kinds; none means every kind within the model alike.
	Weights []Weight
	// Longest is the longest For; 0 means 10 s.
	Longest time.Duration
	// Targets are what can be hit.
	Targets Targets
}

// Weight is how often a kind is drawn.
type Weight struct {
	Kind   Kind
	Weight int
}

// Targets are what a world has that can be hit. Kinds without a target are not drawn.
type Targets struct {
	// Nodes that crash, pause and call.
	Nodes []string
	// Points that nodes pass.
	Points []string
	// Places by class, as they follow the colon in Fault.On.
	Places map[Class][]string
}

// salt keeps the draws of a schedule apart from those of the run with the same seed.
const salt = 0x5ced

// Generate makes the faults of a schedule from a seed; the operations are the wiring's.
func Generate(seed uint64, p Profile) []Fault {
	rng := rand.New(rand.NewPCG(seed, salt)) //nolint:gosec // a seed decides everything
	weights := p.usable()
	if len(weights) == 0 {
		return nil
	}
	total := 0
	for _, w := range weights {
		total += w.Weight
	}
	n := p.Least
	if p.Most > p.Least {
		n += rng.IntN(p.Most - p.Least + 1)
	}
	faults := make([]Fault, 0, n)
	for range n {
		at := rng.IntN(total)
		for _, w := range weights {
			if at -= w.Weight; at < 0 {
				faults = append(faults, p.draw(rng, w.Kind))
				break
			}
		}
	}
	return faults
}

// usable are the weights of the kinds that have a target.
func (p *Profile) usable() []Weight {
	weights := p.Weights
	if len(weights) == 0 {
		for _, s := range Specs() {
			if !s.Beyond {
				weights = append(weights, Weight{s.Kind, 1})
			}
		}
	}
	var usable []Weight
	for _, w := range weights {
		s, ok := SpecOf(w.Kind)
		if ok && w.Weight > 0 && (s.Node && len(p.Targets.Nodes) > 0 || len(p.classes(s)) > 0) {
			usable = append(usable, w)
		}
	}
	return usable
}

func (p *Profile) classes(s Spec) []Class {
	var classes []Class
	for _, c := range s.Classes {
		if len(p.Targets.Places[c]) > 0 {
			classes = append(classes, c)
		}
	}
	return classes
}

func (p *Profile) draw(rng *rand.Rand, k Kind) Fault {
	s, _ := SpecOf(k)
	f := Fault{What: k, When: p.when(rng)}
	if s.Node || (len(p.Targets.Nodes) > 0 && rng.IntN(3) == 0) {
		f.Node = one(rng, p.Targets.Nodes)
	}
	if classes := p.classes(s); len(classes) > 0 {
		class := classes[rng.IntN(len(classes))]
		f.On = string(class) + ":" + one(rng, p.Targets.Places[class])
		if class == RPC { // what calls there is rarely what was drawn
			f.Node = ""
		}
	}
	if s.For {
		f.For = p.span(rng)
	}
	if k == ClockStep && rng.IntN(2) == 0 {
		f.For = -f.For
	}
	if s.Counts {
		f.Count = 1 + rng.IntN(8)
	}
	if k == ClockDrift {
		f.Count = rng.IntN(2000) - 1000
	}
	if !s.Node && !s.Lasts && rng.IntN(4) == 0 {
		f.Times = 1 + rng.IntN(6)
	}
	return f
}

func (p *Profile) when(rng *rand.Rand) When {
	switch {
	case len(p.Targets.Points) > 0 && rng.IntN(100) < p.AtPoints:
		passes := p.Passes
		if passes <= 0 {
			passes = 20
		}
		return When{Point: one(rng, p.Targets.Points), Pass: 1 + rng.IntN(passes)}
	case p.Steps > 0 && (p.Span <= 0 || rng.IntN(2) == 0):
		return When{Step: 1 + rng.Uint64N(p.Steps)}
	case p.Span > 0:
		return When{At: time.Duration(rng.Int64N(int64(p.Span))).Round(time.Millisecond)}
	default:
		return When{Step: 1 + rng.Uint64N(1000)}
	}
}

// span draws a length whose order of magnitude is even between a millisecond and the longest.
func (p *Profile) span(rng *rand.Rand) time.Duration {
	longest := p.Longest
	if longest <= 0 {
		longest = 10 * time.Second
	}
	d := time.Millisecond
	for d < longest && rng.IntN(5) != 0 {
		d *= 3
	}
	return min(d, longest)
}

// Singles are all faults of the kinds at the first passages of points, one after the other: crashes and the
// like of the node that passes, or what befalls its next operation. span is their For.
func Singles(points []string, passes int, kinds []Kind, span time.Duration) []Fault {
	var all []Fault
	for _, point := range points {
		for _, kind := range kinds {
			for pass := 1; pass <= passes; pass++ {
				f := Fault{When: When{Point: point, Pass: pass}, What: kind}
				if s, _ := SpecOf(kind); s.For {
					f.For = span
				}
				all = append(all, f)
			}
		}
	}
	return all
}

func one(rng *rand.Rand, of []string) string { return of[rng.IntN(len(of))] }
