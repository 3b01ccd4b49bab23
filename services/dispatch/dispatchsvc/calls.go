package dispatchsvc

import (
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"

	"refrain.dev/pkg/delivery"
)

// job is everything that a call needs to know of its delivery.
type job struct {
	tenant    string
	customer  []byte
	key       string
	proposal  *decisionv1.Proposal
	treatment *decisionv1.TreatmentRef
	attempt   uint32
	notAfter  time.Time
	intentAt  time.Time
	revision  string
}

// result is what became of the job's attempt.
func (j job) result(r delivery.Result) delivery.Result {
	r.Attempt = j.attempt
	return r
}

// paceRequest asks for room in the channel.
type paceRequest struct{ job }

// sendRequest asks for the last check and the call of an INTENT.
type sendRequest struct{ job }

// lookRequest asks what became of an INTENT whose process is gone.
type lookRequest struct{ job }

// paceResult says that there is room, or why not.
type paceResult struct {
	proposal string
	attempt  uint32
	failure  *delivery.Result
}

// sendResult says what became of an INTENT.
type sendResult struct {
	proposal string
	result   delivery.Result
}
