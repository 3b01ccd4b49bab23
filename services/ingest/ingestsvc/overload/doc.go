// Package overload says what ingest does not take now, why, and when to come again. It is memory only: no
// I/O, and time is an argument or a clock.
//
// A Flow holds what this process has stored in one lane of one partition against what has come through the
// stages since: it refuses what would have to wait for too long, for this partition and no other. Customers
// does the same for one customer that sends more than all others. A Gate bounds the memory of requests and
// how many are worked on at once. Every refusal is typed and carries a time to come again, spread by Spread.
package overload
