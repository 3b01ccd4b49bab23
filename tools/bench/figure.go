package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// step does some work and says how many units of it were done.
type step func(ctx context.Context) (units int, err error)

// side is one of the two things compared.
type side struct {
	what string
	step step
	// rest is waited for after each turn, unmeasured: what a step leaves running would slow the other side.
	// May be nil.
	rest func(ctx context.Context) error
}

// figure compares the two sides.
type figure struct {
	name, unit string
	ours, bare side
	// note says what one should know about the figure, once it is taken. May be nil.
	note func() string
	// missing says why the figure cannot be taken here; empty if it can.
	missing string
}

// line is a figure as it was taken: nanoseconds per unit and their ratio, round by round.
type line struct {
	figure

	ours, bare, ratios []float64
	said               string
}

// take measures both sides in rounds, each beginning with the other one. After end no round is begun but the
// first.
func (f figure) take(ctx context.Context, p plan, end time.Time) (line, error) {
	l := line{figure: f}
	if f.missing != "" {
		return l, nil
	}
	slice := p.slice()
	if _, _, err := f.round(ctx, 0, slice/turns); err != nil { // warms up
		return l, err
	}
	for n := range p.rounds {
		if n > 0 && time.Now().After(end) {
			break
		}
		ours, bare, err := f.round(ctx, n, slice)
		if err != nil {
			return l, err
		}
		l.ours, l.bare, l.ratios = append(l.ours, ours), append(l.bare, bare), append(l.ratios, ours/bare)
	}
	if f.note != nil {
		l.said = f.note()
	}
	return l, nil
}

// turns is how often, about, the sides change within a round: what else happens on the machine should meet both.
const turns = 8

// round measures both sides for at least slice and returns nanoseconds per unit.
func (f figure) round(ctx context.Context, n int, slice time.Duration) (ours, bare float64, err error) {
	runtime.GC()
	our, their := &tally{side: f.ours}, &tally{side: f.bare}
	order := []*tally{our, their}
	if n%2 == 1 {
		slices.Reverse(order)
	}
	for our.took < slice || their.took < slice {
		for _, t := range order {
			if t.took >= slice {
				continue
			}
			if err := t.measure(ctx, slice/turns); err != nil {
				return 0, 0, fmt.Errorf("%s: %w", t.what, err)
			}
		}
	}
	return our.perUnit(), their.perUnit(), nil
}

// tally is what was measured of a side.
type tally struct {
	side

	took  time.Duration
	units int
}

// measure does at least one step, and steps for at least that long.
func (t *tally) measure(ctx context.Context, within time.Duration) error {
	units, began := 0, time.Now()
	for units == 0 || time.Since(began) < within {
		n, err := t.step(ctx)
		if err != nil {
			return err
		}
		units += n
	}
	t.took += time.Since(began)
	t.units += units
	if t.rest == nil {
		return nil
	}
	return t.rest(ctx)
}

func (t *tally) perUnit() float64 { return float64(t.took.Nanoseconds()) / float64(t.units) }

// median of at least one number.
func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
