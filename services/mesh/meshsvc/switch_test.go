package meshsvc

import (
	"context"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// A replay that ran past today ends at the machine's clock: its chains are given the present time, and go on at it.
func TestAReplayThatRanPastTodayEndsAtThePresentTime(t *testing.T) {
	r := start(t, defaults(), replay)
	r.stockAt("ada", "back-1", time.Now().AddDate(0, 0, 30).UTC().Format(time.RFC3339))
	r.settle(time.Hour)
	r.waitFor(user("ada"), "journey_entered", 1)
	if _, err := r.SwitchToWall(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.stock("bob", "back-2")
	r.waitFor(user("bob"), "journey_entered", 1)
	for _, spec := range log.Stages() {
		for p := range r.deps.Generation.Partitions {
			chain := log.Subject(spec.Chain, p)
			msg, err := r.deps.Broker.Last(context.WithoutCancel(t.Context()), chain)
			if err != nil {
				t.Fatal(err)
			}
			rec := &stagev1.Record{}
			if err := rec.UnmarshalVT(msg.Data); err != nil {
				t.Fatal(err)
			}
			if by := rec.GetNow().AsTime().Sub(msg.Time); by > clock.MaxSkew {
				t.Errorf("%s is %s ahead of the present time", chain, by)
			}
		}
	}
}
