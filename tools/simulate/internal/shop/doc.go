// Package shop wires the five services, unchanged, into a simulated world, lets clients and lying providers
// loose on them, and holds what came of it against everything that Refrain promises.
//
// The main flow: Generate makes a schedule from a seed; Run provisions a world, starts two replicas of every
// service on nodes that may crash, pause and lose their connections, lets the clients do their operations,
// ends the faults, waits until nothing moves any more, and hands the whole history to package ledger.
package shop
