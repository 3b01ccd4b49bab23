// Package event holds what is true of every event, wherever it came in: how values are represented,
// which identifier kinds there are and how strong they are, in which lane an event travels and what
// makes it acceptable. It is pure: no clock, no I/O, no randomness.
package event
