// Package determinism holds no code, only a test: the five services, built by their own constructors on a
// log and a store in memory, lead to the same facts per customer under the replay clock whatever the
// number of partitions, the size of batches, and the moments at which the process died.
package determinism
