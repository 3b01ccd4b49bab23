package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
)

// "A table of ratios": every figure is taken, or it is said loudly that it was not.
func TestEveryFigureIsInTheTable(t *testing.T) {
	var out bytes.Buffer
	if err := bench(t.Context(), &out, plan{within: 50 * time.Millisecond, rounds: 1}); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(out.String(), "\n\n")
	table, notes, _ := strings.Cut(body, "\n\n")
	if got := strings.Count(table, "×") + 3*strings.Count(table, "NOT MEASURED"); got != 3*figureCount {
		t.Errorf("the table has %d ratios, want %d for each of %d figures:\n%s", got, 3, figureCount, &out)
	}
	if got := strings.Count(notes, "\n"); got != figureCount {
		t.Errorf("%d notes, want %d:\n%s", got, figureCount, notes)
	}
	if strings.Contains(table, "NOT MEASURED") {
		t.Logf("not everything could be measured here:\n%s", notes)
	}
}

// The naive versions give the same answers, or their ratios would mean nothing.
func TestTheNaiveVersionsAgree(t *testing.T) {
	for name, days := range map[string][]int{
		"nobody": {}, "one": {2}, "two in a week": {2, 5}, "three in a week": {1, 3, 6}, "three, one of them older": {1, 3, 8},
		"eight in a month":    {2, 4, 9, 12, 16, 21, 25, 29},
		"seven in a month":    {2, 4, 9, 12, 16, 21, 25, 31},
		"twenty in a quarter": {2, 4, 9, 12, 16, 21, 25, 31, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 89},
		"nineteen":            {2, 4, 9, 12, 16, 21, 25, 31, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 91},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := newFixture(days...)
			if err != nil {
				t.Fatal(err)
			}
			web := contact.Treatment{ID: "banner", Channel: "web", To: decide.ToCustomer}
			reasons := f.allows(f.rules.Actions["banner-6"], web)
			if got, want := len(reasons) == 0, naiveAllows(f.ledger.GetLedger(), naiveCaps(), f.now); got != want {
				t.Errorf("contact.Check allows it: %t, the loop: %t; %v", got, want, reasons)
			}
			if got, want := f.best(), naiveBest(spent, f.ledger.GetLedger(), naiveCaps(), naiveBanners(), f.now); got != want {
				t.Errorf("decide.Query chooses %q, the loop %q", got, want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, of := range map[float64][]float64{3: {3}, 2: {3, 1}, 5: {9, 1, 5}} {
		if got := median(of); got != want {
			t.Errorf("median of %v is %g, want %g", of, got, want)
		}
	}
}

// "A bench prints the time": one line, with what was measured and against what.
func TestRebuildPrintsItsLine(t *testing.T) {
	var out bytes.Buffer
	if err := runRebuild(t.Context(), &out, 2000); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rebuild: profiles=2000 rows=4000", "rebuilt_in=", "bare_sets=", "ratio="} {
		if !strings.Contains(out.String(), want) && !strings.Contains(out.String(), "NOT MEASURED") {
			t.Errorf("%q is not in %q", want, &out)
		}
	}
}
