// Package ledger holds the logs of a mesh against what was accepted at its door and against what its
// channels really got. It shares nothing with the code that decides: it reads chains, collects facts and
// counts anew, by the simplest means.
//
// The main flow: Read collects what all chains say, DeadLetters what was given up, ReadLines what a file
// channel got; Check holds them against each other, and Rules.Check counts caps, quiet hours and consent.
package ledger
