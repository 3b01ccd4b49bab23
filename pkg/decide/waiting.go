package decide

import (
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
// refuses those that have become too old.
func (t *turn) admit() {
	t.keepWaiting(func(w *decisionv1.WaitingEntry) bool {
		d := t.journey(w.GetJourney())
		switch {
		case d == nil:
			t.refuseWaiting(w, t.reason(reasonv1.Code_CODE_WITHDRAWN, "Journey/"+w.GetJourney(), "the journey is not in the catalog any more"))
			return false
		case t.running(w) && !t.over(w.GetUntil()):
			return true
		}
		t.start(d.Admit(w, t.journeyEnv()))
		return false
	})
}

// keepWaiting goes through the waiting entries in the order they came; keep reports whether one goes on waiting.
func (t *turn) keepWaiting(keep func(*decisionv1.WaitingEntry) bool) {
	all := t.s.GetWaiting()
	t.s.Waiting = nil
	for _, w := range all {
		if keep(w) {
			t.s.Waiting = append(t.s.GetWaiting(), w)
		}
	}
}

func (t *turn) running(w *decisionv1.WaitingEntry) bool {
	for _, e := range t.s.GetEnrollments() {
		if e.GetJourney() == w.GetJourney() && e.GetKey() == w.GetKey() {
			return true
		}
	}
	return false
}

func (t *turn) refuseWaiting(w *decisionv1.WaitingEntry, reason *reasonv1.Reason) {
	t.fact(journey.Refused(w.GetJourney(), w.GetKey(), w.GetEvent(), reason))
}
