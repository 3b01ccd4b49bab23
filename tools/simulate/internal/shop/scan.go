package shop

import (
	"fmt"
	"strings"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// RuleReservation says that a reservation was answered and is not in the log.
const RuleReservation = "reservation.lost"

// scan looks through the chains for what the ledger does not know: what callers were told, and the situations
// that a sweep must have seen.
func (m *mesh) scan(h *ledger.History) {
	made, deferred := map[string]bool{}, map[string]bool{}
	for p := range partitions {
		records(h, log.Subject("vdc", p), func(_ *stagev1.Record, facts [][]byte) {
			for _, data := range facts {
				f := &contactv1.Fact{}
				if f.UnmarshalVT(data) != nil {
					continue
				}
				if r := f.GetReservationMade(); r != nil {
					made[r.GetEntry().GetId()] = true
				}
				if f.GetLedgerTakenOver().GetContacts() > 0 {
					m.world.Reach("contacts moved with an address")
				}
				m.scanVerdict(f.GetVerdictGiven(), deferred)
			}
		})
		m.scanSends(h, p)
		m.scanDeadLetters(h, p)
		m.scanSizes(h, p)
	}
	m.scanTenants(h)
	m.scanNumbers(h)
	for _, id := range m.reserved {
		if !made[id] {
			m.world.Violate(RuleReservation, fmt.Sprintf("%s was answered, but is not in the log", id))
		}
	}
}

// scanVerdict notes why contacts were not approved, and those that were deferred and what became of them.
func (m *mesh) scanVerdict(v *contactv1.VerdictGiven, deferred map[string]bool) {
	for _, no := range v.GetReasons() {
		m.world.Reach(refusedFor(no.GetCode()))
	}
	id := v.GetRequest().GetProposal().GetId()
	switch {
	case v.GetKind() == contactv1.VerdictKind_VERDICT_KIND_DEFERRED:
		deferred[id] = true
	case deferred[id] && v.GetKind() == contactv1.VerdictKind_VERDICT_KIND_APPROVED:
		m.world.Reach("deferred, then approved")
	case deferred[id] && v.GetKind() == contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED:
		m.world.Reach("deferred, then suppressed")
	}
}

// refusedFor is the goal that something was not approved for a reason.
func refusedFor(code reasonv1.Code) string {
	return "not approved: " + strings.TrimPrefix(code.String(), "CODE_")
}

// scanSends looks for take-overs in the middle of a send.
func (m *mesh) scanSends(h *ledger.History, partition int) {
	open := map[string]bool{}
	closed := true
	records(h, log.Subject("snd", partition), func(r *stagev1.Record, facts [][]byte) {
		if r.GetKind() == stagev1.RecordKind_RECORD_KIND_OPEN {
			if len(open) > 0 {
				m.world.Reach("take-over between INTENT and OUTCOME")
			}
			if closed {
				m.world.Reach("handed over")
			} else {
				m.world.Reach("taken over after an unclean end")
			}
		}
		closed = r.GetKind() == stagev1.RecordKind_RECORD_KIND_CLOSE || r.GetKind() == stagev1.RecordKind_RECORD_KIND_GENESIS
		for _, data := range facts {
			f := &dispatchv1.Fact{}
			if f.UnmarshalVT(data) != nil {
				continue
			}
			if i := f.GetIntentDeclared(); i != nil {
				open[i.GetProposal()] = true
			}
			if d := f.GetDeliveryReported(); d != nil {
				delete(open, d.GetProposal())
			}
		}
	})
}

// scanDeadLetters notes which inputs of which stages a panic made them give up.
func (m *mesh) scanDeadLetters(h *ledger.History, partition int) {
	for _, spec := range log.Stages() {
		for _, msg := range h.Log[log.Subject(log.DeadLetters(spec.Name), partition)] {
			letter := &stagev1.DeadLetter{}
			if letter.UnmarshalVT(msg.Data) == nil && strings.Contains(letter.GetWhy(), "planted") {
				m.world.Reach("given up in " + spec.Name + ": " + letter.GetInput())
			}
		}
	}
}

// scanSizes notes records that are large, or have decided much at once.
func (m *mesh) scanSizes(h *ledger.History, partition int) {
	for _, spec := range log.Stages() {
		for _, msg := range h.Log[log.Subject(spec.Chain, partition)] {
			r := &stagev1.Record{}
			if r.UnmarshalVT(msg.Data) != nil {
				continue
			}
			if len(r.GetCells()) >= 64 {
				m.world.Reach("much at once in " + spec.Name)
			}
			if len(msg.Data) >= 128<<10 {
				m.world.Reach("large records in " + spec.Name)
			}
		}
	}
}

// records goes through a chain.
func records(h *ledger.History, subject string, visit func(r *stagev1.Record, facts [][]byte)) {
	for _, msg := range h.Log[subject] {
		r := &stagev1.Record{}
		if r.UnmarshalVT(msg.Data) != nil {
			continue
		}
		var facts [][]byte
		for _, c := range r.GetCells() {
			body := &stagev1.CellBody{}
			if body.UnmarshalVT(c.GetSealed()) == nil {
				facts = append(facts, body.GetFacts()...)
			}
		}
		visit(r, facts)
	}
}
