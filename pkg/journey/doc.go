// Package journey compiles journeys and steps enrollments through them. It is pure: time, traits and the
// customer are arguments, and equal arguments give equal results.
//
// A journey is a straight line of steps: an action step makes a proposal and goes on when that is
// resolved, a wait counts from the end of the step before, a branch takes the first case that holds and
// flows on after itself. There is no way back, so one input moves an enrollment by at most the number of
// its steps.
//
// An expression that fails while it runs holds for nobody: its entry is refused with the error as
// evidence, its exit and its case are not taken.
package journey
