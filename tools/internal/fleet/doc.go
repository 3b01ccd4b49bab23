// Package fleet runs the services as processes of their own, for tests that break them: built from this
// repository, started, killed, paused and started again, with what they say about themselves read along.
package fleet
