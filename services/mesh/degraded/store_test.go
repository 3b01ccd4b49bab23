package degraded

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// blind says that queries are answered as degraded, with nothing in them, and not with an error.
func (w *town) blind(t *testing.T, user string) {
	t.Helper()
	res, err := w.ask(user)
	if err != nil {
		t.Fatalf("it is answered with an error: %v", err)
	}
	if len(res.GetItems()) > 0 || len(res.GetDegraded()) == 0 || res.GetDegraded()[0].GetCode() != reasonv1.Code_CODE_PROFILE_UNAVAILABLE {
		t.Errorf("answered %v", res)
	}
}

// unavailable says that a request was refused for now.
func unavailable(t *testing.T, err error) {
	t.Helper()
	if c := status.Code(err); c != codes.Unavailable && c != codes.DeadlineExceeded {
		t.Errorf("got %v, want unavailable", err)
	}
}

// refused waits until a stage has asked for its states in vain, more than once.
func (w *town) refused(stage string) {
	w.t.Helper()
	from := w.store.asked(stage)
	w.eventually("the states of "+stage+" are asked for", func() bool { return w.store.asked(stage) >= from+2 })
}

// standing says that a stage's chains come to rest while its states are asked for again and again. What was under
// way when they were lost may end first: a partition that has nothing to do learns of the loss with its next write.
func (w *town) standing(t *testing.T, stage string) {
	t.Helper()
	chain := log.Stage(stage).Chain
	w.eventually(chain+" stands still", func() bool {
		before := w.ends(chain)
		w.refused(stage)
		return slices.Equal(before, w.ends(chain))
	})
}

// "Redis shard down": events are taken, everything else stands still, queries are degraded; then all goes on.
func TestRedisDown(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.store.down.Store(true)
	w.withoutStates()
	if n := w.sent("email", "order-1"); n > 0 {
		t.Errorf("%d mails were sent", n)
	}
	w.store.down.Store(false)
	w.arrives("email", "order-1")
	w.offered("ann")
}

// withoutStates is the row of every cell while there are no states.
func (w *town) withoutStates() {
	w.cell("ingest", func(t *testing.T) {
		if code, _ := w.post("track", order("ann", "order-1")); code != http.StatusOK {
			t.Errorf("an event was answered with %d", code)
		}
	})
	w.cell("query", func(t *testing.T) { w.blind(t, "ann") })
	for _, stage := range []string{"profile", "decision", "suppression", "dispatch"} {
		w.cell(stage, func(t *testing.T) { w.standing(t, stage) })
	}
	w.cell("profile/reads", func(t *testing.T) {
		_, err := w.profile("ann")
		unavailable(t, err)
	})
	w.cell("suppression/reserve", func(t *testing.T) {
		_, err := w.reserve("ann", "reserve-1")
		unavailable(t, err)
	})
}

// snapshots takes one of every chain.
func (w *town) snapshots() {
	w.t.Helper()
	for _, spec := range log.Stages() {
		var ask []*stagev1.UpkeepRequest
		for p := range w.gen.Partitions {
			ask = append(ask, &stagev1.UpkeepRequest{Id: fmt.Sprint(time.Now().UnixNano()), Partition: uint32(p), Kind: stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT}) //nolint:gosec // few
		}
		if err := snapshot.Ask(w.t.Context(), w.kv, spec.Name, ask); err != nil {
			w.t.Fatal(err)
		}
		for _, r := range ask {
			w.eventually("a snapshot of "+spec.Name, func() bool {
				said, err := snapshot.Report(w.t.Context(), w.kv, spec.Name, r)
				return err == nil && said.GetId() == r.GetId() && said.GetPhase() == stagev1.UpkeepPhase_UPKEEP_PHASE_DONE
			})
		}
	}
}

// lose throws away what the store holds of stages.
func (w *town) lose(stages ...string) {
	w.t.Helper()
	for _, stage := range stages {
		for p := range w.gen.Partitions {
			if err := w.store.Reset(w.t.Context(), state.Shard{Stage: stage, Partition: p}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// "Redis rebuilding": as if it were down, for the stages whose states are made again; an unfinished state is
// never taken for an unknown customer. What it was before is there afterwards.
func TestRedisRebuilding(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.snapshots()
	w.store.holding.Store(true)
	w.lose("profile", "decision", "suppression", "dispatch")
	for _, stage := range []string{"profile", "decision", "suppression", "dispatch"} {
		w.refused(stage)
	}
	w.withoutStates()
	if n := w.sent("email", "order-1"); n > 0 {
		t.Errorf("%d mails were sent", n)
	}
	w.store.holding.Store(false)
	w.arrives("email", "order-1")
	w.offered("ann")
}

// Only the states of profiles are made again, and a mail has been approved: dispatch does not send it, because
// nothing is known of the customer's permission.
func TestRedisRebuildingProfilesClosesDispatch(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.snapshots()
	w.stop("dispatch")
	before := w.ends("vdc")
	w.publish("track", order("ann", "order-1"))
	w.eventually("the mail is approved", func() bool { return !slices.Equal(before, w.ends("vdc")) })
	w.store.holding.Store(true)
	w.lose("profile")
	w.refused("profile")
	pings := w.pinged()
	w.start("dispatch")
	w.eventually("dispatch looks for a fresh view", func() bool { return w.pinged() > pings })
	w.standing(t, "profile")
	if n := w.sent("email", "order-1"); n > 0 {
		t.Fatalf("%d mails were sent while the profile was unknown", n)
	}
	w.store.holding.Store(false)
	w.arrives("email", "order-1")
}

// pinged counts what stands in the control lanes.
func (w *town) pinged() uint64 {
	w.t.Helper()
	u, err := w.site.Usage(w.t.Context(), "evt.control.0")
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Messages
}
