package decisionsvc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/stage/stagetest"
	"refrain.dev/pkg/state"
)

// lists are all lists of the state, and how many elements each has at most; 0: what fits the row, what comes beyond is
// refused or given up. A list that is added needs its line here.
var lists = map[string]int{
	"enrollments":                                decide.MaxEnrollments,
	"enrollments.event":                          0, // at most 16 KiB
	"enrollments.event.value.list.values":        0,
	"enrollments.event.value.object.properties":  0,
	"proposals":                                  decide.MaxProposals,
	"proposals.labels":                           0,
	"proposals.context":                          0, // at most 16 KiB
	"proposals.context.value.list.values":        0,
	"proposals.context.value.object.properties":  0,
	"placements":                                 0, // one for each placement
	"entries":                                    decide.MaxEntries,
	"waiting":                                    decide.MaxWaiting,
	"waiting.properties":                         0, // at most 16 KiB
	"waiting.properties.value.list.values":       0,
	"waiting.properties.value.object.properties": 0,
}

func TestEveryListOfTheStateHasABound(t *testing.T) {
	var known []string
	for path := range lists {
		known = append(known, path)
	}
	slices.Sort(known)
	got := stagetest.Lists(&decisionv1.State{})
	slices.Sort(got)
	if !slices.Equal(got, known) {
		t.Errorf("lists of the state: got %q, want those with a bound: %q", got, known)
	}
}

// full is the bench's fold over a state of which one list is filled, as far as the row allows: enrollments stand before
// their action step and are due, proposals are open, both with what they keep of their event.
func (b *bench) full(path string, most, bytes int) *stagetest.Limits {
	b.t.Helper()
	b.before(placed("o0", 20))
	like := b.state().GetEnrollments()[0]
	s := &decisionv1.State{Tenant: "default", Customer: b.id, ProfileVersion: b.profile.GetVersion()}
	stagetest.Fill(s, strings.Split(path, "."), most, bytes, func(e proto.Message) {
		switch e := e.(type) {
		case *decisionv1.Enrollment:
			id := e.GetId()
			proto.Reset(e)
			proto.Merge(e, like)
			e.Id, e.Key, e.Step, e.Visit, e.Proposal = id+strings.Repeat("0", 20), id, "mail", 0, ""
			e.Ready, e.WakeAt = false, timestamppb.New(b.now)
			e.Event = []*eventv1.Property{{Name: "total", Value: event.Text(strings.Repeat("x", 60))}}
		case *decisionv1.Proposal:
			e.Status, e.Action, e.Placement, e.Cause = decisionv1.ProposalStatus_PROPOSAL_STATUS_OPEN, "welcome-mail", "outbound", &decisionv1.Cause{}
			e.ValidFrom, e.ValidUntil, e.SupersededAt = timestamppb.New(b.now), timestamppb.New(b.now.Add(time.Hour)), nil
		case *decisionv1.PlacementState:
			e.ClosesAt = timestamppb.New(b.now)
		case *decisionv1.WaitingEntry:
			e.Journey, e.Until = "welcome", timestamppb.New(b.now.Add(time.Hour))
		}
	})
	row := encode(b.t, s)
	return &stagetest.Limits{
		Fold: b.fold, Env: b.env(), Rows: map[string][]byte{b.key: row},
		Others: map[state.Row][]byte{{Stage: profileStage, Key: b.key}: encode(b.t, b.profile)},
	}
}

// However full a list is, timers go on and events take effect, or are refused with a reason.
func TestAStateThatIsFullGoesOn(t *testing.T) {
	for path, most := range lists {
		t.Run(path, func(t *testing.T) {
			if most == 0 {
				most = 1 << 20
			}
			b := newBench(t)
			l := b.full(path, most, 47<<10)
			for n := range 40 {
				in := b.cell(placed(fmt.Sprint("new-", n), 20))
				in.Key, in.Sequence, in.Index = b.key, uint64(n+1), 1 //nolint:gosec // few
				if _, up, err := l.Do(in); err != nil || up {
					t.Fatalf("event %d: given up: %v, %v, %v", n, up, l.Why, err)
				}
				l.Env.Now = l.Env.Now.Add(11 * time.Minute)
				if _, up, err := l.Do(stage.Input{Source: stage.FromTimer, Name: "timer", Key: b.key, At: l.Env.Now}); err != nil || up {
					t.Fatalf("timer %d: given up: %v, %v", n, up, err)
				}
			}
			s := &decisionv1.State{}
			if err := s.UnmarshalVT(l.Rows[b.key]); err != nil {
				t.Fatal(err)
			}
			if n := stagetest.Len(s, strings.Split(path, ".")); n > most {
				t.Errorf("%s has %d elements, want at most %d", path, n, most)
			}
		})
	}
}

// As many enrollments as a customer may have, which all come to their action in one instant: what follows fits a record.
func TestAllEnrollmentsMayBeDueAtOnce(t *testing.T) {
	b := newBench(t)
	l := b.full("enrollments", decide.MaxEnrollments, 48<<10)
	due := func() *decisionv1.State {
		s := &decisionv1.State{}
		if err := s.UnmarshalVT(l.Rows[b.key]); err != nil {
			t.Fatal(err)
		}
		return s
	}
	many := len(due().GetEnrollments())
	for n := range 20 {
		out, up, err := l.Do(stage.Input{Source: stage.FromTimer, Name: "timer", Key: b.key, At: l.Env.Now})
		if err != nil || up {
			t.Fatalf("timer %d: given up: %v, %v", n, up, err)
		}
		for _, c := range out.Cells {
			t.Logf("timer %d: a state of %d bytes, %d facts, %d proposals", n, len(c.State), len(c.Facts), len(due().GetProposals()))
		}
		l.Env.Now = l.Env.Now.Add(11 * time.Minute)
	}
	if many < 100 {
		t.Errorf("%d enrollments, want at least 100", many)
	}
}
