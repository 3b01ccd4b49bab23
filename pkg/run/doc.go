// Package run is the one way in which processes start and stop: settings are loaded, connections made,
// the generation awaited, the service built and run beside its servers; the first part to fail stops the
// rest, and everything is undone in reverse order, each step named, within a bounded time.
//
// Only this package and main functions read flags or the environment, handle signals and exit.
package run
