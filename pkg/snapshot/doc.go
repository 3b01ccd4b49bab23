// Package snapshot keeps what the chains of a stage led to, so that states can be made again without reading
// every record, and records that nobody needs any more can go.
//
// A snapshot is built from the one before it and the records after that, never from the state store: the
// sorted parts of the old one are merged with the sorted changes that the records make, so memory is bounded
// by the changes and not by the number of customers. Parts in which nothing changed are named again. Parts and
// the index that lists them are objects named after their SHA-256; a snapshot counts once it was read back,
// checked and listed in the chain's manifest. A crash before that leaves objects that no manifest leads to,
// which a later build removes.
//
// The Keeper runs in every process that owns partitions, beside the stage: it builds and trims in turn, and
// compares what is in the state store with what the snapshot says.
package snapshot
