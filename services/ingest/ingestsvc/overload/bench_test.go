package overload

import (
	"testing"
	"time"
)

// BenchmarkAdmission is what an event pays for the bounds.
func BenchmarkAdmission(b *testing.B) {
	flows, customers := testFlows(func(l *Limits) { l.Burst, l.Least = 1<<30, 1<<30 }), NewCustomers(1e9, 1<<20)
	f, one, n := flows.Of(0), customer(1), uint64(0)
	for b.Loop() {
		n++
		now := time.Duration(n) * time.Microsecond //nolint:gosec // small
		if r := customers.Take(one, now); r != nil {
			b.Fatal(r)
		}
		if r := f.Take(1, now); r != nil {
			b.Fatal(r)
		}
		f.Stored(1, n, now)
		if n%100 == 0 {
			f.Covered(n, now)
		}
	}
}
