package shop

import reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

// Goals are the situations that a sweep must have seen: a sweep that did not has not tested what it says.
func Goals() []string {
	goals := []string{
		"ended sent", "ended suppressed", "ended superseded", "ended expired", "ended unknown",
		"catalog applied", "reserved", "receipt", "send without an answer", "degraded answer",
		"fault.crash", "fault.stop", "fault.pause", "fault.clock-step", "clock set by days", "fault.clock-drift",
		"fault.lost.log", "fault.applied.log", "fault.late.log", "fault.pending.log", "fault.full.log",
		"fault.applied.state", "fault.partial.state", "fault.forgets.state", "fault.wiped.state", "fault.double.log",
		"fault.applied.out", "fault.late.out", "fault.lost.out", "fault.held.feed", "fault.lost.rpc", "fault.applied.rpc", "fault.panic.fold",
		"landed late.log",
	}
	for n := honest; n <= afterthoughts; n++ {
		goals = append(goals, "provider."+n.String())
	}
	for _, point := range points() {
		goals = append(goals, "point."+point)
		if point != "stage.orphaned" { // by then a process is about to be restarted anyway
			goals = append(goals, "crash at "+point)
		}
	}
	return append(goals, situations()...)
}

// situations are what the chains themselves must show.
func situations() []string {
	return []string{
		"take-over between INTENT and OUTCOME", "handed over", "taken over after an unclean end", "looked up: there",
		"looked up: not there", "garbage", "deferred, then approved", "deferred, then suppressed",
		"given up in decision: timer", "given up in suppression: timer", "given up in dispatch: timer",
		"given up in profile: evt.live", "given up in decision: prf", "given up in suppression: act", "given up in dispatch: vdc",
		"much at once in profile", "much at once in decision", "large records in profile", "large records in decision",
		"contacts moved with an address", "trimmed", "trimmed under pressure", "catalog removed",
		refusedFor(reasonv1.Code_CODE_ADDRESS_UNSETTLED),
		"redriven profile", "redriven decision", "redriven suppression", "redriven dispatch",
		refusedFor(reasonv1.Code_CODE_CAP_REACHED), refusedFor(reasonv1.Code_CODE_MIN_GAP), refusedFor(reasonv1.Code_CODE_QUIET_HOURS),
		refusedFor(reasonv1.Code_CODE_CONSENT_MISSING), refusedFor(reasonv1.Code_CODE_UNSUBSCRIBED), refusedFor(reasonv1.Code_CODE_NO_ENDPOINT),
		refusedFor(reasonv1.Code_CODE_DEFER_EXPIRED),
		"tenant added", "tenant removed", "tenant back", "one event id of two tenants", "one address of two tenants", "withdrawn from another tenant",
		"number international", "number dialled", "number national", "number bracketed", "one number in two spellings", "national number without a region",
		"withdrawn by another spelling", "alias of a device", "alias of two customers refused",
		"opt-out by an unknown channel", "opt-out by an unknown topic", "opt-out by unknown names", "opt-out in other letters",
	}
}
