package schedule

import (
	"slices"
	"time"
)

// Shrinker makes failing cases smaller.
type Shrinker struct {
	// Runs is how many runs may be made.
	Runs int
	// Seeds is how many seeds a smaller schedule is tried with, beginning with the last that failed: what is
	// taken away moves everything after it, and another seed may find the failure again. 0 means 4.
	Seeds int
	// Fails runs a case and returns the rule that was broken, "" if none was.
	Fails func(Case) string
}

// Shrink makes a case smaller while it fails with the same rule: it removes faults and operations, then lowers
// their parameters. It returns the smallest case that was seen to fail, and how many runs were made; the case
// is c itself if that did not fail with rule.
func (s Shrinker) Shrink(c Case, rule string) (smallest Case, made int) {
	if s.Seeds <= 0 {
		s.Seeds = 4
	}
	k := &shrinking{Shrinker: s, best: Case{c.Seed, c.Schedule.Clone()}, rule: rule, left: s.Runs - 1}
	if s.Fails(c) != rule {
		return c, 1
	}
	for before := 0; before != k.size() && k.left > 0; {
		before = k.size()
		k.remove()
		k.lower()
	}
	return k.best, s.Runs - k.left
}

// shrinking is a Shrink under way.
type shrinking struct {
	Shrinker

	best Case
	rule string
	left int
}

// size falls with everything that shrinks.
func (k *shrinking) size() int { return len(k.best.Schedule.String()) }

// try keeps s if it still fails with some seed.
func (k *shrinking) try(s Schedule) bool {
	for n := range uint64(k.Seeds) { //nolint:gosec // positive
		if k.left <= 0 {
			return false
		}
		k.left--
		if c := (Case{k.best.Seed + n, s}); k.Fails(Case{c.Seed, s.Clone()}) == k.rule {
			k.best = c
			return true
		}
	}
	return false
}

// remove takes away pieces, from halves down to single things.
func (k *shrinking) remove() {
	k.cut(func() int { return len(k.best.Schedule.Faults) }, func(s *Schedule, from, to int) { s.Faults = slices.Delete(s.Faults, from, to) })
	k.cut(func() int { return len(k.best.Schedule.Operations) }, func(s *Schedule, from, to int) { s.Operations = slices.Delete(s.Operations, from, to) })
}

func (k *shrinking) cut(length func() int, without func(s *Schedule, from, to int)) {
	for size := length(); size > 0; size /= 2 {
		for from := 0; from < length() && k.left > 0; {
			s := k.best.Schedule.Clone()
			without(&s, from, min(from+size, length()))
			if !k.try(s) {
				from += size
			}
		}
	}
}

// lower simplifies one parameter after the other.
func (k *shrinking) lower() {
	for i := range k.best.Schedule.Faults {
		for _, change := range changes() {
			for range 20 { // until it does not help any more
				s := k.best.Schedule.Clone()
				if !change(&s.Faults[i]) || !k.try(s) {
					break
				}
			}
		}
	}
	for i := range k.best.Schedule.Operations {
		for range 20 {
			s := k.best.Schedule.Clone()
			if !lowerTime(&s.Operations[i].At, 0) || !k.try(s) {
				break
			}
		}
	}
}

// changes simplify a fault; each says whether it changed something.
func changes() []func(*Fault) bool {
	return []func(*Fault) bool{
		func(f *Fault) bool { // from the beginning
			spec, _ := SpecOf(f.What)
			if was := f.When; spec.Node && f.Node == "" || was == (When{}) {
				return false
			}
			f.When = When{}
			return true
		},
		func(f *Fault) bool { return lowerNumber(&f.Times, 0) },
		func(f *Fault) bool { return lowerNumber(&f.Count, 0) },
		func(f *Fault) bool { return lowerNumber(&f.Count, 1) },
		func(f *Fault) bool { return lowerTime(&f.For, 0) },
		func(f *Fault) bool { return lowerNumber(&f.When.Pass, 1) },
		func(f *Fault) bool {
			f.When.Pass--
			return f.When.Pass > 0
		},
		func(f *Fault) bool { return lowerTime(&f.When.At, 0) },
		func(f *Fault) bool {
			was := f.When.Step
			f.When.Step = was / 2
			return was > 1
		},
		func(f *Fault) bool {
			was := f.When.Step
			f.When.Step = was - was/10
			return was >= 10
		},
		func(f *Fault) bool {
			node := f.Node
			spec, _ := SpecOf(f.What)
			if spec.Node && f.When.Point == "" {
				return false
			}
			f.Node = ""
			return node != ""
		},
	}
}

// lowerNumber halves the distance to a floor, from either side for 0.
func lowerNumber(n *int, floor int) bool {
	was := *n
	if floor > 0 && was <= floor {
		return false
	}
	*n = floor + (was-floor)/2
	return *n != was
}

// lowerTime sets a time to its floor, or rounds it down to half.
func lowerTime(d *time.Duration, floor time.Duration) bool {
	was := *d
	half := (was - floor) / 2
	for _, unit := range []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond, time.Millisecond} {
		if half >= unit || -half >= unit {
			half = half.Truncate(unit)
			break
		}
	}
	if half < time.Millisecond && half > -time.Millisecond {
		half = 0
	}
	*d = floor + half
	return *d != was
}
