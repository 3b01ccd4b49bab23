// Package profile is the pure heart of the profile stage: what an event does to what is known about a
// customer, how identifiers come to resolve to profiles, and how a profile is read.
//
//   - An event is judged at the home of its strongest identifier: [Receive] drops repeats, makes the
//     profile if the identifier is new, or says to which profile the event has to be forwarded.
//   - [Apply] changes one profile by one event: traits, consent, endpoints, zone, identities, outcomes.
//   - [Claim], [Adopt], [Lose] and [UpdateAccount] are what partitions ask of each other by letter.
//   - [Teller] says whether a word about permission is on its way to a profile.
//   - [Traits], [Consents], [Endpoints], [Zone] and [Basis] read a profile, merging its leaves.
//
// Everything here is a function of its arguments: states and facts are the messages of profile.v1,
// arguments are never changed, and the log's time is passed in. A profile and an event are personal
// data; log neither.
package profile
