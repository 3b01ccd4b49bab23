//go:build unix

package main

import (
	"slices"
	"sort"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// handovers measures from the log how long partitions stood still when they changed hands although there was
// work: from the last record before an OPEN, or from when there was something to read after it, to the OPEN's
// own end. It looks at stages that answer all that they read.
func handovers(h *ledger.History, t *tally) {
	for _, spec := range log.Stages() {
		if spec.Name == "dispatch" {
			continue
		}
		for p := range h.Partitions {
			var arrivals []time.Time
			for _, before := range spec.Before {
				for _, m := range h.Log[log.Subject(before, p)] {
					if spec.Name == "profile" || works(m) {
						arrivals = append(arrivals, m.Time)
					}
				}
			}
			slices.SortFunc(arrivals, time.Time.Compare)
			for _, d := range standing(h.Log[log.Subject(spec.Chain, p)], arrivals) {
				t.took("hand-over: "+spec.Name+" stood still", d)
			}
		}
	}
}

// works says whether a record of a chain gives the next stage something to do.
func works(m log.Message) bool {
	rec := &stagev1.Record{}
	return rec.UnmarshalVT(m.Data) == nil && len(rec.GetCells()) > 0
}

// standing lists how long a chain stood still at each change of hands while there was work.
func standing(chain []log.Message, arrivals []time.Time) []time.Duration {
	var out []time.Duration
	var last time.Time
	opening := false
	for _, m := range chain {
		rec := &stagev1.Record{}
		if rec.UnmarshalVT(m.Data) != nil {
			continue // the check says so
		}
		if rec.GetKind() == stagev1.RecordKind_RECORD_KIND_OPEN {
			opening = true
			continue
		}
		if opening && !last.IsZero() {
			// What came before the last record may have been read by then; what came after it was not.
			n := sort.Search(len(arrivals), func(n int) bool { return arrivals[n].After(last) })
			if n < len(arrivals) && arrivals[n].Before(m.Time) {
				out = append(out, m.Time.Sub(arrivals[n]))
			}
		}
		opening, last = false, m.Time
	}
	return out
}
