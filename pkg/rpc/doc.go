// Package rpc builds gRPC servers and clients that all behave alike: a vtprotobuf codec, recovery,
// validation by the contract's own rules, health, reflection, tracing where it is on, and errors whose
// code follows from their fault kind with machine-readable details.
package rpc
