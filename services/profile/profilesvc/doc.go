// Package profilesvc is the profile stage and the service that reads profiles.
//
// The main flow: an event arrives in a lane at the home of its strongest identifier. The fold asks for
// the identifier's row, the profile that the identifier would make, and whether the event's id was seen
// in the last days. profile.Receive drops a repeat, applies the event to the profile, or forwards it by
// letter to the profile that the identifier resolves to; claims on weaker identifiers go out as letters
// too. A letter in the mailbox is opened by profile.Open and decided by profile.Deliver. What follows is
// encoded as cells of one record: the identifier's row with the ids seen, the profile with its facts and
// timeline. Receipts also go on to dispatch (receipts.go).
//
// A read goes from the identifier's row to the profile's row, at most one partition further.
package profilesvc
