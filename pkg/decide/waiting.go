package decide

import (
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/journey"
)

// dropWaiting refuses the waiting entries of every journey that the event ends.
func (t *turn) dropWaiting(ev journey.Event) {
	t.keepWaiting(func(w *decisionv1.WaitingEntry) bool {
		d := t.journey(w.GetJourney())
		if d == nil || !d.Drops(ev, t.journeyEnv()) {
			return true
		}
		t.refuseWaiting(w, t.reason(reasonv1.Code_CODE_WITHDRAWN, "Journey/"+d.Name+".exit", "the journey ended with "+ev.Name))
		return false
	})
}

// admit lets waiting events enter whose journey is not running any more, each journey and key at most one, and
// refuses those that have become too old; what is too much for this turn is left to the next one.
func (t *turn) admit() {
	t.keepWaiting(func(w *decisionv1.WaitingEntry) bool {
		d := t.journey(w.GetJourney())
		switch {
		case d == nil:
			t.refuseWaiting(w, t.reason(reasonv1.Code_CODE_WITHDRAWN, "Journey/"+w.GetJourney(), "the journey is not in the catalog any more"))
			return false
		case t.full(), running(t.s, w) && !t.over(w.GetUntil()):
			return true
		}
		t.start(d.Admit(w, t.journeyEnv()))
		return false
	})
}

// keepWaiting goes through the waiting entries in the order they came; keep reports whether one goes on waiting. Meanwhile
// the others stay in the state: what starts must find room beside them.
func (t *turn) keepWaiting(keep func(*decisionv1.WaitingEntry) bool) {
	all := t.s.GetWaiting()
	var kept []*decisionv1.WaitingEntry
	for n, w := range all {
		t.s.Waiting = slices.Concat(kept, all[n+1:])
		if keep(w) {
			kept = append(kept, w)
		}
	}
	t.s.Waiting = kept
}

func running(s *decisionv1.State, w *decisionv1.WaitingEntry) bool {
	for _, e := range s.GetEnrollments() {
		if e.GetJourney() == w.GetJourney() && e.GetKey() == w.GetKey() {
			return true
		}
	}
	return false
}

func (t *turn) refuseWaiting(w *decisionv1.WaitingEntry, reason *reasonv1.Reason) {
	t.fact(journey.Refused(w.GetJourney(), w.GetKey(), w.GetEvent(), reason))
}
