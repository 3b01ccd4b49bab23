package suppressionsvc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/stage/stagetest"
)

// lists are all lists of the state, and how many elements each has at most; 0: what fits the row, what comes beyond is
// given up. A list that is added needs its line here.
var lists = map[string]int{
	"basis.consents":                          0,
	"basis.consents.beside":                   0,
	"basis.endpoints":                         0,
	"basis.endpoints.do_not_contact.evidence": 0,
	"basis.closed.evidence":                   0,
	"basis.missing":                           0, // what kinds of endpoints there are
	"basis.missing.reason.evidence":           0,
	"basis.awaits":                            0,
	"ledger":                                  contact.MaxLedger,
	"pending":                                 0, // what decision has chosen: at most 64
	"pending.request.proposal.labels":         0,
	"pending.request.proposal.context":        0, // at most 16 KiB
	"pending.request.proposal.context.value.list.values":       0,
	"pending.request.proposal.context.value.object.properties": 0,
	"pending.request.treatments":                               0,
	"pending.reasons":                                          0,
	"pending.reasons.evidence":                                 0,
	"taken_over":                                               256,
}

func TestEveryListOfTheStateHasABound(t *testing.T) {
	var known []string
	for path := range lists {
		known = append(known, path)
	}
	slices.Sort(known)
	got := stagetest.Lists(&contactv1.State{})
	slices.Sort(got)
	if !slices.Equal(got, known) {
		t.Errorf("lists of the state: got %q, want those with a bound: %q", got, known)
	}
}

// fullState has one list filled, as far as the row allows, with pending proposals that wait.
func fullState(b *bench, path string, most int) {
	b.t.Helper()
	if most == 0 {
		most = 1 << 20
	}
	s := &contactv1.State{Tenant: "default", Customer: make([]byte, 16)}
	stagetest.Fill(s, strings.Split(path, "."), most, 63<<10, func(e proto.Message) {
		switch e := e.(type) {
		case *contactv1.Pending:
			e.Status, e.Until = contactv1.PendingStatus_PENDING_STATUS_DEFERRED, timestamppb.New(b.now.AddDate(0, 0, 1))
			e.DeferUntil, e.Since = e.GetUntil(), timestamppb.New(b.now)
			e.Request.Proposal.Action = "welcome"
		case *contactv1.LedgerEntry:
			e.At, e.LeaseUntil, e.From, e.State = timestamppb.New(b.now), nil, nil, contactv1.EntryState_ENTRY_STATE_COMMITTED
		}
	})
	if path != "basis.closed.evidence" && s.GetBasis() != nil {
		s.Basis.Closed = nil
	}
	var err error
	if b.row, err = s.MarshalVT(); err != nil {
		b.t.Fatal(err)
	}
}

// However full a list is: what comes takes effect, or is given up and closes contact; no list outgrows its bound; and
// what ends makes room.
func TestAStateThatIsFullGoesOn(t *testing.T) {
	for path, most := range lists {
		t.Run(path, func(t *testing.T) {
			b := newBench(t, night())
			b.now = instant("2026-03-02T23:00:00Z") // so that what is proposed waits
			fullState(b, path, most)
			l := &stagetest.Limits{Fold: b.fold, Env: b.env(), Rows: map[string][]byte{b.key: b.row}}
			state := func() *contactv1.State {
				s := &contactv1.State{}
				if err := s.UnmarshalVT(l.Rows[b.key]); err != nil {
					t.Fatal(err)
				}
				return s
			}
			for n := range 60 {
				p := propose(fmt.Sprint("new-", n), "welcome")
				p.GetDispatchTreatment().Proposal.Context = []*eventv1.Property{{Name: "items", Value: event.Text(strings.Repeat("x", 2<<10))}}
				facts := []*decisionv1.Fact{p}
				if n == 0 {
					facts = []*decisionv1.Fact{basis("UTC"), p}
				}
				in := b.before(facts...)
				in.Key, in.At, in.Sequence, in.Index = b.key, l.Env.Now, uint64(n+1), 1 //nolint:gosec // few
				_, up, err := l.Do(in)
				if err != nil {
					t.Fatal(err)
				}
				if up && state().GetBasis().GetClosed() == nil {
					t.Fatalf("input %d is given up, and contact is open", n)
				}
			}
			if s := state(); most > 0 && stagetest.Len(s, strings.Split(path, ".")) > most {
				t.Errorf("%s has more than %d elements", path, most)
			}
			before := len(l.Rows[b.key])
			for _, p := range state().GetPending() {
				in := b.before(withdraw(p.GetRequest().GetProposal().GetId()))
				in.Key, in.At = b.key, l.Env.Now
				if _, up, err := l.Do(in); err != nil || up {
					t.Fatalf("a withdrawal: given up: %v, %v", up, err)
				}
			}
			if n := len(state().GetPending()); n > 0 || len(l.Rows[b.key]) >= before {
				t.Errorf("%d proposals are pending after all were withdrawn; the row has %d bytes, and had %d", n, len(l.Rows[b.key]), before)
			}
		})
	}
}
