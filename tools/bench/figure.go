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
	// rest is waited for after each measurement, unmeasured: what a step leaves running would slow the other
	// side. May be nil.
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

// take measures both sides in turn, beginning with another one each round. After end no round is begun but
// the first.
func (f figure) take(ctx context.Context, p plan, end time.Time) (line, error) {
	l := line{figure: f}
	if f.missing != "" {
		return l, nil
	}
	slice := p.slice()
	for _, s := range []side{f.ours, f.bare} {
		if _, err := s.measure(ctx, slice/4); err != nil {
			return l, err
		}
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

func (f figure) round(ctx context.Context, n int, slice time.Duration) (ours, bare float64, err error) {
	if n%2 == 1 {
		if bare, err = f.bare.measure(ctx, slice); err != nil {
			return 0, 0, err
		}
		ours, err = f.ours.measure(ctx, slice)
		return ours, bare, err
	}
	if ours, err = f.ours.measure(ctx, slice); err != nil {
		return 0, 0, err
	}
	bare, err = f.bare.measure(ctx, slice)
	return ours, bare, err
}

// measure does steps for at least that long and returns nanoseconds per unit.
func (s side) measure(ctx context.Context, slice time.Duration) (float64, error) {
	runtime.GC()
	units, began := 0, time.Now()
	for units == 0 || time.Since(began) < slice {
		n, err := s.step(ctx)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.what, err)
		}
		units += n
	}
	took := time.Since(began)
	if s.rest != nil {
		if err := s.rest(ctx); err != nil {
			return 0, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return float64(took.Nanoseconds()) / float64(units), nil
}

// median of at least one number.
func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
