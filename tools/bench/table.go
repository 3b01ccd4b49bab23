package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// printTable prints the ratios, the absolute figures beside them, and what one should know.
func printTable(out io.Writer, lines []line, p plan) error {
	fmt.Fprintf(out, "Refrain ÷ bare: time per unit on both sides, taken in turn, up to %d rounds of %s a side; median (min–max).\n",
		p.rounds, p.slice().Round(time.Millisecond))
	fmt.Fprintf(out, "The two columns on the right are THIS MACHINE, NOW (%s/%s, %d cores, %s): do not carry them elsewhere.\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tRefrain ÷ bare\trounds\tRefrain, here and now\tbare, here and now")
	for _, l := range lines {
		if l.missing != "" {
			fmt.Fprintf(w, "%s\tNOT MEASURED\t0\t\t\n", l.name)
			continue
		}
		fmt.Fprintf(w, "%s\t%s (%s–%s)\t%d\t%s\t%s\n", l.name, times(median(l.ratios)), times(slices.Min(l.ratios)),
			times(slices.Max(l.ratios)), len(l.ratios), absolute(median(l.ours), l.unit), absolute(median(l.bare), l.unit))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	fmt.Fprintln(out)
	for _, l := range lines {
		if l.missing != "" {
			fmt.Fprintf(out, "%s: NOT MEASURED: %s\n", l.name, l.missing)
			continue
		}
		fmt.Fprintf(out, "%s: %s ÷ %s.", l.name, l.figure.ours.what, l.figure.bare.what)
		if l.said != "" {
			fmt.Fprintf(out, " %s", l.said)
		}
		fmt.Fprintln(out)
	}
	return nil
}

// times prints a ratio with about three digits.
func times(r float64) string {
	switch {
	case r >= 100:
		return fmt.Sprintf("%.0f×", r)
	case r >= 10:
		return fmt.Sprintf("%.1f×", r)
	}
	return fmt.Sprintf("%.2f×", r)
}

// absolute prints nanoseconds per unit, and units per second.
func absolute(ns float64, unit string) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	case d >= time.Microsecond:
		d = d.Round(10 * time.Nanosecond)
	}
	return fmt.Sprintf("%s/%s (%.0f/s)", d, unit, float64(time.Second)/ns)
}
