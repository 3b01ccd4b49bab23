// Package ingestsvc is the mesh's door. Whatever comes in, over the Segment HTTP API, as CloudEvents,
// through gRPC or on a NATS subject, takes one way:
//
//  1. The entrance authenticates, bounds what it reads and makes items of it: an event, or why there is none.
//  2. The door normalises each item's identifiers, recognises consent and outcomes, verifies tokens and
//     validates; an item that fails is refused with its field and the reason.
//  3. Accepted items are stamped with their arrival and go to the home of their strongest identifier, in
//     the lane of their kind.
//  4. The committer stores everything that waits for a lane of a partition in one message; refused items
//     go to the dead letters.
//  5. Only then the entrance answers: positions, refusals, or that nothing is certain and the same may be
//     sent again.
//
// It keeps no state: equal events go to equal homes through any replica, and that is where repeats are
// recognised.
package ingestsvc
