// Package meshsvc is the whole mesh in one process: the five services, built by their own constructors, on
// embedded defaults. Only what is injected differs from a cluster: an in-process NATS server, the
// redis-server found on the PATH as a child process (else states in memory, which the log rebuilds at every
// start), and, if asked for, the replay clock.
//
// The main flow: New starts NATS, provisions the generation, opens the state store, chooses the clock, builds
// the services and, if a workspace directory is given, applies it. Run runs them all until its context ends
// or one of them fails.
package meshsvc
