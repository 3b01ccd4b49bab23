// Package ledger holds a mesh against what it promises: from what clients know to be acknowledged, the log,
// the state store and what the providers received, it says which promise was broken, and where. It shares
// nothing with what it checks but names, ports for reading and the numbers of fields: it decodes, folds and
// counts by itself, by the simplest means.
//
// The main flow: Load reads the log and the state store into a History (a simulator fills one by itself),
// ReadSent, ReadReceived and ReadDefinitions what stands in files; Verify, a pure function, holds it against
// every Rule and returns a Report. Recorder writes the files. Walk reads one chain for those who look for
// something in it.
package ledger
