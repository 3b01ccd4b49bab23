// Package suppressionsvc is the suppression stage and the service that answers whether a customer may be
// contacted.
//
// The main flow: a cell of ACTIONS brings the basis of contact (consent, endpoints, zone), which the row
// keeps, or a chosen proposal. contact.Check judges it against the ledger and all policies of the revision.
// Approved: room is reserved in the ledger under the proposal's id and VERDICTS tells dispatch until when
// the send must have started. Deferred: the proposal waits in the row and a timer checks it again at the
// computed instant. Suppressed: it is resolved at once, with the reasons.
//
// A cell of SENDS says what became of an approval: accepted and unknown use the room, refused and unsent
// free it, and either way the proposal is resolved in VERDICTS, where decision reads it. A withdrawal of
// what is deferred is answered here; of what is approved it goes on to dispatch, whose answer counts.
//
// The contact ledger of a profile that was closed for another one goes to that one by letter, and nobody is contacted at
// an address before it has come (handover.go).
//
// Reserve, Commit and Release are inputs of the same fold, so they and the proposals never overshoot each
// other; Check reads the row and changes nothing. An input that had to be given up closes contact with the
// customer; a proposal that was in it is resolved as suppressed and never sent later.
package suppressionsvc
