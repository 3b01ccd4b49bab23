// Package dispatchsvc is the dispatch stage: it hands approved treatments to channels, and knows what
// became of each.
//
// The main flow of a delivery: an approval in VERDICTS is queued (fold.go) and room in its channel is
// waited for (engine.go, queue.go). When there is room, the INTENT is appended to SENDS; only then the last
// check is made on a profile that is provably not older than 5 s (freshness.go, pings.go) and to which no
// word about permission is on its way (tellers.go), the treatment is rendered (render.go), and the
// provider is called (package channel). What the call proves is appended as
// the report. What provably was not sent is tried again while the approval lasts; what may have been sent
// never is: after a crash an INTENT without a report is looked up where the channel can, else UNKNOWN,
// until a receipt says more (receipts.go). Everything waits and measures on the clock that it is given.
//
// The rules are in pkg/delivery; the fold only decodes and encodes. rpc.go shows deliveries and the dead
// letters of all stages, and redrives them.
package dispatchsvc
