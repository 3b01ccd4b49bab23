// Package crash has tests only: the services as processes of their own, killed at random moments while
// events come in, and the mesh on the replay clock, killed, with its Redis emptied and rolled back. What
// is left afterwards is held against what was accepted and what the receivers really got, by package
// ledger, which shares nothing with the code that decides.
//
// Every random choice follows from a seed that is printed; REFRAIN_CRASH_SEED repeats it.
package crash
