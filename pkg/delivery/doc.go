// Package delivery is the state machine of a send:
//
//	QUEUED --(paced)--> INTENT(n) --(the call)--> ACCEPTED | REJECTED | UNSENT | UNKNOWN
//	INTENT(n) --(provably not sent, time left)--> QUEUED, and later INTENT(n+1)
//	QUEUED --(approval over, withdrawn)--> UNSENT
//	INTENT of a process that is gone --> looked up where the channel can, else UNKNOWN
//	UNKNOWN --(a receipt)--> ACCEPTED | REJECTED | UNSENT
//
// A proposal has at most one delivery. Between two INTENTs of a proposal there is always proof that the
// first one was not sent, and a delivery ends once. What may have been sent is never tried again.
//
// The functions take a state and an input and return the state after it, the facts, and what the shell
// has to do next. An input that the state does not wait for changes nothing, so a repeat has no effect.
// Arguments are never changed.
package delivery
