package dispatchsvc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/stage/stagetest"
)

// lists are all lists of the state, and how many elements each has at most; 0: what fits the row, what comes beyond is
// given up. A list that is added needs its line here.
var lists = map[string]int{
	"deliveries":                                                  0, // open ones: what suppression has pending
	"deliveries.reasons":                                          0,
	"deliveries.reasons.evidence":                                 0,
	"deliveries.request.proposal.context":                         0, // at most 16 KiB
	"deliveries.request.proposal.context.value.list.values":       0,
	"deliveries.request.proposal.context.value.object.properties": 0,
	"deliveries.request.proposal.labels":                          0,
	"deliveries.request.treatments":                               0,
}

func TestEveryListOfTheStateHasABound(t *testing.T) {
	var known []string
	for path := range lists {
		known = append(known, path)
	}
	slices.Sort(known)
	got := stagetest.Lists(&dispatchv1.State{})
	slices.Sort(got)
	if !slices.Equal(got, known) {
		t.Errorf("lists of the state: got %q, want those with a bound: %q", got, known)
	}
}

// However full a list is, approvals take effect or are given up with a mark, what is under way goes on, and the state
// stays within what a row may have.
func TestAStateThatIsFullGoesOn(t *testing.T) {
	for path, most := range lists {
		t.Run(path, func(t *testing.T) {
			if most == 0 {
				most = 1 << 20
			}
			r := newRig(t)
			state := &dispatchv1.State{Tenant: "default", Customer: customer()}
			stagetest.Fill(state, strings.Split(path, "."), most, 63<<10, func(e proto.Message) {
				if d, ok := e.(*dispatchv1.Delivery); ok {
					d.Status, d.NotAfter, d.NotBefore = dispatchv1.Status_STATUS_QUEUED, timestamppb.New(start.Add(time.Hour)), nil
					d.Treatment.Channel, d.Epoch = "email", 1
				}
			})
			row, err := state.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			l := &stagetest.Limits{Fold: r.fold, Env: r.env(), Rows: map[string][]byte{key(): row}}
			givenUp := 0
			for n := range 40 {
				_, up, err := l.Do(approved(t, fmt.Sprint("new-", n), 1<<10))
				if err != nil {
					t.Fatal(err)
				}
				if up {
					givenUp++
				}
			}
			if givenUp == 0 {
				t.Error("nothing was given up though the row was full")
			}
			l.Env.Now = start.Add(2 * time.Hour) // all approvals are over
			if _, up, err := l.Do(stage.Input{Source: stage.FromTimer, Name: "timer", Key: key(), At: l.Env.Now}); err != nil || up {
				t.Fatalf("the timer: given up: %v, %v", up, err)
			}
			after := &dispatchv1.State{}
			if err := after.UnmarshalVT(l.Rows[key()]); err != nil {
				t.Fatal(err)
			}
			if n := len(after.GetDeliveries()); n > delivery.KeepClosed {
				t.Errorf("%d deliveries are kept after all have ended, want at most %d", n, delivery.KeepClosed)
			}
			if _, up, err := l.Do(approved(t, "at last", 1<<10)); err != nil || up && len(l.Rows[key()]) < 60<<10 {
				t.Errorf("an approval after all have ended, the row has %d bytes: given up: %v, %v", len(l.Rows[key()]), up, err)
			}
		})
	}
}

func approved(t *testing.T, proposal string, size int) stage.Input {
	t.Helper()
	v := verdict("email", time.Hour).GetVerdictGiven()
	v.Request.Proposal.Id = proposal
	v.Request.Proposal.Context = []*eventv1.Property{{Name: "items", Value: event.Text(strings.Repeat("x", size))}}
	data, err := (&contactv1.Fact{Fact: &contactv1.Fact_VerdictGiven{VerdictGiven: v}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return stage.Input{Source: stage.FromBefore, Name: "vdc", Sequence: 1, Index: 1, Key: key(), At: start, Facts: [][]byte{data}}
}
