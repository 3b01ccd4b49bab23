package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"refrain.dev/tools/ledger"
)

// report is what a run came to.
type report struct {
	plan     plan
	capacity float64
	phases   []*phase
	ledger   *ledger.Report
}

// mostViolations is how many are printed.
const mostViolations = 10

// String is the table. Its last line is for programs.
func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Open loop: offered on schedule, whatever is answered; latencies from the scheduled time. %s a rate, %d partitions, batches of %d.\n",
		r.plan.each, r.plan.partitions, r.plan.batch)
	fmt.Fprintf(&b, "Ratios compare accepted work with the same class at %gx in this run. Absolute figures are THIS MACHINE, NOW (%s/%s, %d cores; generator and mesh share them).\n",
		r.plan.times[0], runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	fmt.Fprintf(&b, "Capacity: %.0f live events/s, measured with %d publishers that wait.\n\n", r.capacity, publishers)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "load\tclass\toffered/s\taccepted/s\trefused/s\tno answer\tanswer p50\tp99\tthrough p50\tp99\trefusal p99\trecovered\treasons")
	for _, ph := range r.phases {
		for n, t := range ph.classes {
			r.line(w, ph, t, r.phases[0].classes[n])
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&b, "\nledger: %s\n", r.ledger.Totals)
	for _, v := range r.ledger.Violations[:min(mostViolations, len(r.ledger.Violations))] {
		fmt.Fprintf(&b, "violation: %+v\n", v)
	}
	fmt.Fprintf(&b, "%s\n", r.last())
	return b.String()
}

func (r *report) line(w *tabwriter.Writer, ph *phase, t, base *tally) {
	per := func(n int) float64 { return float64(n) / ph.took.Seconds() }
	fmt.Fprintf(w, "%gx\t%s\t%.0f\t%.0f\t%.0f\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
		ph.times, t.name, per(t.nOffered), per(t.nAccepted), per(t.nRefused), t.nUnanswered+t.nFailed,
		ratio(t.answers, base.answers, 50), ratio(t.answers, base.answers, 99),
		ratio(t.throughs, base.throughs, 50), ratio(t.throughs, base.throughs, 99),
		at(t.refusals, 99), ph.recover.Round(10*time.Millisecond), t.why())
}

// ratio is a percentile, and how many times the same of base it is.
func ratio(h, base *hdrhistogram.Histogram, p float64) string {
	if h.TotalCount() == 0 || base.TotalCount() == 0 {
		return at(h, p)
	}
	return fmt.Sprintf("%s (%.1f×)", at(h, p), float64(h.ValueAtPercentile(p))/float64(base.ValueAtPercentile(p)))
}

func at(h *hdrhistogram.Histogram, p float64) string {
	if h.TotalCount() == 0 {
		return "-"
	}
	d := time.Duration(h.ValueAtPercentile(p)) * time.Microsecond
	if d > 100*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

// why lists the reasons of refusals.
func (t *tally) why() string {
	var out []string
	for reason, n := range t.reasons {
		out = append(out, fmt.Sprintf("%s %d", reason, n))
	}
	slices.Sort(out)
	if t.example != nil {
		out = append(out, t.example.Error())
	}
	return strings.Join(out, ", ")
}

// last is the line for programs: counts, and no time.
func (r *report) last() string {
	accepted, refused, failed, urgent := 0, 0, 0, 0
	for _, ph := range r.phases {
		for _, t := range ph.classes {
			accepted, refused, failed = accepted+t.nAccepted, refused+t.nRefused, failed+t.nFailed+t.nUnanswered
			if t.name == "control" || t.name == "receipt" {
				urgent += t.nRefused + t.nFailed
			}
		}
	}
	return fmt.Sprintf("load: accepted=%d refused=%d unanswered=%d control_and_receipts_refused=%d lost=%d violations=%d",
		accepted, refused, failed, urgent, r.ledger.Totals.Lost, r.ledger.Count)
}

// problem is an error if something is wrong that does not depend on how fast the machine is.
func (r *report) problem() error {
	if r.ledger.Count > 0 {
		return fmt.Errorf("the check found %d violations", r.ledger.Count)
	}
	for _, ph := range r.phases {
		for _, t := range ph.classes {
			if t.nAccepted == 0 && t.nOffered > 0 && t.name != "bulk" {
				return errors.New("nothing of " + t.name + " was accepted")
			}
		}
	}
	return nil
}
