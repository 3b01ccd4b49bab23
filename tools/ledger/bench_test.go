package ledger

import (
	"testing"
	"time"
)

// BenchmarkVerify is what a simulator pays for every run.
func BenchmarkVerify(b *testing.B) {
	var repeat []func(*world)
	repeat = append(repeat, func(w *world) {
		for n := range 20 {
			r := hello("bench" + string(rune('a'+n)))
			w.tick(24 * time.Hour)
			w.send(r)
		}
	})
	h := goodWorld(b, repeat...).history()
	h.Zones = &Zones{}
	h.Now = time.Time{}
	report := Verify(h)
	if report.Count > 0 {
		b.Fatal(report.Violations)
	}
	records := report.Records
	b.ReportAllocs()
	for b.Loop() {
		Verify(h)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
	b.ReportMetric(float64(records), "records")
}
