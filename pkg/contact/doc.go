// Package contact decides whether a customer may be contacted, and keeps the contact ledger that the
// answer rests on. It is pure: the row, the policies and the time come in as values, a Verdict or a new
// row goes out.
//
// Check asks the gates in one fixed order: closed basis, endpoint, do-not-contact, consent, time windows,
// caps and gaps. The rules it follows, where the definitions leave room:
//
//   - A treatment that is not addressed to the customer (to: team, or a channel whose endpoint is a trait: the
//     address of a rep, which many customers share) is no contact with the customer: only a closed basis and a
//     missing address stop it, and it takes up no room.
//   - An address is used only when it is settled who is contacted there: its claim is decided, and the contact
//     ledgers of the profiles that were closed for this one have come, with nothing under way in them. Until then a
//     contact is deferred (handover.go).
//   - Consent is looked up from the most specific record to the least: channel and topic, channel and *,
//   - and topic, * and *. A withdrawal for * and * dominates all of them, whenever it was made, until
//     permission for * and * is given again. Marketing needs permission unless a policy says
//     "not_required" and none says "required"; where it is not required a withdrawal still counts.
//   - Service and transactional contacts need no permission; what stops them is a withdrawal for exactly
//     their channel and topic, a complaint, or a STOP for the channel. Legal contacts ask for no consent. The
//     do-not-contact list stops all of them.
//   - Caps, gaps and quiet hours govern the contacts that obey them and to which their policy applies. What
//     uses up room is every contact in the ledger that counts, on the channels that the policy applies to,
//     whatever its purpose: that is what counting means.
//   - Room that is reserved counts until it is used or released, however old it is, because the send may
//     still come.
//   - A contact blocked by several rules is deferred only if all of them defer, to the earliest instant that
//     all rules allow at once, and only if that is within the shortest max_defer of those that block now.
//   - Without a known zone, quiet means quiet anywhere that people live, and a calendar window lasts until
//     it has ended everywhere; a policy may say that the workspace's zone is used instead.
package contact
