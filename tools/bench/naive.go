package main

import (
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
)

// naiveCap is a cap of testdata/shop as somebody would write it down in a hurry.
type naiveCap struct {
	atMost int
	within time.Duration
}

func naiveCaps() []naiveCap {
	const day = 24 * time.Hour
	return []naiveCap{{3, 7 * day}, {8, 30 * day}, {20, 90 * day}}
}

// naiveAllows counts contacts per window, and does nothing else.
func naiveAllows(ledger []*contactv1.LedgerEntry, caps []naiveCap, now time.Time) bool {
	for _, c := range caps {
		used, since := 0, now.Add(-c.within)
		for _, e := range ledger {
			if e.GetCounts() && e.GetAt().AsTime().After(since) {
				used++
			}
		}
		if used >= c.atMost {
			return false
		}
	}
	return true
}

// naiveBanner is a banner of testdata/shop.
type naiveBanner struct {
	name        string
	above, base float64
}

func naiveBanners() []naiveBanner {
	return []naiveBanner{
		{"banner-1", 0, 1}, {"banner-2", 10, 2}, {"banner-3", 20, 3}, {"banner-4", 30, 4},
		{"banner-5", 40, 5}, {"banner-6", 50, 6}, {"banner-7", 60, 7}, {"banner-8", 70, 8},
	}
}

// naiveBest is the banner of the greatest expected value for which there is room; empty for none.
func naiveBest(spent float64, ledger []*contactv1.LedgerEntry, caps []naiveCap, banners []naiveBanner, now time.Time) string {
	best, score := "", 0.0
	for _, b := range banners {
		if spent <= b.above || !naiveAllows(ledger, caps, now) {
			continue
		}
		if s := 0.2 * (spent*0.1 + b.base); s > score {
			best, score = b.name, s
		}
	}
	return best
}
