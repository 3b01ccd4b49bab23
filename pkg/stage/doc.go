// Package stage runs one stage of the mesh: a fold over a partitioned log.
//
// For each owned partition the loop is always the same (docs/architecture.md has the reasons):
//
//	take over   append OPEN with the expected last sequence; it fences every older owner
//	recover     copy the records that the state store lacks
//	gather      what waits at the doors: lanes, chains, mailbox, redrive, timers, RPCs, results of calls
//	load        the rows of the batch together with the shard's meta, in one call
//	decide      Fold.Decide per input, each seeing what the ones before it left
//	append      one record with covers, facts and resulting states, by compare-and-append
//	write       the states to the store; then answer, call, relay
//
// The record is the only act that counts. Whatever dies between the lines is done again from the log, and
// gives the same facts, because deciding is pure and ids derive from causes.
//
// The package knows no domain word and no clock but the one it is given.
package stage
