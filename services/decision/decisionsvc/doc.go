// Package decisionsvc is the decision stage: what, if anything, should happen next for a customer.
//
// The main flow: a cell of PROFILES with facts about a customer comes in (fold.go). Every event runs the
// exits of the customer's enrollments, then the entries of all journeys; steps make proposals; placements
// filled by the mesh collect them, rank them and hand the best to suppression as DispatchTreatment facts
// (package decide, which this package only feeds). What became of them comes back in VERDICTS and makes
// enrollments ready; everything that needs the profile then goes on by a timer that is due at once and
// reads the profile's row. Each input leaves one cell in ACTIONS: its facts and the state after it.
//
// Beside the stage the gRPC service answers NextBestActions (engine.go): one read of the profile, the
// decision and the ledger rows, the same pure code, items with signed tokens; and Explain (explain.go).
package decisionsvc
