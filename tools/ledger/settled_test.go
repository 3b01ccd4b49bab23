package ledger

import (
	"testing"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// What suppression gave up is no end yet: its dead letter says what is to be done.
func TestADeliveryWhoseReportWasGivenUpWaitsForItsDeadLetter(t *testing.T) {
	for name, open := range map[string]bool{"given up": false, "passed over": true} {
		t.Run(name, func(t *testing.T) {
			w := goodWorld(t)
			r := hello("p7")
			w.choose(r)
			w.approve(r)
			w.deliverIt(r, queued(r.id, r.channel), intending(r.id, r.channel, 1))
			w.request(r, r.tries[0])
			w.deliverIt(r, reporting(r.id, dispatchv1.Status_STATUS_ACCEPTED))
			end := w.tail(dispatch, r.p)
			verdict := w.decide(suppression, r.p)
			if !open {
				verdict.record.Gaps = []*stagev1.Gap{w.bury("suppression", r.p, "snd", place{end.sequence, 1}, []byte("cell"))}
			}
			if got := Verify(w.history()).Broken[SettledOpen] > 0; got != open {
				t.Errorf("its end is missing: %v, want %v", got, open)
			}
		})
	}
}
